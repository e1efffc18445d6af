# The worker as a service of ECS in place of the function (docs/worker.md): a task for each backlog of two batches, as many as
# Rekognition's quota is for. API and sweeper stay on Lambda. Pause the function first: npm run ops -- pause --yes --name image-analyzer
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {}

variable "image" {
  description = "What `docker build` has made of the Dockerfile, in a registry, such as 111122223333.dkr.ecr.eu-west-1.amazonaws.com/worker@sha256:…"
  type        = string
}

variable "cluster" {
  description = "Name of the ECS cluster for the service, with Container Insights on: they count its tasks."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the tasks, which reach AWS by a NAT gateway or by endpoints."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the tasks: nothing in, HTTPS out."
  type        = list(string)
}

variable "most_tasks" {
  description = "The maximum number of tasks at once."
  type        = number
  default     = 10
}

variable "rekognition_tps" {
  description = "Calls a second of each of Rekognition's operations, of all tasks together."
  type        = number
  default     = 50

  validation {
    condition     = var.rekognition_tps > 0
    error_message = "Must be more than 0."
  }
}

module "image_analyzer" {
  source   = "../../infrastructure/modules/image-analyzer"
  dist_dir = "${path.root}/dist"
}

data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  name = "image-analyzer-worker"
  environment = merge(module.image_analyzer.worker_environment, {
    AWS_REGION      = data.aws_region.current.id
    HEALTH_PORT     = "8080"
    REKOGNITION_TPS = tostring(var.rekognition_tps / var.most_tasks)
  })
  assumed_by_tasks = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ecs-tasks.amazonaws.com" } }]
  })
}

# What the worker itself may do: the same as the function, and no more.
resource "aws_iam_role" "task" {
  name               = "${local.name}-task"
  assume_role_policy = local.assumed_by_tasks
}

resource "aws_iam_role_policy" "task" {
  name   = "worker"
  role   = aws_iam_role.task.id
  policy = module.image_analyzer.worker_policy
}

# What ECS does before the worker runs: pull the image, and write its log.
resource "aws_iam_role" "execution" {
  name               = "${local.name}-execution"
  assume_role_policy = local.assumed_by_tasks
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_cloudwatch_log_group" "worker" {
  name              = "/ecs/${local.name}"
  retention_in_days = 30
}

resource "aws_ecs_task_definition" "worker" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 1024
  memory                   = 2048
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions = jsonencode([{
    name                   = "worker"
    image                  = var.image
    essential              = true
    readonlyRootFilesystem = true
    # More than DRAIN_SECONDS, which is 25.
    stopTimeout = 30
    environment = [for name, value in local.environment : { name = name, value = value }]
    healthCheck = {
      command = ["CMD", "node", "-e", "fetch('http://127.0.0.1:8080/live').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.worker.name
        awslogs-region        = data.aws_region.current.id
        awslogs-stream-prefix = "worker"
      }
    }
  }])
}

resource "aws_ecs_service" "worker" {
  name            = local.name
  cluster         = var.cluster
  task_definition = aws_ecs_task_definition.worker.arn
  launch_type     = "FARGATE"
  desired_count   = 1

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = var.security_group_ids
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  lifecycle {
    # Scaling sets it.
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "worker" {
  service_namespace  = "ecs"
  resource_id        = "service/${var.cluster}/${aws_ecs_service.worker.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  # From none there would be no backlog per task to scale by.
  min_capacity = 1
  max_capacity = var.most_tasks
}

# Backlog per task. Jobs that wait for the quota are hidden, and count: without them the last tasks would end over a backlog.
resource "aws_appautoscaling_policy" "backlog" {
  name               = "${local.name}-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.worker.service_namespace
  resource_id        = aws_appautoscaling_target.worker.resource_id
  scalable_dimension = aws_appautoscaling_target.worker.scalable_dimension

  target_tracking_scaling_policy_configuration {
    # Two batches of ten, as much as one worker has at a time.
    target_value       = 20
    scale_in_cooldown  = 300
    scale_out_cooldown = 60

    customized_metric_specification {
      dynamic "metrics" {
        for_each = { visible = "ApproximateNumberOfMessagesVisible", hidden = "ApproximateNumberOfMessagesNotVisible" }
        content {
          id          = metrics.key
          return_data = false
          metric_stat {
            stat = "Sum"
            metric {
              namespace   = "AWS/SQS"
              metric_name = metrics.value
              dimensions {
                name  = "QueueName"
                value = basename(module.image_analyzer.job_queue_url)
              }
            }
          }
        }
      }
      metrics {
        id          = "tasks"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"
            dimensions {
              name  = "ClusterName"
              value = var.cluster
            }
            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.worker.name
            }
          }
        }
      }
      metrics {
        id          = "backlog"
        label       = "Jobs of a task"
        expression  = "(visible + hidden) / tasks"
        return_data = true
      }
    }
  }
}
