locals {
  stage = "live"

  # Without these the gateway hands binary bodies over as broken text, and says 200. `*/*` would encode JSON too. The
  # last is what `curl --data-binary @photo.jpg` calls a photo.
  binary_media_types = var.compat.binary_media_types ? [
    "image/*", "application/octet-stream", "multipart/form-data", "application/x-www-form-urlencoded",
  ] : []

  # jwt is verified in the function: the gateway's own JWT authorizer is for HTTP APIs only.
  gateway_authorization = var.auth == "iam" ? "AWS_IAM" : "NONE"

  # With iam everything is signed, the page and the API reference too: who cannot sign has no use for them. Only
  # /health is open, for monitors that have no credentials; it says nothing, and few may ask (see throttling). And a
  # browser asks without a signature whether a page of another origin may send the signed request; the function then
  # looks at the origin only. Where every method is open, these two would do nothing.
  preflights = var.auth == "iam" && length(var.cors_origins) > 0 ? ["root", "proxy"] : []
  resources = {
    root   = aws_api_gateway_rest_api.api.root_resource_id
    proxy  = aws_api_gateway_resource.proxy.id
    health = aws_api_gateway_resource.health.id
  }
  routes = merge(
    {
      root   = { resource_id = local.resources.root, method = "ANY", authorization = local.gateway_authorization }
      proxy  = { resource_id = local.resources.proxy, method = "ANY", authorization = local.gateway_authorization }
      health = { resource_id = local.resources.health, method = "GET", authorization = "NONE" }
      # Other methods are answered by the function, as elsewhere: 405 with what is allowed.
      health_other = { resource_id = local.resources.health, method = "ANY", authorization = local.gateway_authorization }
    },
    {
      for name in local.preflights :
      "${name}_preflight" => { resource_id = local.resources[name], method = "OPTIONS", authorization = "NONE" }
    },
  )

  # A request that waits for its image takes one of the account's concurrent executions all the while, and workers need
  # them too. So the longest wait is such that all requests that the gateway lets through in it fit into what is there for
  # the API, which is what is reserved for it, or half of what the workers leave:
  #
  #   account           1000                            10
  #   workers             10                            10    maximum_concurrency (worker.tf)
  #   for the API        495                             0    (account − workers) ÷ 2
  #   longest wait         7                             0    (for the API − burst) ÷ requests a second; 0 to 20 s
  #   requests in it     450 = 100 + 50 × 7              0    burst + requests a second × longest wait
  api_concurrency  = coalesce(var.api_reserved_concurrency, max(0, floor((var.account_concurrency - local.maximum_concurrency) / 2)))
  longest_wait     = max(0, min(20, floor((local.api_concurrency - var.api_burst) / var.api_requests_per_second)))
  max_wait_seconds = var.max_wait_seconds == null ? local.longest_wait : var.max_wait_seconds

  # Of the page that the API serves, as a browser names it.
  api_origin = coalesce(var.emulator_endpoint, "https://${aws_api_gateway_rest_api.api.id}.execute-api.${local.region}.${data.aws_partition.current.dns_suffix}")

  # Emulators have all APIs on one host.
  api_url = var.emulator_endpoint == null ? aws_api_gateway_stage.live.invoke_url : "${var.emulator_endpoint}/restapis/${aws_api_gateway_rest_api.api.id}/${local.stage}/_user_request_"
}

check "authorisation" {
  assert {
    condition     = var.auth != "none"
    error_message = "auth = none: anybody on the internet may upload images, see all of them, and have you pay Rekognition for it."
  }
}

# The function

