# Whole plans for test/, which reads them from `terraform test -json -verbose`: policies as text, keys and numbers. What
# other tests here would say of the same plans is said here too: each run takes a third of a second of the processor.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

run "everything" {
  command = plan

  variables {
    cors_origins   = ["https://app.example"]
    retention_days = 30
    alarm_email    = "operators@example.com"

    tags                 = { team = "images" }
    permissions_boundary = "arn:aws:iam::111122223333:policy/bounds"
    subscriber_queue     = true
    subscriber_webhook   = { url = "https://hooks.example/images", token = "hooks-own-token" }
  }

  assert {
    condition     = output.bucket == "image-analyzer-images-111122223333-us-east-1"
    error_message = "The bucket's name must carry account and region."
  }

  # A browser may ask unsigned whether a page may send signed requests.
  assert {
    condition = {
      for route, method in aws_api_gateway_method.api : route => "${method.http_method} ${method.authorization}"
      } == {
      root   = "ANY AWS_IAM", root_preflight = "OPTIONS NONE", proxy = "ANY AWS_IAM", proxy_preflight = "OPTIONS NONE",
      health = "GET NONE", health_other = "ANY AWS_IAM"
    }
    error_message = "Preflights carry no signature, and nothing else may come without."
  }
  assert {
    condition = alltrue([
      for name in ["root", "proxy"] :
      aws_api_gateway_method.api["${name}_preflight"].resource_id == aws_api_gateway_method.api[name].resource_id
    ])
    error_message = "A preflight asks where the request will go."
  }
  assert {
    condition     = keys(aws_api_gateway_integration.api) == keys(aws_api_gateway_method.api) && alltrue([for integration in aws_api_gateway_integration.api : integration.uri == aws_lambda_alias.api.invoke_arn])
    error_message = "The function must be asked: it knows the origins."
  }
  assert {
    condition = length(aws_api_gateway_gateway_response.problem) >= 10 && alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      response.response_parameters["gatewayresponse.header.Access-Control-Allow-Origin"] == "'https://app.example'"
    ])
    error_message = "A page must see why the gateway itself refuses."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.CORS_ORIGINS == "https://app.example"
    error_message = "The function must know which origins are let in."
  }
}

# Nothing of it is for the gateway.
run "frugal" {
  command = plan

  variables {
    analyses          = ["labels"]
    daily_image_quota = 1000
    retention_days    = 7
    max_image_bytes   = 1000000
    max_upload_bytes  = 20000000
    min_confidence    = 80.5
    max_labels        = 20
    preview           = false
  }

  assert {
    condition     = output.subscriber_queue_url == null
    error_message = "Nobody subscribes unless asked for."
  }
}

