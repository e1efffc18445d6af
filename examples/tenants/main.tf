# One deployment for each tenant, in one account and region. Each has a part of the account's Rekognition quota and
# executions.
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

variable "tenants" {
  description = "Names of the tenants, and the calls a second that each may make of each of Rekognition's operations."
  type        = map(object({ rekognition_tps = number }))
  default = {
    acme   = { rekognition_tps = 30 }
    globex = { rekognition_tps = 20 }
  }
}

module "image_analyzer" {
  source   = "../../infrastructure/modules/image-analyzer"
  for_each = var.tenants

  name                = "images-${each.key}"
  dist_dir            = "${path.root}/dist"
  tags                = { tenant = each.key }
  rekognition_tps     = each.value.rekognition_tps
  account_concurrency = floor(1000 / length(var.tenants))

  # No tenant's: the setting is the account's. It comes before the first of them, and stays when any of them goes.
  manage_api_gateway_logging = false
  api_gateway_logging_role   = aws_api_gateway_account.logging.cloudwatch_role_arn
}

data "aws_partition" "current" {}
data "aws_region" "current" {}

# The role with which API Gateway writes logs, in this account and region.
resource "aws_api_gateway_account" "logging" {
  cloudwatch_role_arn = aws_iam_role.logging.arn

  # API Gateway tries the role at once.
  depends_on = [aws_iam_role_policy_attachment.logging]
}

resource "aws_iam_role" "logging" {
  name = "images-api-gateway-logging-${data.aws_region.current.id}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "apigateway.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "logging" {
  role       = aws_iam_role.logging.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

output "upload_urls" {
  description = "Where the images of each tenant are posted to."
  value       = { for tenant, deployment in module.image_analyzer : tenant => deployment.upload_url }
}
