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

  override_resource {
    target          = aws_iam_openid_connect_provider.github
    override_during = plan
    values          = { arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
  }

  assert {
    condition = alltrue([
      for use, subject in { plan = "repo:example/images:pull_request", deploy = "repo:example/images:ref:refs/tags/v*" } :
      jsondecode(aws_iam_role.pipeline[use].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:sub"] == subject
    ])
    error_message = "Only pull requests may plan, and only tags deploy."
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
