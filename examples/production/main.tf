# A deployment for people with accounts: Cognito's tokens, a domain of its own, a firewall, one key for all that rests, alarms
# by e-mail, and the state of Terraform where a team shares it.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }

  # terraform init -backend-config=bucket=<yours> -backend-config=region=<its region>. The key begins with var.name, for the
  # roles of examples/pipeline.
  backend "s3" {
    key          = "image-analyzer/production.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  default_tags {
    tags = { Application = var.name }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.id

  # The API's own page is at the domain, and posts large files to the bucket from there.
  pages = [var.page_origin, "https://${var.domain}"]
}

module "image_analyzer" {
  source   = "../../infrastructure/modules/image-analyzer"
  name     = var.name
  dist_dir = "${path.root}/dist"

  auth         = "jwt"
  jwt_issuer   = "https://cognito-idp.${local.region}.amazonaws.com/${aws_cognito_user_pool.people.id}"
  jwt_audience = aws_cognito_user_pool_client.page.id
  cors_origins = local.pages

  kms_key_arn        = aws_kms_key.images.arn
  undelete_days      = 30
  log_retention_days = 90
  archive_days       = 90
  daily_image_quota  = 1000
  alarm_email        = var.alarm_email

  permissions_boundary = var.permissions_boundary
  versions             = var.versions
}