locals {
  api_environment = merge(
    local.function_environment,
    {
      IMAGE_BUCKET        = aws_s3_bucket.images.id
      IMAGE_TABLE         = aws_dynamodb_table.images.name
      JOB_QUEUE_URL       = aws_sqs_queue.jobs.url
      SWEEP_AFTER_SECONDS = tostring(local.sweep_after_seconds)
      MAX_IMAGE_BYTES     = tostring(var.max_image_bytes)
      MAX_UPLOAD_BYTES    = tostring(var.max_upload_bytes)
      MAX_WAIT_SECONDS    = tostring(local.max_wait_seconds)
      ANALYSES            = join(",", var.analyses)
      FACES               = var.faces
      AUTH                = var.auth
    },
    var.auth == "jwt" ? { JWT_ISSUER = var.jwt_issuer, JWT_AUDIENCE = var.jwt_audience } : {},
    var.retention_days == 0 ? {} : { RETENTION_DAYS = tostring(var.retention_days) },
    var.daily_image_quota == 0 ? {} : { DAILY_IMAGE_QUOTA = tostring(var.daily_image_quota) },
    local.budget,
    var.strip_gps ? { STRIP_GPS = "on" } : {},
    var.heic ? { HEIC = "on" } : {},
    length(var.cors_origins) == 0 ? {} : { CORS_ORIGINS = join(",", var.cors_origins) },
  )
}

