# One deployment in one account and region. All of it is modules/image-analyzer, which a Terraform root of your own may
# use instead of this one; variables.tf, deployment.tf and outputs.tf pass on what it has (npm run inputs writes them).
#
# No .terraform.lock.hcl is committed: it would bind `init` to one provider version with the hashes of the
# platforms that were within reach, and fail on every other. Commit your own when you run this for a team.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # What this is tested with. The module takes version 6 too.
      version = "~> 5.100"
    }
  }
}

variable "region" {
  description = "AWS region, one that has Amazon Rekognition. Null: as the environment or the profile says."
  type        = string
  default     = null
}

provider "aws" {
  region            = var.region
  s3_use_path_style = var.compat.s3_path_style

  default_tags {
    # IAM refuses a second `application` beside it.
    tags = var.compat.default_tags && !contains([for key in keys(var.tags) : lower(key)], "application") ? { Application = var.name } : {}
  }
}
