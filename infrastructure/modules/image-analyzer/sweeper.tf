locals {
  sweeper_environment = merge(
    local.function_environment,
    {
      IMAGE_BUCKET          = aws_s3_bucket.images.id
      IMAGE_TABLE           = aws_dynamodb_table.images.name
      JOB_QUEUE_URL         = aws_sqs_queue.jobs.url
      DEAD_LETTER_QUEUE_URL = aws_sqs_queue.jobs_dead.url
      EVENT_BUS_NAME        = aws_cloudwatch_event_bus.images.name
      SWEEP_AFTER_SECONDS   = tostring(local.sweep_after_seconds)
      MAX_ATTEMPTS          = tostring(var.max_attempts)
      GIVE_UP_DAYS          = tostring(local.give_up_days)
    },
  )
}

resource "aws_lambda_function" "sweeper" {
  #checkov:skip=CKV_AWS_115: reserved concurrency takes from the account's, and breaks deployments where that is small; the schedule is the limit
  #checkov:skip=CKV_AWS_116: the next sweep finds what this one has not; an alarm rings when sweeps fail
  #checkov:skip=CKV_AWS_117: it talks to AWS only; a VPC would add a NAT gateway and keep nothing out
  #checkov:skip=CKV_AWS_173: names and URLs, no secrets; encrypted with a key of AWS's
  #checkov:skip=CKV_AWS_272: who may deploy code may also change the signing configuration

  function_name     = "${var.name}-sweeper"
  description       = "What was left behind gets its ending: a new job, a failure, its event, or its removal. Release ${local.release}."
  role              = aws_iam_role.sweeper.arn
  filename          = local.packages.sweeper.path
  s3_bucket         = local.packages.sweeper.s3_bucket
  s3_key            = local.packages.sweeper.s3_key
  s3_object_version = local.packages.sweeper.s3_object_version
  source_code_hash  = local.package_hashes.sweeper
  publish           = true
  handler           = "index.handler"
  runtime           = var.runtime
  layers            = var.telemetry_layer[*].arn
  architectures     = [var.architecture]
  memory_size       = 512
  # Until the next one begins, and no longer than Lambda lets it (AWS Lambda quotas). A sweep that is cut off has lost
  # nothing: the next one begins with the same images.
  timeout = min(60 * var.sweep_minutes, 900)
  tags    = var.tags

  environment {
    variables = local.sweeper_environment
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
      condition     = local.package_faults.sweeper == ""
      error_message = local.package_faults.sweeper
    }
    postcondition {
      condition     = local.packages.sweeper.path != null || self.code_sha256 == local.package_hashes.sweeper
      error_message = "The package that Lambda got from S3 has another SHA-256 than zips names: ${self.code_sha256} in base64."
    }
  }

  depends_on = [aws_cloudwatch_log_group.sweeper, aws_iam_role_policy.sweeper]
}

resource "aws_lambda_alias" "sweeper" {
  name             = local.alias
  description      = local.alias_description
  function_name    = aws_lambda_function.sweeper.function_name
  function_version = lookup(var.versions, "sweeper", aws_lambda_function.sweeper.version)
}

# A rule rather than EventBridge Scheduler: it needs no role, and emulators have it. A rate of one is "1 minute"
# (Amazon EventBridge user guide, rate expressions).
resource "aws_cloudwatch_event_rule" "sweep" {
  name                = "${var.name}-sweep"
  description         = "Looks for images that were left behind."
  schedule_expression = "rate(${var.sweep_minutes} ${var.sweep_minutes == 1 ? "minute" : "minutes"})"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "sweep" {
  rule = aws_cloudwatch_event_rule.sweep.name
  arn  = aws_lambda_alias.sweeper.arn

  # A rule that calls before it may is an alarm.
  depends_on = [aws_lambda_permission.sweep]
}

resource "aws_lambda_permission" "sweep" {
  statement_id  = "Schedule"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.sweeper.function_name
  qualifier     = aws_lambda_alias.sweeper.name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.sweep.arn

  # A deployment from before the alias calls the function without it until the rule has changed.
  lifecycle {
    create_before_destroy = true
  }
}

# Lambda would try a failed sweep twice more at once, on top of the next one. A sweep that could not begin for six hours
# is dropped: the default, said here because Lambda reports it although it is not set (MiniStack does; a change in every
# plan).
resource "aws_lambda_function_event_invoke_config" "sweeper" {
  function_name                = aws_lambda_function.sweeper.function_name
  qualifier                    = aws_lambda_alias.sweeper.name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 21600
}

#trivy:ignore:AWS-0017 encrypted with a key of AWS's; logs hold ids, no images
resource "aws_cloudwatch_log_group" "sweeper" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; logs hold ids, no images
  #checkov:skip=CKV_AWS_338: a month is enough to find a fault

  name              = "/aws/lambda/${var.name}-sweeper"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "sweeper" {
  name                 = "${var.name}-sweeper-${local.region}"
  assume_role_policy   = local.assumed_by_lambda
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

#trivy:ignore:AWS-0057 wildcards are keys under one prefix, log streams of one group, and what AWS cannot narrow
resource "aws_iam_role_policy" "sweeper" {
  name = "sweeper"
  role = aws_iam_role.sweeper.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      # The index holds exactly what the sweeper may have to look after.
      {
        Sid      = "FindDue"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = "${aws_dynamodb_table.images.arn}/index/unfinished"
      },
      # Sees what an image needs, says when it is due next or that it has ended, and removes what never came.
      {
        Sid      = "SettleRecord"
        Effect   = "Allow"
        Action   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.images.arn
      },
      # What it announces is found by its labels, and what has been deleted is not: also of the version before, which kept
      # them with the records.
      {
        Sid      = "IndexLabels"
        Effect   = "Allow"
        Action   = "dynamodb:BatchWriteItem"
        Resource = [aws_dynamodb_table.labels.arn, aws_dynamodb_table.images.arn]
      },
      # HeadObject, which is the same action: a submission without its original, or its upload, never came.
      {
        Sid      = "LookForOriginal"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${aws_s3_bucket.images.arn}/${local.uploads}*", "${aws_s3_bucket.images.arn}/${local.originals}*"]
      },
      local.tell_missing_from_forbidden.sweeper,
      # What a deletion, or a worker that was at the deleted image, has left.
      {
        Sid      = "RemoveLeftovers"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = local.image_objects
      },
      # An image whose job was never sent, or is lost, gets another; and of one that it gives up, the next run is kept.
      {
        Sid      = "SendJob"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = [aws_sqs_queue.jobs.arn, aws_sqs_queue.jobs_dead.arn]
      },
      # The outcome of an image that it ends, and one whose event was lost with the worker.
      {
        Sid      = "Announce"
        Effect   = "Allow"
        Action   = "events:PutEvents"
        Resource = aws_cloudwatch_event_bus.images.arn
      },
      # Its own log group only, which it cannot make.
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.sweeper.arn}:*"
      },
    ], local.common_statements)
  })
}
