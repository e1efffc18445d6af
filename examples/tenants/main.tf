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

  # One setting of the account: the first has it.
  manage_api_gateway_logging = each.key == keys(var.tenants)[0]
}

output "upload_urls" {
  description = "Where the images of each tenant are posted to."
  value       = { for tenant, deployment in module.image_analyzer : tenant => deployment.upload_url }
}