resource "aws_lambda_function" "api" {
  #checkov:skip=CKV_AWS_115: reserved concurrency takes from the account's, and breaks deployments where that is small; the gateway throttles, and api_reserved_concurrency is there
  #checkov:skip=CKV_AWS_116: called synchronously: the caller gets the error
  #checkov:skip=CKV_AWS_117: it talks to AWS only; a VPC would add a NAT gateway and keep nothing out
  #checkov:skip=CKV_AWS_173: names and URLs, no secrets; encrypted with a key of AWS's
  #checkov:skip=CKV_AWS_272: who may deploy code may also change the signing configuration

  function_name     = "${var.name}-api"
  description       = "A request becomes a record and a job. Release ${local.release}."
  role              = aws_iam_role.api.arn
  filename          = local.packages.api.path
  s3_bucket         = local.packages.api.s3_bucket
  s3_key            = local.packages.api.s3_key
  s3_object_version = local.packages.api.s3_object_version
  source_code_hash  = local.package_hashes.api
  publish           = true
  handler           = "index.handler"
  runtime           = var.runtime
  layers            = var.telemetry_layer[*].arn
  architectures     = [var.architecture]
  memory_size       = 1024
  # The gateway gives up after 29 seconds (Amazon API Gateway quotas), so no caller would get the answer.
  timeout = 29

  reserved_concurrent_executions = var.api_reserved_concurrency
  tags                           = var.tags

  environment {
    variables = local.api_environment
  }

  tracing_config {
    mode = var.tracing == "active" ? "Active" : "PassThrough"
  }

  dynamic "vpc_config" {
    for_each = var.vpc_config[*]
    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  lifecycle {
    precondition {
      condition     = local.package_faults.api == ""
      error_message = local.package_faults.api
    }
    postcondition {
      condition     = local.packages.api.path != null || self.code_sha256 == local.package_hashes.api
      error_message = "The package that Lambda got from S3 has another SHA-256 than zips names: ${self.code_sha256} in base64."
    }
    precondition {
      condition     = local.max_wait_seconds <= local.longest_wait
      error_message = "Requests that wait for ${local.max_wait_seconds} s could take ${ceil(var.api_burst + var.api_requests_per_second * local.max_wait_seconds)} of the account's concurrent executions, and the API may have ${local.api_concurrency}: lower max_wait_seconds (to ${local.longest_wait}), api_requests_per_second or api_burst, or set api_reserved_concurrency."
    }
    precondition {
      condition     = try(var.account_concurrency - var.api_reserved_concurrency >= max(100, local.maximum_concurrency), var.api_reserved_concurrency == null)
      error_message = "api_reserved_concurrency leaves too little of account_concurrency: the workers may need ${local.maximum_concurrency}, and Lambda keeps 100 unreserved. Without it nothing is reserved."
    }
  }

  # Otherwise the function could log before the group is there, and make one that is kept for ever.
  depends_on = [aws_cloudwatch_log_group.api, aws_iam_role_policy.api]
}

resource "aws_lambda_alias" "api" {
  name             = local.alias
  description      = local.alias_description
  function_name    = aws_lambda_function.api.function_name
  function_version = lookup(var.versions, "api", aws_lambda_function.api.version)

  # Who reads changes before who writes: a new job or record is met by no old worker.
  depends_on = [aws_lambda_alias.worker, aws_lambda_alias.sweeper]
}

#trivy:ignore:AWS-0017 encrypted with a key of AWS's; logs hold ids, no images
resource "aws_cloudwatch_log_group" "api" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; logs hold ids, no images
  #checkov:skip=CKV_AWS_338: a month is enough to find a fault, and a year of callers' names is not wanted

  name              = "/aws/lambda/${var.name}-api"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "api" {
  # Roles belong to the account, not to a region.
  name                 = "${var.name}-api-${local.region}"
  assume_role_policy   = local.assumed_by_lambda
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

#trivy:ignore:AWS-0057 wildcards are keys under one prefix, log streams of one group, and what AWS cannot narrow
resource "aws_iam_role_policy" "api" {
  name = "api"
  role = aws_iam_role.api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      # POST /images stores what it was given.
      {
        Sid      = "StoreOriginal"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.images.arn}/${local.originals}*"
      },
      # A presigned form can do what its signer may: POST /uploads.
      {
        Sid      = "SignUploads"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.images.arn}/${local.uploads}*"
      },
      # GET /images/{imageId} of results that are too large for the record.
      {
        Sid      = "ReadAnalysis"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${aws_s3_bucket.images.arn}/${local.analyses}*"
      },
      # A presigned URL can do what its signer may: GET /images/{imageId}/original, /thumbnail and /preview.
      {
        Sid    = "SignDownloads"
        Effect = "Allow"
        Action = "s3:GetObject"
        Resource = [
          for prefix in [local.originals, local.thumbnails, local.previews] : "${aws_s3_bucket.images.arn}/${prefix}*"
        ]
      },
      # DELETE /images/{imageId}.
      {
        Sid      = "DeleteObjects"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = local.image_objects
      },
      # A new record or idempotency key, and looking at either. A submission that is repeated, and a retry, update the
      # record, and each image its owner's quota of the day; a deletion replaces the record with a note for the sweeper.
      {
        Sid      = "WriteAndReadRecords"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.images.arn
      },
      # GET /images, with and without ?status= or ?label=.
      {
        Sid      = "ListRecords"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = [for index in ["byOwner", "byStatus", "byLabel"] : "${aws_dynamodb_table.images.arn}/index/${index}"]
      },
      # GET /images?label= and GET /labels; and a deletion takes an image out of the index.
      {
        Sid      = "SearchAndUnindexLabels"
        Effect   = "Allow"
        Action   = ["dynamodb:Query", "dynamodb:BatchWriteItem"]
        Resource = aws_dynamodb_table.labels.arn
      },
      # The same of images of the version before: its index names records, and its entries are items beside them.
      {
        Sid      = "SearchAndUnindexLabelsOfBefore"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"]
        Resource = aws_dynamodb_table.images.arn
      },
      # An accepted image gets its job.
      {
        Sid      = "SendJob"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.jobs.arn
      },
      # Its own log group only, which it cannot make.
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.api.arn}:*"
      },
    ], local.common_statements)
  })
}

# The gateway: a REST API, because emulators have it

resource "aws_api_gateway_rest_api" "api" {
  name               = var.name
  description        = "Queue-based image analysis."
  binary_media_types = local.binary_media_types
  tags               = var.tags

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_resource" "proxy" {
  rest_api_id = aws_api_gateway_rest_api.api.id
  parent_id   = aws_api_gateway_rest_api.api.root_resource_id
  path_part   = "{proxy+}"
}

