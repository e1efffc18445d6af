# A Lambda function that reacts to labels (lambda.ts)

locals {
  package = "${var.dist_dir}/subscriber.zip"
}

resource "aws_cloudwatch_event_rule" "lambda" {
  name           = "${var.name}-lambda"
  description    = "Images with a label that the function reacts to."
  event_bus_name = var.event_bus_name
  # `labels` is flat in the event so that a rule can match it.
  event_pattern = jsonencode({ source = [local.event_source], detail = { labels = var.labels } })
}

resource "aws_cloudwatch_event_target" "lambda" {
  event_bus_name = var.event_bus_name
  rule           = aws_cloudwatch_event_rule.lambda.name
  arn            = aws_lambda_function.subscriber.arn

  # What Lambda does not take from EventBridge; what the function then fails at is below.
  retry_policy {
    maximum_event_age_in_seconds = local.retry_policy.maximum_event_age_in_seconds
    maximum_retry_attempts       = local.retry_policy.maximum_retry_attempts
  }
  dead_letter_config {
    arn = aws_sqs_queue.lambda_dead.arn
  }

  depends_on = [aws_lambda_permission.subscriber]
}

resource "aws_lambda_permission" "subscriber" {
  statement_id  = "Events"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.subscriber.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.lambda.arn
}

resource "aws_lambda_function" "subscriber" {
  #checkov:skip=CKV_AWS_115: reserved concurrency takes from the account's, and breaks deployments where that is small
  #checkov:skip=CKV_AWS_116: what fails goes to a dead-letter queue as the destination on failure, which says more
  #checkov:skip=CKV_AWS_117: it talks to AWS only; a VPC would add a NAT gateway and keep nothing out
  #checkov:skip=CKV_AWS_173: a name, no secret; encrypted with a key of AWS's
  #checkov:skip=CKV_AWS_272: who may deploy code may also change the signing configuration

  function_name    = "${var.name}-lambda"
  description      = "Reacts to images with a label."
  role             = aws_iam_role.lambda.arn
  filename         = local.package
  source_code_hash = fileexists(local.package) ? filebase64sha256(local.package) : null
  handler          = "index.handler"
  runtime          = "nodejs22.x"
  architectures    = ["arm64"]
  memory_size      = 256
  # Less than the lease of once.ts, which is less than the minute after which Lambda tries again.
  timeout = 30

  environment {
    variables = { SEEN_TABLE = aws_dynamodb_table.seen.name }
  }

  tracing_config {
    mode = "Active"
  }

  lifecycle {
    precondition {
      condition     = fileexists(local.package)
      error_message = "${local.package} is missing; make it with: npm run build"
    }
  }

  depends_on = [aws_cloudwatch_log_group.lambda, aws_iam_role_policy.lambda]
}

# Twice more, after one minute and two; then the event goes where it can be seen.
resource "aws_lambda_function_event_invoke_config" "subscriber" {
  function_name          = aws_lambda_function.subscriber.function_name
  maximum_retry_attempts = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.lambda_dead.arn
    }
  }
}

#trivy:ignore:AWS-0017 encrypted with a key of AWS's; it holds ids and labels, no images
resource "aws_cloudwatch_log_group" "lambda" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; it holds ids and labels, no images
  #checkov:skip=CKV_AWS_338: a month is enough to find a fault

  name              = "/aws/lambda/${var.name}-lambda"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "lambda" {
  name = "${var.name}-lambda-${data.aws_region.current.id}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

#trivy:ignore:AWS-0057 wildcards are log streams of one group, and what AWS cannot narrow
resource "aws_iam_role_policy" "lambda" {
  name = "lambda"
  role = aws_iam_role.lambda.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.remember,
      # Lambda sends there, with this role, what the function has failed at.
      {
        Sid      = "GiveUp"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.lambda_dead.arn
      },
      # Its own log group only, which it cannot make.
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.lambda.arn}:*"
      },
      # X-Ray has no resources that could be named (Service Authorization Reference).
      {
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
    ]
  })
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "lambda_dead" {
  name                      = "${var.name}-lambda-dead"
  message_retention_seconds = local.dead_letter_seconds
  sqs_managed_sse_enabled   = true
  policy                    = local.queue_policies["lambda-dead"]
}
