# What variables switch, and what they refuse; what is so by default is in rendered.tftest.hcl.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

# What was applied before, for the next two.
run "where_images_are_kept_is_remembered" {
  command = apply

  plan_options {
    target = [terraform_data.kept]
  }

  assert {
    condition     = terraform_data.kept[0].output == "image-analyzer-images-111122223333-us-east-1"
    error_message = "The bucket's name says name, account and region."
  }
}

run "images_that_are_kept_do_not_move_to_another_name" {
  command = plan

  variables {
    name = "photos"
  }

  expect_failures = [aws_s3_bucket.images]
}

run "images_that_are_kept_do_not_move_to_another_region" {
  command = plan

  override_data {
    target = data.aws_region.current
    values = { id = "us-west-2" }
  }

  expect_failures = [aws_s3_bucket.images]
}

run "what_is_asked_for_is_done" {
  command = plan

  variables {
    analyses           = ["moderation", "labels"]
    max_upload_bytes   = 20000000
    daily_image_quota  = 500
    cors_origins       = ["https://app.example", "http://localhost:8080"]
    keep_data          = false
    undelete_days      = 3
    retention_days     = 7
    subscriber_labels  = ["Dog"]
    subscriber_queue   = true
    subscriber_webhook = { url = "https://hooks.example/images", token = "secret" }
    alarm_actions      = ["arn:aws:sns:us-east-1:111122223333:operators", "arn:aws:ssm:us-east-1:111122223333:opsitem:1"]
    unwell_actions     = ["arn:aws:ssm:us-east-1:111122223333:opsitem:1#CATEGORY=Availability"]
    alarm_email        = "operators@example.com"
    daily_cost_usd     = 12.5
    monthly_budget_usd = 250
    budget_action      = "refuse"
    strip_gps          = true
    pack_results       = true
    heic               = true
    tracing            = "off"
    telemetry_layer    = { arn = "arn:aws:lambda:us-east-1:111122223333:layer:spans:3", environment = { AWS_LAMBDA_EXEC_WRAPPER = "begin-spans" } }
    versions           = { api = "3" }
    kms_key_arn        = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    vpc_config         = { subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1"] }
    zips = {
      # Of "hello", as `printf hello | openssl dgst -sha256` and its -binary | base64 have it.
      api = { s3_bucket = "builds", s3_key = "v1/api.zip", sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" }
    }

    subscriber_visibility = 180
    kms_key_arns_before   = ["arn:aws:kms:us-east-1:111122223333:key/0"]
  }

  assert {
    condition     = [for alias in [aws_lambda_alias.api, aws_lambda_alias.worker, aws_lambda_alias.sweeper] : alias.function_version] == ["3", "7", "7"]
    error_message = "The newest version must be called, unless another is named."
  }
  assert {
    condition     = aws_lambda_function.api.s3_key == "v1/api.zip" && aws_lambda_function.api.source_code_hash == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" && aws_lambda_function.worker.filename == "../../../dist/worker.zip"
    error_message = "A package may come from S3, by its sum, and the others from where they were."
  }
  assert {
    condition = alltrue([
      for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] :
      function.tracing_config[0].mode == "PassThrough" && function.vpc_config[0].subnet_ids == toset(["subnet-1", "subnet-2"]) && function.vpc_config[0].security_group_ids == toset(["sg-1"])
    ]) && !aws_api_gateway_stage.live.xray_tracing_enabled
    error_message = "All functions must be in the VPC, and nothing traced."
  }
  assert {
    condition = alltrue([
      for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] :
      function.layers == tolist([var.telemetry_layer.arn]) && function.environment[0].variables.AWS_LAMBDA_EXEC_WRAPPER == "begin-spans" && function.environment[0].variables.NODE_OPTIONS == "--enable-source-maps"
    ])
    error_message = "All functions must have the layer and its variables."
  }
  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.api, aws_iam_role_policy.worker, aws_iam_role_policy.sweeper] :
      { for statement in jsondecode(policy.policy).Statement : statement.Sid => statement.Resource if contains(["WriteTraces", "UseKey", "ReadUnderKeysOfBefore", "JoinVpc"], statement.Sid) }
      == { UseKey = var.kms_key_arn, ReadUnderKeysOfBefore = ["arn:aws:kms:us-east-1:111122223333:key/0"], JoinVpc = "*" }
    ])
    error_message = "Each role must have the rights for the key, the one before and the VPC, and none for traces."
  }
  assert {
    condition = (
      one(one(aws_s3_bucket_server_side_encryption_configuration.images.rule).apply_server_side_encryption_by_default) == { sse_algorithm = "aws:kms", kms_master_key_id = var.kms_key_arn }
      && aws_dynamodb_table.images.server_side_encryption[0].kms_key_arn == var.kms_key_arn
      && alltrue([
        for queue in [aws_sqs_queue.jobs, aws_sqs_queue.jobs_dead, aws_sqs_queue.subscriber[0], aws_sqs_queue.subscriber_dead[0], aws_sqs_queue.webhook_dead[0]] :
        queue.kms_master_key_id == var.kms_key_arn
      ])
      && alltrue([
        for group in [aws_cloudwatch_log_group.api, aws_cloudwatch_log_group.worker, aws_cloudwatch_log_group.sweeper, aws_cloudwatch_log_group.access, aws_cloudwatch_log_group.execution] :
        group.kms_key_id == var.kms_key_arn
      ])
    )
    error_message = "Whatever holds images, records, jobs or logs must be encrypted with the key that was given."
  }

  assert {
    condition     = [for function in [aws_lambda_function.api, aws_lambda_function.worker] : function.environment[0].variables.HEIC] == ["on", "on"]
    error_message = "API and worker must agree on HEIC."
  }

  assert {
    condition = [
      for function in [aws_lambda_function.api, aws_lambda_function.worker] :
      [for name in ["MONTHLY_BUDGET_USD", "BUDGET_ACTION"] : function.environment[0].variables[name]]
    ] == [["250", "refuse"], ["250", "refuse"]]
    error_message = "The worker must know its budget, and the API what refuses images by it."
  }

  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.PACK_RESULTS == "on"
    error_message = "The worker must know that it packs results."
  }

  assert {
    condition     = [for function in [aws_lambda_function.api, aws_lambda_function.worker] : function.environment[0].variables.STRIP_GPS] == ["on", "on"]
    error_message = "Positions must go from what the API stores, and from what is uploaded to S3 directly."
  }

  assert {
    condition = [
      for name in ["ANALYSES", "MAX_UPLOAD_BYTES", "DAILY_IMAGE_QUOTA", "CORS_ORIGINS"] :
      aws_lambda_function.api.environment[0].variables[name]
    ] == ["moderation,labels", "20000000", "500", "https://app.example,http://localhost:8080"]
    error_message = "The function must be told what is allowed."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.worker.policy).Statement : statement.Action
      if statement.Sid == "Analyse"
    ])) == toset(["rekognition:DetectModerationLabels", "rekognition:DetectLabels"])
    error_message = "What a deployment does not offer must not be possible."
  }
  assert {
    condition     = aws_s3_bucket.images.force_destroy && !aws_dynamodb_table.images.deletion_protection_enabled
    error_message = "One command must remove what two have made."
  }
  assert {
    condition = aws_s3_bucket_versioning.images[0].versioning_configuration[0].status == "Enabled" && {
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.id => rule.noncurrent_version_expiration[0].noncurrent_days
      if contains(["deleted", "abandoned-uploads"], rule.id)
    } == { deleted = 3, abandoned-uploads = 1 }
    error_message = "What was deleted must be kept for three days, and no longer; and an upload that is an original now for one."
  }
  assert {
    condition = {
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.filter[0].prefix => rule.expiration[0].days
      if startswith(rule.id, "retention")
    } == { "originals/" = 7, "thumbnails/" = 7, "previews/" = 7, "analyses/" = 7 }
    error_message = "Originals, thumbnails, previews and results must go together."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.RETENTION_DAYS == "7" && aws_dynamodb_table.images.ttl[0].enabled && aws_dynamodb_table.images.ttl[0].attribute_name == "expiresAt"
    error_message = "And the record with them."
  }
  assert {
    condition = one([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.expiration[0].days if rule.id == "abandoned-uploads"
    ]) == 7
    error_message = "No upload may outlive its image."
  }
  assert {
    condition = alltrue([
      for pattern in [aws_cloudwatch_event_rule.queue[0].event_pattern, aws_cloudwatch_event_rule.webhook[0].event_pattern] :
      jsondecode(pattern) == { source = ["image-analyzer"], detail = { labels = ["Dog"] } }
    ])
    error_message = "The rules must match the labels."
  }
  assert {
    condition = (
      aws_cloudwatch_event_target.queue[0].dead_letter_config[0].arn == aws_sqs_queue.subscriber_dead[0].arn &&
      aws_cloudwatch_event_target.webhook[0].dead_letter_config[0].arn == aws_sqs_queue.webhook_dead[0].arn &&
      aws_sqs_queue.subscriber_dead[0].name != aws_sqs_queue.webhook_dead[0].name
    )
    error_message = "Each target must have a dead-letter queue of its own."
  }
  assert {
    condition     = aws_sqs_queue.subscriber[0].visibility_timeout_seconds == 180
    error_message = "A function that takes half a minute must have its events to itself for six times as long."
  }
  assert {
    condition     = alltrue([for queue in ["jobs", "subscriber", "webhook"] : contains(keys(aws_cloudwatch_metric_alarm.pipeline), "dead-letters-${queue}")])
    error_message = "Every dead-letter queue must be watched."
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.pipeline :
      contains(alarm.alarm_actions, "arn:aws:sns:us-east-1:111122223333:operators") && length(alarm.alarm_actions) == 3
    ])
    error_message = "Every alarm must tell somebody."
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.pipeline :
      contains(alarm.ok_actions, "arn:aws:sns:us-east-1:111122223333:operators") && length(alarm.ok_actions) == 2
    ])
    error_message = "The end of an alarm must be told too, but not to what opens an item of work."
  }
  assert {
    condition     = length(aws_cloudwatch_composite_alarm.unwell[0].alarm_actions) == 1 && length(coalesce(aws_cloudwatch_composite_alarm.unwell[0].ok_actions, [])) == 0
    error_message = "An item of work is opened once, when the first alarm goes off."
  }
  assert {
    condition = [
      for widget in jsondecode(aws_cloudwatch_dashboard.images[0].dashboard_body).widgets :
      widget.properties.annotations.horizontal[*].value if startswith(widget.properties.title, "Dollars")
    ] == [[12.5, 250 / 30]]
    error_message = "The dashboard must show what a day may cost."
  }
  assert {
    condition     = aws_sns_topic_subscription.alarms[0].endpoint == "operators@example.com"
    error_message = "The address must be told."
  }
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.pipeline) == keys(jsondecode(templatefile("alarms.json", { name = "", max_wait_minutes = 1, sweep_minutes = 1, visibility_timeout = 1, daily_cost_usd = 1 })))
    error_message = "Every alarm of the table must be made."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.pipeline["images-wait"].threshold == 1800
    error_message = "Thirty minutes are 1,800 seconds."
  }
}

