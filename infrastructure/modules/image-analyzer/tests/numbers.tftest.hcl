# The numbers that follow from others, at their limits; those of the defaults are in rendered.tftest.hcl.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

run "too_little_memory_and_too_long_a_wait_are_refused" {
  command = plan

  variables {
    worker_memory_mb = 1024
    max_upload_bytes = 160000000
    max_wait_seconds = 8
  }

  expect_failures = [aws_lambda_function.worker, aws_lambda_function.api]
}

run "smaller_uploads_shorter_waits_and_a_raised_quota" {
  command = plan

  variables {
    worker_memory_mb = 1024
    max_upload_bytes = 150000000
    sweep_minutes    = 1
    rekognition_tps  = 250
    max_wait_seconds = 0
  }

  assert {
    condition     = local.batch_bytes == 1050000000
    error_message = "3 × 150 MB + 600 MB, of 1,074 MB."
  }
  assert {
    condition     = aws_cloudwatch_event_rule.sweep.schedule_expression == "rate(1 minute)" && aws_lambda_function.sweeper.timeout == 60
    error_message = "EventBridge knows no \"1 minutes\"."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 50
    error_message = "250 ÷ 5 = 50 workers."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS == "5"
    error_message = "250 ÷ 50 = 5."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 10
    error_message = "5 × 20 s = 100, of which SQS hands out 10."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "0"
    error_message = "No request waits."
  }
}

run "times_grow_with_timeout_and_window" {
  command = plan

  variables {
    worker_timeout_seconds  = 300
    batch_window_seconds    = 20
    max_attempts            = 16
    sweep_minutes           = 60
    account_concurrency     = 50
    api_requests_per_second = 1
    api_burst               = 1
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
    condition     = aws_lambda_function.sweeper.environment[0].variables.SWEEP_AFTER_SECONDS == "2720"
    error_message = "1820 + 600 + 300 = 2720."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.MAX_ATTEMPTS == "16"
    error_message = "What was asked for."
  }
  assert {
    condition     = aws_cloudwatch_event_rule.sweep.schedule_expression == "rate(60 minutes)" && aws_lambda_function.sweeper.timeout == 900
    error_message = "Lambda ends a function after 15 minutes."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "19"
    error_message = "((50 − 10) ÷ 2 − 1) ÷ 1 = 19."
  }
}

run "times_hold_at_their_longest" {
  command = plan

  variables {
    worker_timeout_seconds = 900
    batch_window_seconds   = 300
    max_attempts           = 100
    account_concurrency    = 10000
  }

  assert {
    condition     = aws_sqs_queue.jobs.visibility_timeout_seconds <= 43200 && local.sweep_after_seconds < aws_sqs_queue.jobs.message_retention_seconds
    error_message = "SQS hides for 12 hours and keeps for 14 days at most."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "20"
    error_message = "The gateway ends a request after 29 s."
  }
}

run "the_small_quota_of_most_regions" {
  command = plan

  override_data {
    target = data.aws_region.current
    values = { id = "eu-central-1" }
  }

  assert {
    condition     = local.rekognition_tps == 5 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "5 ÷ 4 = 1.25, so 2 workers."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS == "2.5"
    error_message = "5 ÷ 2 = 2.5."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 10
    error_message = "2.5 × 20 s = 50, of which SQS hands out 10."
  }
}

run "half_a_call_a_second_and_reserved_executions" {
  command = plan

  variables {
    rekognition_tps          = 0.5
    api_reserved_concurrency = 800
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "An event source mapping takes no fewer than 2."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS == "0.25"
    error_message = "0.5 ÷ 2 = 0.25."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 5
    error_message = "0.25 × 20 s = 5."
  }
  assert {
    condition     = aws_lambda_function.api.reserved_concurrent_executions == 800
    error_message = "What is reserved for the API is the most that it gets."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "14"
    error_message = "(800 − 100) ÷ 50 = 14."
  }
}

run "a_slow_quota_fills_larger_batches_for_slower_workers" {
  command = plan

  variables {
    rekognition_tps        = 0.5
    worker_timeout_seconds = 90
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 7
    error_message = "0.25 × 30 s = 7.5."
  }
}

run "the_least_quota" {
  command = plan

  variables {
    rekognition_tps        = 0.1
    worker_timeout_seconds = 30
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 1 && aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2
    error_message = "0.05 × 10 s = 0.5; a batch holds one job at least."
  }
  assert {
    condition     = tonumber(aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS) > 0.048
    error_message = "Rounding down must leave a share."
  }
}

run "more_than_lambda_takes" {
  command = plan

  variables {
    rekognition_tps     = 100000
    account_concurrency = 5000
  }

  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 1000 && aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS == "100"
    error_message = "An event source mapping takes 1,000 at most; 100000 ÷ 1000 = 100."
  }
}

# Waiting, by Little's law: requests a second × seconds are under way at once, and as many of a burst.
run "nothing_waits_in_a_small_account" {
  command = plan

  variables {
    account_concurrency = 10
    rekognition_tps     = 20
  }

  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "0"
    error_message = "(10 − 4) ÷ 2 = 3 are for the API, and 100 may come at once."
  }
}

run "lambda_keeps_100_executions_unreserved" {
  command = plan

  variables {
    api_reserved_concurrency = 901
  }

  expect_failures = [aws_lambda_function.api]
}

run "reserved_executions_leave_the_workers_theirs" {
  command = plan

  variables {
    api_reserved_concurrency = 800
    rekognition_tps          = 1005
  }

  expect_failures = [aws_lambda_function.api]
}

run "workers_that_take_the_whole_account_are_named" {
  command = plan

  variables {
    account_concurrency = 10
  }

  expect_failures = [check.concurrency_is_enough]
}