resource "aws_api_gateway_resource" "health" {
  rest_api_id = aws_api_gateway_rest_api.api.id
  parent_id   = aws_api_gateway_rest_api.api.root_resource_id
  path_part   = "health"
}

#trivy:ignore:AWS-0004 authorised by IAM unless auth says otherwise; /health has no data
resource "aws_api_gateway_method" "api" {
  #checkov:skip=CKV_AWS_59: authorised by IAM unless auth says otherwise; /health has no data
  #checkov:skip=CKV2_AWS_53: the function validates: three kinds of body, which the gateway's models cannot distinguish
  #checkov:skip=CKV2_AWS_70: authorised by IAM unless auth says otherwise; an API key is metering, not authentication

  for_each      = local.routes
  rest_api_id   = aws_api_gateway_rest_api.api.id
  resource_id   = each.value.resource_id
  http_method   = each.value.method
  authorization = each.value.authorization
}

resource "aws_api_gateway_integration" "api" {
  for_each                = local.routes
  rest_api_id             = aws_api_gateway_rest_api.api.id
  resource_id             = each.value.resource_id
  http_method             = aws_api_gateway_method.api[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = var.compat.alias ? aws_lambda_alias.api.invoke_arn : aws_lambda_function.api.invoke_arn
}

# What the gateway refuses never reaches the function, and has to look as if it had: the same codes
# (api/schemas.ts), the same media type. Defaults carry no status, which would overwrite every other one's.
locals {
  problems = {
    MISSING_AUTHENTICATION_TOKEN = { status = 401, code = "UNAUTHENTICATED", detail = "Sign the request with AWS Signature Version 4." }
    INVALID_SIGNATURE            = { status = 401, code = "UNAUTHENTICATED", detail = "The signature is not valid." }
    EXPIRED_TOKEN                = { status = 401, code = "UNAUTHENTICATED", detail = "The signature or its session has expired." }
    UNAUTHORIZED                 = { status = 401, code = "UNAUTHENTICATED", detail = "The caller is not authenticated." }
    ACCESS_DENIED                = { status = 403, code = "UNAUTHENTICATED", detail = "The caller may not use this API: execute-api:Invoke is missing." }
    THROTTLED                    = { status = 429, code = "TOO_MANY_REQUESTS", detail = "Too many requests; try again later." }
    QUOTA_EXCEEDED               = { status = 429, code = "TOO_MANY_REQUESTS", detail = "Too many requests; try again later." }
    # Of a firewall at the stage, such as that of examples/production, which counts the requests of five minutes.
    WAF_FILTERED        = { status = 429, code = "TOO_MANY_REQUESTS", detail = "The firewall has refused the request, as where an address sends too many; try again later.", retry_after = "60" }
    REQUEST_TOO_LARGE   = { status = 413, code = "IMAGE_TOO_LARGE", detail = "The request is too large. Larger images go by POST /uploads." }
    INTEGRATION_FAILURE = { status = 503, code = "UNAVAILABLE", detail = "The API did not answer. Nothing was lost." }
    INTEGRATION_TIMEOUT = { status = 503, code = "UNAVAILABLE", detail = "The API did not answer in time." }
  }
  retry_after = { 429 = "1", 503 = "5" }

  # A browser gives a page an answer of another origin only with these, and a 413 or 429 without them looks to it like a
  # connection that broke off. A gateway response has one fixed value: with several origins that is any, which shows
  # no more than the problem itself, for no cookie is sent or taken.
  cors_headers = length(var.cors_origins) == 0 ? {} : {
    "gatewayresponse.header.Access-Control-Allow-Origin"   = "'${length(var.cors_origins) == 1 ? var.cors_origins[0] : "*"}'"
    "gatewayresponse.header.Access-Control-Expose-Headers" = "'Retry-After, WWW-Authenticate, x-amzn-RequestId'"
  }
}

resource "aws_api_gateway_gateway_response" "problem" {
  # Not by a condition, which would make one map of text of them.
  for_each      = { for cause, problem in local.problems : cause => problem if var.compat.gateway_responses }
  rest_api_id   = aws_api_gateway_rest_api.api.id
  response_type = each.key
  status_code   = tostring(each.value.status)
  response_parameters = merge(
    { "gatewayresponse.header.Content-Type" = "'application/problem+json'" },
    local.cors_headers,
    each.value.status == 401 ? { "gatewayresponse.header.WWW-Authenticate" = "'${var.auth == "jwt" ? "Bearer" : "AWS4-HMAC-SHA256"}'" } : {},
    contains(keys(local.retry_after), tostring(each.value.status)) ? { "gatewayresponse.header.Retry-After" = "'${try(each.value.retry_after, local.retry_after[each.value.status])}'" } : {},
  )
  response_templates = {
    "application/json" = jsonencode({
      type     = "urn:image-analyzer:problem:${replace(lower(each.value.code), "_", "-")}"
      title    = each.value.detail
      status   = each.value.status
      code     = each.value.code
      detail   = each.value.detail
      instance = "urn:uuid:$context.requestId"
    })
  }
}

resource "aws_lambda_permission" "api" {
  # Of this REST API: where it is replaced, the permission of the next one is made while that of the last is still there.
  statement_id  = "ApiGateway-${aws_api_gateway_rest_api.api.id}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.api.function_name
  qualifier     = aws_lambda_alias.api.name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.api.execution_arn}/${local.stage}/*"

  # A deployment from before the alias calls the function without it until its stage has changed.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_deployment" "api" {
  rest_api_id = aws_api_gateway_rest_api.api.id

  # What a deployment is a snapshot of, and no more: whole resources would hold values that AWS changes
  # and deploy again each time.
  triggers = {
    snapshot = sha256(jsonencode([
      local.binary_media_types,
      aws_api_gateway_resource.proxy.path_part,
      aws_api_gateway_resource.health.path_part,
      [for route in local.routes : [route.method, route.authorization]],
      aws_lambda_alias.api.invoke_arn,
      local.problems,
      local.cors_headers,
      var.auth,
    ]))
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [
    aws_api_gateway_method.api, aws_api_gateway_integration.api, aws_api_gateway_gateway_response.problem,
    aws_lambda_permission.api,
  ]
}

resource "aws_api_gateway_stage" "live" {
  #checkov:skip=CKV_AWS_120: answers are one owner's and change until an image is finished; a cache would give out stale ones
  #checkov:skip=CKV2_AWS_29: a web application firewall costs more a month than a small deployment; attach one to the stage where wanted
  #checkov:skip=CKV2_AWS_51: callers are known by signature or token; certificates would be a third way

  rest_api_id          = aws_api_gateway_rest_api.api.id
  deployment_id        = aws_api_gateway_deployment.api.id
  stage_name           = local.stage
  xray_tracing_enabled = var.tracing == "active"
  tags                 = var.tags

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    # No query strings: they may hold what only the caller should know.
    format = jsonencode({
      requestId    = "$context.requestId"
      time         = "$context.requestTimeEpoch"
      method       = "$context.httpMethod"
      path         = "$context.path"
      status       = "$context.status"
      bytes        = "$context.responseLength"
      latencyMs    = "$context.responseLatency"
      sourceIp     = "$context.identity.sourceIp"
      caller       = "$context.identity.userArn"
      gatewayError = "$context.error.message"
    })
  }

  lifecycle {
    # It also has the stage wait for a role that the caller sets.
    precondition {
      condition     = var.api_gateway_logging_role == null || can(regex("^arn:[^:]+:iam::[0-9]{12}:role/", var.api_gateway_logging_role))
      error_message = "api_gateway_logging_role must be the ARN of a role: API Gateway has none to write logs with."
    }
  }

  depends_on = [aws_api_gateway_account.logging, aws_cloudwatch_log_group.execution]
}

#trivy:ignore:AWS-0002 there is no cache that could be encrypted
resource "aws_api_gateway_method_settings" "all" {
  #checkov:skip=CKV_AWS_225: answers are one owner's and change until an image is finished; a cache would give out stale ones
  #checkov:skip=CKV_AWS_308: there is no cache that could be encrypted

  rest_api_id = aws_api_gateway_rest_api.api.id
  stage_name  = aws_api_gateway_stage.live.stage_name
  method_path = "*/*"

  settings {
    throttling_rate_limit  = var.api_requests_per_second
    throttling_burst_limit = var.api_burst
    # Why the gateway itself refused. Bodies are never logged.
    logging_level      = "ERROR"
    data_trace_enabled = false
    metrics_enabled    = false # the stage's own metrics are free, these cost per method
  }
}

