# The numbers that follow from others, at their defaults and at their limits.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "times_follow_from_the_workers_timeout" {
  command = plan

  assert {
    condition     = aws_lambda_function.worker.timeout == 60 && aws_sqs_queue.jobs.visibility_timeout_seconds == 6 * aws_lambda_function.worker.timeout
    error_message = "The visibility timeout must be six times the worker's timeout."
  }
  assert {
    condition     = local.lease == aws_lambda_function.worker.timeout + 2 && local.lease <= aws_sqs_queue.jobs.visibility_timeout_seconds
    error_message = "The lease must outlast the worker by two seconds, and not the visibility timeout."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.jobs.redrive_policy).maxReceiveCount == 5
    error_message = "A job must have five deliveries."
  }
  assert {
    condition = (
      tonumber(aws_lambda_function.sweeper.environment[0].variables.STALE_SECONDS)
      > aws_sqs_queue.jobs.visibility_timeout_seconds * jsondecode(aws_sqs_queue.jobs.redrive_policy).maxReceiveCount
    )
    error_message = "Only what the queue has given up may be swept."
  }
  assert {
    condition     = aws_cloudwatch_event_rule.sweep.schedule_expression == "rate(31 minutes)" && local.sweep_minutes * 60 >= local.stale_seconds
    error_message = "One image must not be swept twice within the time that makes it stale."
  }
  assert {
    condition     = tonumber(aws_lambda_function.worker.environment[0].variables.MAX_ATTEMPTS) == 10
    error_message = "An image must have the attempts of two rounds of deliveries."
  }
  assert {
    condition     = aws_lambda_function.api.timeout <= 29
    error_message = "The gateway ends a request after 29 seconds."
  }
  assert {
    condition     = aws_sqs_queue.jobs.message_retention_seconds == 1209600 && aws_sqs_queue.jobs_dead.message_retention_seconds == 1209600
    error_message = "Jobs must be kept for 14 days."
  }
}

run "times_grow_with_timeout_window_and_deliveries" {
  command = plan

  variables {
    worker_timeout_seconds = 300
    batch_window_seconds   = 20
    max_receive_count      = 8
  }

  assert {
    condition     = aws_sqs_queue.jobs.visibility_timeout_seconds == 1820
    error_message = "6 × 300 + 20 = 1820."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.maximum_batching_window_in_seconds == 20
    error_message = "The mapping must wait as long as the visibility timeout allows for."
  }
  assert {
    condition     = local.lease == 302
    error_message = "300 + 2 = 302."
  }
  assert {
    condition     = aws_lambda_function.sweeper.environment[0].variables.STALE_SECONDS == "14860"
    error_message = "8 × 1820 + 300 = 14860."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.MAX_ATTEMPTS == "16"
    error_message = "Two rounds of 8 deliveries."
  }
}

run "times_hold_at_their_longest" {
  command = plan

  variables {
    worker_timeout_seconds = 900
    batch_window_seconds   = 300
    max_receive_count      = 100
  }

  assert {
    condition     = aws_sqs_queue.jobs.visibility_timeout_seconds <= 43200 && local.stale_seconds < aws_sqs_queue.jobs.message_retention_seconds
    error_message = "SQS hides for 12 hours and keeps for 14 days at most."
  }
}

run "a_batch_fills_in_a_region_with_the_large_quota" {
  command = plan

  assert {
    condition     = local.rekognition_tps == 50 && aws_lambda_event_source_mapping.jobs.batch_size == 10
    error_message = "The default quota of us-east-1 is 50 calls a second."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "2 workers × 10 images × 2 calls = 40."
  }
  assert {
    condition     = contains(aws_lambda_event_source_mapping.jobs.function_response_types, "ReportBatchItemFailures")
    error_message = "Without partial answers, failed images are lost."
  }
  assert {
    condition     = coalesce(aws_lambda_function.worker.reserved_concurrent_executions, -1) == -1
    error_message = "Reserved concurrency turns batches away that then count as received."
  }
}

run "a_batch_shrinks_in_a_region_with_the_small_quota" {
  command = plan

  override_data {
    target = data.aws_region.current
    values = { id = "eu-central-1" }
  }

  assert {
    condition     = local.rekognition_tps == 5 && aws_lambda_event_source_mapping.jobs.batch_size == 1 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "2 workers × 1 image × 2 calls = 4."
  }
}

run "the_least_quota" {
  command = plan

  variables {
    rekognition_tps = 4
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 1 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "2 workers × 1 image × 2 calls = 4."
  }
}

run "a_quota_between" {
  command = plan

  variables {
    rekognition_tps = 27
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 6 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "2 workers × 6 images × 2 calls = 24."
  }
}

run "a_raised_quota" {
  command = plan

  variables {
    rekognition_tps = 500
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 10 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 25
    error_message = "25 workers × 10 images × 2 calls = 500."
  }
}

run "more_than_lambda_takes" {
  command = plan

  variables {
    rekognition_tps = 100000
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 1000
    error_message = "An event source mapping takes 1,000 at most."
  }
}