run "without_lines_there_is_nothing_to_count" {
  command = plan

  variables {
    log_level = "WARN"
  }

  assert {
    condition     = local.function_environment.POWERTOOLS_LOG_LEVEL == "WARN"
    error_message = "The functions must know their level."
  }
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.pipeline) == ["api-5xx", "api-errors", "dead-letters-jobs", "oldest-job", "sweeper-errors", "sweeper-silent", "worker-errors", "worker-throttles"]
    error_message = "An alarm by a metric that nothing counts never rings."
  }
}

run "what_would_never_ring_is_refused" {
  command = plan

  variables {
    metrics            = false
    daily_cost_usd     = 10
    monthly_budget_usd = 100
    budget_action      = "alarm"
  }

  expect_failures = [var.daily_cost_usd, var.budget_action]
}

run "a_budget_needs_no_metrics" {
  command = plan

  variables {
    metrics            = false
    monthly_budget_usd = 100
  }

  assert {
    condition     = aws_lambda_function.worker.environment[0].variables.MONTHLY_BUDGET_USD == "100" && !contains(keys(aws_cloudwatch_metric_alarm.pipeline), "budget-spent")
    error_message = "The worker keeps to it, and no alarm says so."
  }
}

run "without_tls_the_bucket_may_still_send" {
  command = plan

  variables {
    compat               = { plain_http = true }
    emulator_endpoint    = "http://localhost:4566"
    emulator_rekognition = "http://rekognition:4567"
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue.jobs.policy).Statement : statement.Sid] == ["TakeUploads"]
    error_message = "An emulator must let uploads in, and everybody over plain HTTP."
  }
  assert {
    condition     = one(aws_s3_bucket_cors_configuration.images.cors_rule).allowed_origins == toset(["http://localhost:4566"])
    error_message = "There the API's page is at the emulator."
  }
  assert {
    condition = (
      local.function_environment.AWS_ENDPOINT_URL == "http://localhost:4566"
      && local.function_environment.AWS_ENDPOINT_URL_REKOGNITION == "http://rekognition:4567"
    )
    error_message = "Functions must sign URLs for where their callers reach the emulator, and ask the Rekognition that is named."
  }
}

