mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { id = "us-east-1" }
  }
}

# Of ../pipeline: both would be known after apply only.
override_resource {
  target          = aws_iam_openid_connect_provider.github
  override_during = plan
  values          = { arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
}

override_resource {
  target          = aws_iam_policy.boundary
  override_during = plan
  values          = { arn = "arn:aws:iam::111122223333:policy/image-analyzer-boundary" }
}

run "minimal" {
  command = plan

  module {
    source = "../minimal"
  }
}

run "tenants" {
  command = plan

  module {
    source = "../tenants"
  }

  assert {
    condition     = keys(module.image_analyzer) == ["acme", "globex"]
    error_message = "Each tenant must have a deployment."
  }
  assert {
    condition     = [for tenant in ["acme", "globex"] : module.image_analyzer[tenant].table] == ["images-acme-images", "images-globex-images"]
    error_message = "Each deployment must have names of its own."
  }
  assert {
    condition     = aws_iam_role.logging.name == "images-api-gateway-logging-us-east-1"
    error_message = "The account's setting must be no tenant's, who may go."
  }
}

run "production" {
  command = plan

  module {
    source = "../production"
  }

  variables {
    domain      = "images.example.com"
    zone_id     = "Z0123456789"
    page_origin = "https://app.example.com"
    alarm_email = "operators@example.com"
  }

  override_resource {
    target          = aws_acm_certificate.api
    override_during = plan
    values = {
      domain_validation_options = [{ domain_name = "images.example.com", resource_record_name = "_a", resource_record_type = "CNAME", resource_record_value = "_b" }]
    }
  }

  assert {
    condition     = output.api_url == "https://images.example.com"
    error_message = "The API must be called by its domain."
  }
  assert {
    condition     = contains(local.pages, output.api_url)
    error_message = "The API's own page must be let post to the bucket from its domain."
  }
}

run "ecs" {
  command = plan

  module {
    source = "../ecs"
  }

  variables {
    image              = "registry.example.com/worker@sha256:1"
    cluster            = "images"
    subnet_ids         = ["subnet-1"]
    security_group_ids = ["sg-1"]
    most_tasks         = 4
  }

  override_module {
    target          = module.image_analyzer
    override_during = plan
    outputs = {
      worker_policy      = "{\"Version\":\"2012-10-17\"}"
      worker_environment = { IMAGE_TABLE = "images", REKOGNITION_TPS = "5" }
      job_queue_url      = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-jobs"
    }
  }

  assert {
    condition     = aws_iam_role_policy.task.policy == module.image_analyzer.worker_policy
    error_message = "A task may do what the function may, and no more."
  }
  assert {
    condition = {
      for variable in jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].environment : variable.name => variable.value
    } == { IMAGE_TABLE = "images", REKOGNITION_TPS = "12.5", HEALTH_PORT = "8080", AWS_REGION = "us-east-1" }
    error_message = "A task must have the function's settings, and its share of the quota."
  }
  assert {
    condition     = aws_appautoscaling_target.worker.max_capacity == 4 && aws_appautoscaling_target.worker.resource_id == "service/images/image-analyzer-worker"
    error_message = "As many tasks as the quota is divided by, and no more."
  }
  assert {
    condition = [
      for metric in aws_appautoscaling_policy.backlog.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : metric.expression if metric.return_data
    ] == ["(visible + hidden) / tasks"]
    error_message = "Scaling must go by the backlog of a task, with jobs that wait."
  }
}

