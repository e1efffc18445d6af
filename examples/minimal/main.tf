# The least that a root of your own needs: the zips of a release in its dist/.
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

module "image_analyzer" {
  source   = "../../infrastructure/modules/image-analyzer"
  dist_dir = "${path.root}/dist"
}

output "upload_url" {
  description = "Where images are posted to, in requests that are signed."
  value       = module.image_analyzer.upload_url
}
