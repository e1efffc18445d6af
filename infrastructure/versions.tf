# No .terraform.lock.hcl is committed: it would bind `init` to one provider version with the hashes of the
# platforms that were within reach, and fail on every other. Commit your own when you run this for a team.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # What these files are tested with. Version 6 has not been tried; nodejs24.x would need it.
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region            = var.region
  s3_use_path_style = var.compat.s3_path_style

  default_tags {
    tags = var.compat.default_tags ? { Application = var.name } : {}
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # `id` is the region's name in provider 5 and 6 alike; `name` is deprecated in 6, `region` unknown to 5.
  region = data.aws_region.current.id
}