run "pipeline" {
  command = plan

  module {
    source = "../pipeline"
  }

  variables {
    repository   = "example/images"
    state_bucket = "example-state"
  }

  assert {
    condition = alltrue([
      for use, subject in { plan = "repo:example/images:pull_request", deploy = "repo:example/images:ref:refs/tags/v*" } :
      jsondecode(aws_iam_role.pipeline[use].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:sub"] == subject
    ])
    error_message = "Only pull requests may plan, and only tags deploy."
  }

  # What making each kind of resource of the module needs, by the Service Authorization Reference and the API references:
  # test/deployment/examples.test.ts demands that no kind is missing.
  assert {
    condition = [
      for kind, need in {
        aws_api_gateway_account                            = ["apigateway:PATCH", "arn:aws:apigateway:us-east-1::/account"]
        aws_api_gateway_deployment                         = ["apigateway:POST", "arn:aws:apigateway:us-east-1::/restapis/x/deployments"]
        aws_api_gateway_gateway_response                   = ["apigateway:PUT", "arn:aws:apigateway:us-east-1::/restapis/x/gatewayresponses/THROTTLED"]
        aws_api_gateway_integration                        = ["apigateway:PUT", "arn:aws:apigateway:us-east-1::/restapis/x/resources/y/methods/ANY/integration"]
        aws_api_gateway_method                             = ["apigateway:PUT", "arn:aws:apigateway:us-east-1::/restapis/x/resources/y/methods/ANY"]
        aws_api_gateway_method_settings                    = ["apigateway:PATCH", "arn:aws:apigateway:us-east-1::/restapis/x/stages/live"]
        aws_api_gateway_resource                           = ["apigateway:POST", "arn:aws:apigateway:us-east-1::/restapis/x/resources/y"]
        aws_api_gateway_rest_api                           = ["apigateway:POST", "arn:aws:apigateway:us-east-1::/restapis"]
        aws_api_gateway_stage                              = ["apigateway:POST", "arn:aws:apigateway:us-east-1::/restapis/x/stages"]
        aws_cloudwatch_composite_alarm                     = ["cloudwatch:PutCompositeAlarm", "*"]
        aws_cloudwatch_dashboard                           = ["cloudwatch:PutDashboard", "arn:aws:cloudwatch::111122223333:dashboard/image-analyzer-us-east-1"]
        aws_cloudwatch_event_api_destination               = ["events:CreateApiDestination", "arn:aws:events:us-east-1:111122223333:api-destination/image-analyzer-webhook"]
        aws_cloudwatch_event_archive                       = ["events:CreateArchive", "arn:aws:events:us-east-1:111122223333:archive/image-analyzer"]
        aws_cloudwatch_event_bus                           = ["events:CreateEventBus", "arn:aws:events:us-east-1:111122223333:event-bus/image-analyzer"]
        aws_cloudwatch_event_connection                    = ["secretsmanager:CreateSecret", "arn:aws:secretsmanager:us-east-1:111122223333:secret:events!connection/image-analyzer-webhook/x"]
        aws_cloudwatch_event_rule                          = ["events:PutRule", "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/image-analyzer-queue"]
        aws_cloudwatch_event_target                        = ["events:PutTargets", "arn:aws:events:us-east-1:111122223333:rule/image-analyzer-sweep"]
        aws_cloudwatch_log_group                           = ["logs:PutRetentionPolicy", "arn:aws:logs:us-east-1:111122223333:log-group:/aws/apigateway/image-analyzer:log-stream:"]
        aws_cloudwatch_metric_alarm                        = ["cloudwatch:PutMetricAlarm", "arn:aws:cloudwatch:us-east-1:111122223333:alarm:image-analyzer-api-5xx"]
        aws_cloudwatch_query_definition                    = ["logs:PutQueryDefinition", "*"]
        aws_dynamodb_table                                 = ["kms:CreateGrant", "arn:aws:kms:us-east-1:111122223333:key/x"]
        aws_iam_role                                       = ["iam:PutRolePermissionsBoundary", "arn:aws:iam::111122223333:role/image-analyzer-webhook-us-east-1"]
        aws_iam_role_policy                                = ["iam:PutRolePolicy", "arn:aws:iam::111122223333:role/image-analyzer-api-us-east-1"]
        aws_iam_role_policy_attachment                     = ["iam:AttachRolePolicy", "arn:aws:iam::111122223333:role/image-analyzer-api-gateway-logging-us-east-1"]
        aws_lambda_alias                                   = ["lambda:CreateAlias", "arn:aws:lambda:us-east-1:111122223333:function:image-analyzer-api"]
        aws_lambda_event_source_mapping                    = ["lambda:CreateEventSourceMapping", "*"]
        aws_lambda_function                                = ["lambda:CreateFunction", "arn:aws:lambda:us-east-1:111122223333:function:image-analyzer-api"]
        aws_lambda_function_event_invoke_config            = ["lambda:PutFunctionEventInvokeConfig", "arn:aws:lambda:us-east-1:111122223333:function:image-analyzer-sweeper"]
        aws_lambda_permission                              = ["lambda:AddPermission", "arn:aws:lambda:us-east-1:111122223333:function:image-analyzer-api:live"]
        aws_s3_bucket                                      = ["s3:CreateBucket", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_cors_configuration                   = ["s3:PutBucketCORS", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_lifecycle_configuration              = ["s3:PutLifecycleConfiguration", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_notification                         = ["s3:PutBucketNotification", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_ownership_controls                   = ["s3:PutBucketOwnershipControls", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_policy                               = ["s3:PutBucketPolicy", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_public_access_block                  = ["s3:PutBucketPublicAccessBlock", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_server_side_encryption_configuration = ["s3:PutEncryptionConfiguration", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_s3_bucket_versioning                           = ["s3:PutBucketVersioning", "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"]
        aws_sns_topic                                      = ["sns:CreateTopic", "arn:aws:sns:us-east-1:111122223333:image-analyzer-alarms"]
        aws_sns_topic_subscription                         = ["sns:Unsubscribe", "*"]
        aws_sqs_queue                                      = ["sqs:CreateQueue", "arn:aws:sqs:us-east-1:111122223333:image-analyzer-jobs"]
        } : kind if !anytrue([
          for statement in jsondecode(aws_iam_role_policy.deploy.policy).Statement :
          anytrue([for action in flatten([statement.Action]) : can(regex("^${replace(action, "*", ".*")}$", need[0]))])
          && anytrue([for resource in flatten([statement.Resource]) : can(regex("^${replace(resource, "*", ".*")}$", need[1]))])
      ])
    ] == []
    error_message = "The pipeline must be allowed to make each kind of resource."
  }
  assert {
    condition = alltrue([
      for action in ["ec2:CreateNetworkInterface", "kms:Decrypt", "rekognition:DetectFaces", "xray:PutTraceSegments"] :
      anytrue([
        for allowed in flatten(jsondecode(aws_iam_policy.boundary.policy).Statement[*].Action) : can(regex("^${replace(allowed, "*", ".*")}$", action))
      ])
    ])
    error_message = "The boundary must leave functions what a VPC, a key and traces need."
  }
  # Amazon IAM quotas: white space aside.
  assert {
    condition = alltrue([
      for use, policies in { plan = [aws_iam_role_policy.read["plan"]], deploy = [aws_iam_role_policy.read["deploy"], aws_iam_role_policy.deploy] } :
      sum([for one in policies : length(one.policy)]) <= 10240
    ]) && length(aws_iam_policy.boundary.policy) <= 6144
    error_message = "IAM takes 10,240 characters of policies in a role, and 6,144 of a managed one."
  }
}

run "a_repository_is_named_with_its_owner" {
  command = plan

  module {
    source = "../pipeline"
  }

  variables {
    repository   = "*/*"
    state_bucket = "example-state"
  }

  expect_failures = [var.repository]
}

run "a_repository_of_now_has_numbers_in_its_tokens" {
  command = plan

  module {
    source = "../pipeline"
  }

  variables {
    repository   = "example@12/images@34"
    state_bucket = "example-state"
  }

  assert {
    condition     = jsondecode(aws_iam_role.pipeline["deploy"].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:sub"] == "repo:example@12/images@34:ref:refs/tags/v*"
    error_message = "The numbers must be in the subject."
  }
}
