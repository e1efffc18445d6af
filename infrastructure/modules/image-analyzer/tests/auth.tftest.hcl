# Who may call, where it is not as by default (rendered.tftest.hcl).
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

run "jwt_is_verified_in_the_function" {
  command = plan

  variables {
    auth         = "jwt"
    jwt_issuer   = "https://id.example/tenant"
    jwt_audience = "image-analyzer"
    cors_origins = ["https://app.example"]
  }

  assert {
    condition     = { for route, method in aws_api_gateway_method.api : route => method.authorization } == { root = "NONE", proxy = "NONE", health = "NONE", health_other = "NONE" }
    error_message = "The gateway must let bearer tokens through, and preflights with them."
  }
  assert {
    condition = [
      for name in ["AUTH", "JWT_ISSUER", "JWT_AUDIENCE"] : aws_lambda_function.api.environment[0].variables[name]
    ] == ["jwt", "https://id.example/tenant", "image-analyzer"]
    error_message = "The function must know which tokens to believe."
  }
}

run "none_is_warned_about" {
  command = plan

  variables {
    auth = "none"
  }

  expect_failures = [check.authorisation]
}
