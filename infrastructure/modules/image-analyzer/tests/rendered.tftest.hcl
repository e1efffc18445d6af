# Whole plans for test/, which reads them from `terraform test -json -verbose`: policies as text, keys and numbers.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

run "everything" {
  command = plan

  variables {
    cors_origins   = ["https://app.example"]
    retention_days = 30
    alarm_email    = "operators@example.com"

    tags                 = { team = "images" }
    permissions_boundary = "arn:aws:iam::111122223333:policy/bounds"
    subscriber_queue     = true
    subscriber_webhook   = { url = "https://hooks.example/images", token = "hooks-own-token" }
  }

  assert {
    condition     = output.bucket == "image-analyzer-images-111122223333-us-east-1"
    error_message = "The bucket's name must carry account and region."
  }
}

# Nothing of it is for the gateway.
run "frugal" {
  command = plan

  variables {
    analyses          = ["labels"]
    daily_image_quota = 1000
    retention_days    = 7
    max_image_bytes   = 1000000
    max_upload_bytes  = 20000000
    min_confidence    = 80.5
    max_labels        = 20
    preview           = false
  }

  assert {
    condition     = output.subscriber_queue_url == null
    error_message = "Nobody subscribes unless asked for."
  }
}

run "defaults" {
  command = plan

  assert {
    condition     = output.subscriber_queue_url == null
    error_message = "Nobody subscribes unless asked for."
  }
}

run "jwt" {
  command = plan

  variables {
    auth         = "jwt"
    jwt_issuer   = "https://id.example"
    jwt_audience = "image-analyzer"
  }

  assert {
    condition     = endswith(output.api_execution_arn, "/live")
    error_message = "Callers are given rights on the stage."
  }
}