# The one route that strangers may call with auth = iam. Five a second are enough for monitors, and no bill.
#trivy:ignore:AWS-0002 there is no cache that could be encrypted
resource "aws_api_gateway_method_settings" "health" {
  #checkov:skip=CKV_AWS_225: an answer from a cache would not show whether the function lives
  #checkov:skip=CKV_AWS_308: there is no cache that could be encrypted

  count = var.compat.route_settings ? 1 : 0

  rest_api_id = aws_api_gateway_rest_api.api.id
  stage_name  = aws_api_gateway_stage.live.stage_name
  method_path = "health/GET"

  settings {
    throttling_rate_limit  = min(5, var.api_requests_per_second)
    throttling_burst_limit = min(10, var.api_burst)
    logging_level          = "ERROR"
    data_trace_enabled     = false
    metrics_enabled        = false
  }

  # API Gateway refuses two changes of a stage at once.
  depends_on = [aws_api_gateway_method_settings.all]
}

moved {
  from = aws_api_gateway_method_settings.health
  to   = aws_api_gateway_method_settings.health[0]
}

#trivy:ignore:AWS-0017 encrypted with a key of AWS's; logs hold ids, no images
resource "aws_cloudwatch_log_group" "access" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; logs hold ids, no images
  #checkov:skip=CKV_AWS_338: callers' addresses are kept no longer than it takes to find a fault

  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