run "a_route_has_no_settings_where_they_cannot_be_removed" {
  command = plan

  variables {
    compat = { route_settings = false }
  }

  assert {
    condition     = length(aws_api_gateway_method_settings.health) == 0 && aws_api_gateway_method_settings.all.settings[0].throttling_rate_limit == var.api_requests_per_second
    error_message = "The limit of the whole stage stays."
  }
}

run "a_gateway_with_neither_responses_of_its_own_nor_aliases_calls_the_function" {
  command = plan

  variables {
    compat = { gateway_responses = false, alias = false }
  }

  assert {
    condition     = length(aws_api_gateway_gateway_response.problem) == 0
    error_message = "There are none to set."
  }
  assert {
    condition = alltrue([
      for integration in aws_api_gateway_integration.api : integration.uri == aws_lambda_function.api.invoke_arn
    ]) && aws_lambda_event_source_mapping.jobs.function_name == aws_lambda_function.worker.arn
    error_message = "Gateway and queue must call the function itself."
  }
}

run "a_missing_package_is_named_before_anything_is_made" {
  command = plan

  variables {
    dist_dir = "./nowhere"
  }

  expect_failures = [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper]
}

# That it is looked at has the stage wait for it.
run "a_role_that_cannot_write_logs_is_refused_before_the_stage" {
  command = plan

  variables {
    manage_api_gateway_logging = false
    api_gateway_logging_role   = ""
  }

  expect_failures = [aws_api_gateway_stage.live]
}