run "defaults" {
  command = plan

  assert {
    condition     = output.subscriber_queue_url == null
    error_message = "Nobody subscribes unless asked for."
  }

  # What follows from the numbers.
  assert {
    condition     = aws_lambda_function.worker.timeout == 60 && aws_sqs_queue.jobs.visibility_timeout_seconds == 6 * aws_lambda_function.worker.timeout
    error_message = "The visibility timeout must be six times the worker's timeout."
  }
  assert {
    condition     = local.lease == aws_lambda_function.worker.timeout + 2 && local.lease <= aws_sqs_queue.jobs.visibility_timeout_seconds
    error_message = "The lease must outlast the worker by two seconds, and not the visibility timeout."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.jobs.redrive_policy).maxReceiveCount == 1000
    error_message = "The queue must give a job up last of all: it counts also the receives of a job that only waits."
  }
  assert {
    condition = alltrue([
      for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] :
      function.environment[0].variables.SWEEP_AFTER_SECONDS == "1020"
    ])
    error_message = "360 + 600 + 60 = 1020, for everybody who writes when an image is due."
  }
  assert {
    condition     = aws_cloudwatch_event_rule.sweep.schedule_expression == "rate(5 minutes)" && aws_lambda_function.sweeper.timeout == 300
    error_message = "A sweep may take until the next one begins."
  }
  assert {
    condition = alltrue([
      for function in [aws_lambda_function.worker, aws_lambda_function.sweeper] :
      function.environment[0].variables.MAX_ATTEMPTS == "10"
    ])
    error_message = "An image must have as many attempts, whoever ends it."
  }
  assert {
    condition     = aws_lambda_function.api.timeout <= 29
    error_message = "The gateway ends a request after 29 seconds."
  }
  assert {
    condition     = aws_sqs_queue.jobs.message_retention_seconds == 1209600 && aws_sqs_queue.jobs_dead.message_retention_seconds == 1209600
    error_message = "Jobs must be kept for 14 days."
  }
  assert {
    condition     = tonumber(aws_lambda_function.sweeper.environment[0].variables.GIVE_UP_DAYS) * 86400 == aws_sqs_queue.jobs.message_retention_seconds
    error_message = "An image must be given up when the queue has forgotten its job."
  }
  assert {
    condition = one([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.expiration[0].days if rule.id == "abandoned-uploads"
    ]) * 86400 > aws_sqs_queue.jobs.message_retention_seconds
    error_message = "Until it is worked on it is the only copy."
  }
  assert {
    condition     = local.rekognition_tps == 50
    error_message = "The default quota of us-east-1 is 50 calls a second of each operation."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 10
    error_message = "50 ÷ 5 = 10 workers."
  }
  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.REKOGNITION_TPS == "5"
    error_message = "50 ÷ 10 = 5."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 10
    error_message = "5 × 20 s = 100, of which SQS hands out 10."
  }
  assert {
    condition     = contains(aws_lambda_event_source_mapping.jobs.function_response_types, "ReportBatchItemFailures")
    error_message = "Without partial answers, failed images are lost."
  }
  assert {
    condition     = coalesce(aws_lambda_function.worker.reserved_concurrent_executions, -1) == -1
    error_message = "Reserved concurrency turns batches away that then count as received."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.MAX_WAIT_SECONDS == "7"
    error_message = "((1000 − 10) ÷ 2 − 100) ÷ 50 = 7.9."
  }
  assert {
    condition     = coalesce(aws_lambda_function.api.reserved_concurrent_executions, -1) == -1
    error_message = "Nothing is reserved unless it is asked for: small accounts cannot."
  }

  # Every route but /health is signed.
  assert {
    condition     = { for route, method in aws_api_gateway_method.api : route => method.authorization } == { root = "AWS_IAM", proxy = "AWS_IAM", health = "NONE", health_other = "AWS_IAM" }
    error_message = "Only /health may be open."
  }
  assert {
    condition     = aws_api_gateway_method.api["health"].http_method == "GET" && aws_api_gateway_method_settings.health[0].settings[0].throttling_rate_limit <= 5
    error_message = "The open route must be for reading, and slow."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.AUTH == "iam"
    error_message = "The function must know who vouches for the caller."
  }
  assert {
    condition = alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      jsondecode(response.response_templates["application/json"]).status == tonumber(response.status_code)
      && response.response_parameters["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    ])
    error_message = "Status and media type must be those of a problem."
  }
  assert {
    condition = alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      !contains(keys(response.response_parameters), "gatewayresponse.header.Access-Control-Allow-Origin")
    ])
    error_message = "Without other origins none may read an answer."
  }
  assert {
    condition = aws_api_gateway_gateway_response.problem["MISSING_AUTHENTICATION_TOKEN"].status_code == "401" && [
      for cause in ["THROTTLED", "WAF_FILTERED"] : aws_api_gateway_gateway_response.problem[cause].response_parameters["gatewayresponse.header.Retry-After"]
    ] == ["'1'", "'60'"]
    error_message = "An unsigned request is a 401, and a throttled one says when to come back."
  }

  # Images are kept, and alarms send nothing.
  assert {
    condition     = !aws_s3_bucket.images.force_destroy && aws_dynamodb_table.images.deletion_protection_enabled
    error_message = "Bucket and table must be protected together."
  }
  assert {
    condition = alltrue([
      for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] : function.publish
      ]) && alltrue([
      for integration in aws_api_gateway_integration.api : integration.uri == aws_lambda_alias.api.invoke_arn
      ]) && (
      aws_lambda_event_source_mapping.jobs.function_name == aws_lambda_alias.worker.arn
      && aws_cloudwatch_event_target.sweep.arn == aws_lambda_alias.sweeper.arn
      && aws_lambda_permission.api.qualifier == "live"
      && aws_lambda_permission.sweep.qualifier == "live"
      && aws_lambda_function_event_invoke_config.sweeper.qualifier == "live"
    )
    error_message = "Gateway, queue and schedule must call what can go back: the alias."
  }
  assert {
    condition = length(distinct([
      for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] :
      try(regex("Release ([0-9a-f]{12})\\.$", function.description)[0], function.description)
    ])) == 1
    error_message = "Each must name the release, so that a change of one publishes all three, and one version back is one release back."
  }
  assert {
    condition     = length(aws_s3_bucket_versioning.images) == 0
    error_message = "What a caller deletes must be gone."
  }
  assert {
    condition     = one(aws_s3_bucket_cors_configuration.images.cors_rule).allowed_origins == toset(["https://api.execute-api.us-east-1.amazonaws.com"])
    error_message = "The API's own page may post to the bucket, and no other origin unless it is named."
  }
  assert {
    condition     = length(aws_sqs_queue.subscriber) + length(aws_cloudwatch_event_api_destination.webhook) == 0
    error_message = "Subscribers are optional."
  }
  assert {
    condition     = toset([for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.id]) == toset(["aborted-uploads", "abandoned-uploads", "deleted"])
    error_message = "Images must be kept, and only what is left of uploads and deletions removed."
  }
  assert {
    condition = [
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.noncurrent_version_expiration[0].noncurrent_days
      if rule.id == "deleted"
    ] == [1]
    error_message = "Versions from a time of undelete_days must go, where it is over."
  }
  assert {
    condition     = alltrue([for name in ["RETENTION_DAYS", "DAILY_IMAGE_QUOTA", "CORS_ORIGINS", "STRIP_GPS", "HEIC"] : !contains(keys(aws_lambda_function.api.environment[0].variables), name)])
    error_message = "No retention, quota or other origins unless asked for: the function takes no 0 for an answer."
  }
  assert {
    condition     = contains(aws_api_gateway_rest_api.api.binary_media_types, "application/x-www-form-urlencoded")
    error_message = "curl --data-binary names this type, and text would ruin a photo."
  }
  assert {
    condition = (
      one(aws_s3_bucket_notification.images.queue).queue_arn == aws_sqs_queue.jobs.arn
      && one(aws_s3_bucket_notification.images.queue).events == toset(["s3:ObjectCreated:*"])
      && one(aws_s3_bucket_notification.images.queue).filter_prefix == "uploads/"
      && length(aws_s3_bucket_notification.images.topic) + length(aws_s3_bucket_notification.images.lambda_function) == 0
    )
    error_message = "S3 must announce posted forms, and not what the functions themselves store."
  }
}

run "jwt" {
  command = plan

  variables {
    auth         = "jwt"
    jwt_issuer   = "https://id.example"
    jwt_audience = "image-analyzer"
  }

  assert {
    condition     = endswith(output.api_execution_arn, "/live")
    error_message = "Callers are given rights on the stage."
  }
}