# API Gateway writes why it refused into a group of this name, and would make it itself: without an end of its
# contents, and outside of what destroy removes. So it is made before the stage.
#trivy:ignore:AWS-0017 encrypted with a key of AWS's; logs hold ids, no images
resource "aws_cloudwatch_log_group" "execution" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; logs hold ids, no images
  #checkov:skip=CKV_AWS_338: callers' addresses are kept no longer than it takes to find a fault

  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.api.id}/${local.stage}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

# A REST API writes logs only when the account says with which role, once per region; a new account says nothing and
# would refuse the stage. Destroying takes the setting back with provider 6; provider 5 leaves the role's name there.
resource "aws_api_gateway_account" "logging" {
  count               = var.manage_api_gateway_logging ? 1 : 0
  cloudwatch_role_arn = aws_iam_role.api_gateway_logging[0].arn

  # API Gateway tries the role at once.
  depends_on = [aws_iam_role_policy_attachment.api_gateway_logging]
}

resource "aws_iam_role" "api_gateway_logging" {
  count                = var.manage_api_gateway_logging ? 1 : 0
  name                 = "${var.name}-api-gateway-logging-${local.region}"
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "apigateway.amazonaws.com" } }]
  })
}

# AWS's own policy for it: API Gateway demands these rights on all log groups, and refuses a narrower role.
resource "aws_iam_role_policy_attachment" "api_gateway_logging" {
  count      = var.manage_api_gateway_logging ? 1 : 0
  role       = aws_iam_role.api_gateway_logging[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}