run "another_package_than_the_one_that_was_meant_is_refused" {
  command = plan

  variables {
    zips = {
      api    = { path = "./tests/settings.tftest.hcl", sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" }
      worker = { s3_bucket = "builds", s3_key = "worker.zip", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
    }
  }

  expect_failures = [aws_lambda_function.api, aws_lambda_function.worker]
}

run "what_cannot_be_is_refused" {
  command = plan

  variables {
    name                    = "Image_Analyzer"
    auth                    = "NONE"
    runtime                 = "nodejs20.x"
    architecture            = "arm"
    cors_origins            = ["https://app.example", "*"]
    max_upload_bytes        = 0
    min_confidence          = 101
    max_labels              = 1001
    daily_image_quota       = -1
    analyses                = ["labels", "celebrities"]
    api_requests_per_second = 0
    api_burst               = 1.5
    rekognition_tps         = 0.09
    sweep_minutes           = 0
    tags                    = { "aws:team" = "images" }
    zips                    = { webhook = { path = "x.zip" } }
    permissions_boundary    = "boundary"
    kms_key_arn             = "alias/images"
    vpc_config              = { subnet_ids = [], security_group_ids = ["sg-1"] }
    tracing                 = "Active"
    telemetry_layer         = { arn = "arn:aws:lambda:us-east-1:111122223333:layer:spans" }
    versions                = { api = "$LATEST" }
    worker_timeout_seconds  = 901
    worker_memory_mb        = 512
    batch_window_seconds    = 301
    max_attempts            = 0
    subscriber_receives     = 4
    retention_days          = -1
    undelete_days           = 0.5
    log_retention_days      = 2
    archive_days            = 0
    subscriber_webhook      = { url = "http://hooks.example", token = "secret" }
    alarm_email             = "operators"
    log_level               = "info"

    account_concurrency      = 2
    subscriber_visibility    = 43201
    kms_key_arns_before      = ["alias/images"]
    max_wait_seconds         = 21
    api_reserved_concurrency = 0
  }

  expect_failures = [
    var.account_concurrency, var.max_wait_seconds, var.api_reserved_concurrency,
    var.name, var.auth, var.runtime, var.architecture, var.cors_origins, var.api_requests_per_second, var.api_burst,
    var.min_confidence, var.max_labels,
    var.max_upload_bytes, var.daily_image_quota, var.analyses, var.rekognition_tps, var.sweep_minutes,
    var.worker_timeout_seconds, var.worker_memory_mb, var.batch_window_seconds, var.max_attempts, var.subscriber_receives, var.subscriber_visibility, var.retention_days, var.undelete_days, var.log_retention_days, var.archive_days, var.subscriber_webhook,
    var.alarm_email, var.log_level,
    var.tags, var.zips, var.permissions_boundary, var.kms_key_arn, var.kms_key_arns_before, var.vpc_config, var.tracing, var.telemetry_layer, var.versions,
  ]
}

run "what_is_almost_right_is_refused" {
  command = plan

  variables {
    cors_origins             = ["https://app.example/"]
    analyses                 = []
    tags                     = { team = "images, and more" }
    api_gateway_logging_role = "arn:aws:iam::111122223333:role/logs"
    sweep_minutes            = 1.5
    name                     = "sthree-images"
    budget_action            = "Park"
    zips                     = { api = { s3_bucket = "builds", s3_key = "api.zip" }, worker = { path = "worker.zip", sha256 = "2CF2" } }
    vpc_config               = { subnet_ids = ["subnet-1"], security_group_ids = ["web"] }
    auth                     = "jwt"
    jwt_issuer               = "http://id.example"
    jwt_audience             = "image-analyzer"
    alarm_actions            = ["operators"]
    max_image_bytes          = 4500001
    subscriber_webhook       = { url = "https://hooks.example/a%20b;v=1/*?x=[1]", token = "secret" }
  }

  expect_failures = [
    var.alarm_actions, var.max_image_bytes, var.cors_origins, var.analyses, var.tags, var.sweep_minutes, var.name, var.budget_action, var.zips, var.vpc_config,
    var.jwt_issuer, var.api_gateway_logging_role, var.subscriber_webhook,
  ]
}

# Faces of persons come with the labels that show them.
run "faces_of_persons_without_labels_are_refused" {
  command = plan

  variables {
    analyses = ["moderation", "faces-when-person"]
    tags     = { "Kostenstelle 1" = "Ärger@_.:/=+-" }
  }

  expect_failures = [var.analyses]
}

run "what_contradicts_another_setting_is_refused" {
  command = plan

  variables {
    analyses          = ["faces"]
    faces             = "when-person"
    subscriber_labels = ["Dog"]
    max_upload_bytes  = 1000000
  }

  expect_failures = [var.faces, var.subscriber_labels, var.max_upload_bytes]
}

# Free analyses come with one that is paid for, and tokens with `jwt`.
run "what_does_not_come_alone_is_refused" {
  command = plan

  variables {
    tags       = { Team = "images", team = "photos" }
    analyses   = ["metadata", "gps"]
    jwt_issuer = "https://id.example"
  }

  expect_failures = [var.analyses, var.jwt_issuer, var.tags]
}

# A setting of what is not there would be one that its owner believes in.
run "what_would_do_nothing_is_refused" {
  command = plan

  variables {
    budget_action     = "refuse"
    subscriber_labels = ["Dog"]
  }

  expect_failures = [var.budget_action, var.subscriber_labels]
}

run "what_is_empty_is_refused" {
  command = plan

  variables {
    analyses       = [null]
    alarm_actions  = [null]
    unwell_actions = [null]
    tags           = { team = null }
    zips           = { api = { path = "" } }
  }

  expect_failures = [var.analyses, var.alarm_actions, var.unwell_actions, var.tags, var.zips]
}

run "what_has_no_name_is_refused" {
  command = plan

  variables {
    subscriber_queue  = true
    subscriber_labels = ["Dog", ""]
    zips              = { api = { s3_bucket = "builds", s3_key = "", sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" }, worker = null }
  }

  expect_failures = [var.zips, var.subscriber_labels]
}

run "what_is_twice_and_what_is_missing_are_refused" {
  command = plan

  variables {
    analyses = ["labels", "labels"]
    auth     = "jwt"
  }

  expect_failures = [var.analyses, var.jwt_issuer, var.jwt_audience]
}

# AWS would, when a part of the rest is there.
run "what_aws_refuses_is_refused_before" {
  command = plan

  variables {
    alarm_actions  = [for topic in ["a", "b", "c", "d", "e"] : "arn:aws:sns:us-east-1:111122223333:${topic}"]
    alarm_email    = "operators@example.com"
    unwell_actions = [for topic in ["a", "b", "c", "d", "e", "f"] : "arn:aws:sns:us-east-1:111122223333:${topic}"]

    subscriber_webhook = { url = "https://hooks.example/images", token = "secret\n" }

    name         = "default"
    cors_origins = ["https://app.example:443"]

    kms_key_arn     = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    telemetry_layer = { arn = "arn:aws:lambda:eu-west-1:111122223333:layer:spans:3" }
    vpc_config      = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5", "sg-6"] }
  }

  expect_failures = [
    var.alarm_actions, var.unwell_actions, var.kms_key_arn, var.telemetry_layer, var.subscriber_webhook, var.name,
    var.cors_origins, var.vpc_config,
  ]
}

run "more_than_a_function_s_environment_holds_is_refused" {
  command = plan

  variables {
    cors_origins = [for customer in range(80) : "https://customer-${customer}.example.org"]
  }

  expect_failures = [var.cors_origins]
}
