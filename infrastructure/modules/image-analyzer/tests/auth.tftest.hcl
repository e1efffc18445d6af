# Who may call.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  dist_dir = "../../../dist"
}

run "by_default_every_route_but_health_is_signed" {
  command = plan

  assert {
    condition     = { for route, method in aws_api_gateway_method.api : route => method.authorization } == { root = "AWS_IAM", proxy = "AWS_IAM", health = "NONE", health_other = "AWS_IAM" }
    error_message = "Only /health may be open."
  }
  assert {
    condition     = aws_api_gateway_method.api["health"].http_method == "GET" && aws_api_gateway_method_settings.health.settings[0].throttling_rate_limit <= 5
    error_message = "The open route must be for reading, and slow."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.AUTH == "iam"
    error_message = "The function must know who vouches for the caller."
  }
  assert {
    condition = alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      jsondecode(response.response_templates["application/json"]).status == tonumber(response.status_code)
      && response.response_parameters["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    ])
    error_message = "Status and media type must be those of a problem."
  }
  assert {
    condition = alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      !contains(keys(response.response_parameters), "gatewayresponse.header.Access-Control-Allow-Origin")
    ])
    error_message = "Without other origins none may read an answer."
  }
  assert {
    condition     = aws_api_gateway_gateway_response.problem["MISSING_AUTHENTICATION_TOKEN"].status_code == "401" && aws_api_gateway_gateway_response.problem["THROTTLED"].response_parameters["gatewayresponse.header.Retry-After"] == "'1'"
    error_message = "An unsigned request is a 401, and a throttled one says when to come back."
  }
}

run "a_browser_may_ask_unsigned_whether_a_page_may_send_signed_requests" {
  command = plan

  variables {
    cors_origins = ["https://app.example"]
  }

  assert {
    condition = {
      for route, method in aws_api_gateway_method.api : route => "${method.http_method} ${method.authorization}"
      } == {
      root   = "ANY AWS_IAM", root_preflight = "OPTIONS NONE", proxy = "ANY AWS_IAM", proxy_preflight = "OPTIONS NONE",
      health = "GET NONE", health_other = "ANY AWS_IAM"
    }
    error_message = "Preflights carry no signature, and nothing else may come without."
  }
  assert {
    condition = alltrue([
      for name in ["root", "proxy"] :
      aws_api_gateway_method.api["${name}_preflight"].resource_id == aws_api_gateway_method.api[name].resource_id
    ])
    error_message = "A preflight asks where the request will go."
  }
  assert {
    condition     = keys(aws_api_gateway_integration.api) == keys(aws_api_gateway_method.api) && alltrue([for integration in aws_api_gateway_integration.api : integration.uri == aws_lambda_alias.api.invoke_arn])
    error_message = "The function must be asked: it knows the origins."
  }
  assert {
    condition = length(aws_api_gateway_gateway_response.problem) >= 10 && alltrue([
      for response in aws_api_gateway_gateway_response.problem :
      response.response_parameters["gatewayresponse.header.Access-Control-Allow-Origin"] == "'https://app.example'"
    ])
    error_message = "A page must see why the gateway itself refuses."
  }
  assert {
    condition     = aws_lambda_function.api.environment[0].variables.CORS_ORIGINS == "https://app.example"
    error_message = "The function must know which origins are let in."
  }
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

run "jwt_needs_an_issuer_and_an_audience" {
  command = plan

  variables {
    auth = "jwt"
  }

  expect_failures = [var.jwt_issuer, var.jwt_audience]
}

run "an_issuer_without_jwt_is_a_mistake" {
  command = plan

  variables {
    jwt_issuer = "https://id.example"
  }

  expect_failures = [var.jwt_issuer]
}

run "an_issuer_is_https" {
  command = plan

  variables {
    auth         = "jwt"
    jwt_issuer   = "http://id.example"
    jwt_audience = "image-analyzer"
  }

  expect_failures = [var.jwt_issuer]
}

run "another_way_of_authorisation_is_refused" {
  command = plan

  variables {
    auth = "NONE"
  }

  expect_failures = [var.auth]
}
