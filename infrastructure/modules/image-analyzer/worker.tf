locals {
  # Default quotas of each of Rekognition's image operations (Service Quotas): 50 calls a second in the two large
  # American regions, 5 in most others. An image makes one call for each of its paid analyses, and each is another
  # operation.
  rekognition_tps = coalesce(var.rekognition_tps, lookup({ us-east-1 = 50, us-west-2 = 50 }, local.region, 5))

  # worker/analysis.ts
  rekognition_actions = {
    labels     = "rekognition:DetectLabels"
    faces      = "rekognition:DetectFaces"
    moderation = "rekognition:DetectModerationLabels"
    text       = "rekognition:DetectText"

    faces-when-person = "rekognition:DetectFaces"
  }

  # The least that an event source mapping takes (AWS Lambda developer guide, maximum concurrency), and the most.
  least_concurrency = 2
  most_concurrency  = 1000
  # What SQS hands out in one receive. All images of a batch are worked on at once (worker/batch.ts).
  largest_batch = 10

  # One worker makes about 6 calls a second of each operation: ten images in one and a half seconds. With no
  # more than 5 for each worker, it is the limiters that decide (worker/limiter.ts), and the quota is used up:
  #
  #   quota          0.5     5      50      250
  #   concurrency      2     2      10       50    quota ÷ 5 or more workers, and what an event source mapping takes
  #   share         0.25   2.5       5        5    quota ÷ concurrency
  #   batch            5    10      10       10    share × 20 s, and what SQS hands out
  share_per_worker    = 5
  maximum_concurrency = max(local.least_concurrency, min(local.most_concurrency, ceil(local.rekognition_tps / local.share_per_worker)))

  # Calls a second of each operation that one worker may make. It keeps to that without a margin of its own, so this is
  # rounded down: all shares together are never more than the quota.
  rekognition_share = floor(local.rekognition_tps / local.maximum_concurrency * 1000) / 1000

  # At its share a worker gets through a full batch in a third of its time; the rest is for quotas that others use too.
  batch_seconds = var.worker_timeout_seconds / 3
  batch_size    = max(1, min(local.largest_batch, floor(local.rekognition_share * local.batch_seconds)))

  # What a batch of the largest uploads takes: one of them is in memory at a time, and twice more while it is decoded;
  # decodes under way take up to 500 MB, and Node and libvips 100 MB (packages/image-guard/costs.ts).
  batch_bytes = 3 * var.max_upload_bytes + 600000000
}

# Where Amazon Rekognition has its image operations (AWS General Reference, endpoints and quotas). A warning only, since
# the list grows.
check "rekognition_is_here" {
  assert {
    condition = contains([
      "us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-west-1", "ca-central-1", "sa-east-1",
      "eu-central-1", "eu-west-1", "eu-west-2", "eu-south-2", "il-central-1",
      "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
    ], local.region)
    error_message = "Amazon Rekognition is not known to be in ${local.region}: every image would end as EXHAUSTED. Choose another region."
  }
}

# A warning only: workers that get no execution try again later.
check "concurrency_is_enough" {
  assert {
    condition     = local.maximum_concurrency < var.account_concurrency
    error_message = "${local.maximum_concurrency} workers may take all of the account's ${var.account_concurrency} concurrent executions, and the API then gets none: lower rekognition_tps, or have the quota raised."
  }
}

locals {
  # The API knows it too: it refuses by it.
  budget = var.monthly_budget_usd == null ? {} : {
    MONTHLY_BUDGET_USD = tostring(var.monthly_budget_usd)
    BUDGET_ACTION      = var.budget_action
  }
  worker_environment = merge(
    local.function_environment,
    {
      IMAGE_BUCKET          = aws_s3_bucket.images.id
      IMAGE_TABLE           = aws_dynamodb_table.images.name
      JOB_QUEUE_URL         = aws_sqs_queue.jobs.url
      DEAD_LETTER_QUEUE_URL = aws_sqs_queue.jobs_dead.url
      EVENT_BUS_NAME        = aws_cloudwatch_event_bus.images.name
      SWEEP_AFTER_SECONDS   = tostring(local.sweep_after_seconds)
      MAX_ATTEMPTS          = tostring(var.max_attempts)
      MIN_CONFIDENCE        = tostring(var.min_confidence)
      MAX_LABELS            = tostring(var.max_labels)
      PREVIEW               = var.preview ? "on" : "off"
      REKOGNITION_TPS       = tostring(local.rekognition_share)
      # glibc keeps an arena per thread, which fragments under libvips: 14 to 20 % of memory.
      MALLOC_ARENA_MAX = "2"
    },
    var.strip_gps ? { STRIP_GPS = "on" } : {},
    var.heic ? { HEIC = "on" } : {},
    var.pack_results ? { PACK_RESULTS = "on" } : {},
    local.budget,
  )
}

resource "aws_lambda_function" "worker" {
  #checkov:skip=CKV_AWS_115: reserved concurrency takes from the account's, and breaks deployments where that is small; the mapping has a maximum
  #checkov:skip=CKV_AWS_116: the queue it is fed from has the dead-letter queue
  #checkov:skip=CKV_AWS_117: it talks to AWS only; a VPC would add a NAT gateway and keep nothing out
  #checkov:skip=CKV_AWS_173: names and URLs, no secrets; encrypted with a key of AWS's
  #checkov:skip=CKV_AWS_272: who may deploy code may also change the signing configuration

  function_name     = "${var.name}-worker"
  description       = "A job becomes a finished record and an event. Release ${local.release}."
  role              = aws_iam_role.worker.arn
  filename          = local.packages.worker.path
  s3_bucket         = local.packages.worker.s3_bucket
  s3_key            = local.packages.worker.s3_key
  s3_object_version = local.packages.worker.s3_object_version
  source_code_hash  = local.package_hashes.worker
  publish           = true
  handler           = "index.handler"
  runtime           = var.runtime
  layers            = var.telemetry_layer[*].arn
  architectures     = [var.architecture]
  memory_size       = var.worker_memory_mb # 1,769 MB are one processor (AWS Lambda developer guide, memory)
  timeout           = var.worker_timeout_seconds
  tags              = var.tags

  environment {
    variables = local.worker_environment
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
      condition     = local.package_faults.worker == ""
      error_message = local.package_faults.worker
    }
    postcondition {
      condition     = local.packages.worker.path != null || self.code_sha256 == local.package_hashes.worker
      error_message = "The package that Lambda got from S3 has another SHA-256 than zips names: ${self.code_sha256} in base64."
    }
    precondition {
      condition     = local.batch_bytes <= var.worker_memory_mb * 1048576
      error_message = "A batch of the largest uploads needs ${ceil(local.batch_bytes / 1048576)} MB: raise worker_memory_mb, or lower max_upload_bytes."
    }
  }

  depends_on = [aws_cloudwatch_log_group.worker, aws_iam_role_policy.worker]
}

resource "aws_lambda_alias" "worker" {
  name             = local.alias
  description      = local.alias_description
  function_name    = aws_lambda_function.worker.function_name
  function_version = lookup(var.versions, "worker", aws_lambda_function.worker.version)
}

resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn                   = aws_sqs_queue.jobs.arn
  function_name                      = var.compat.alias ? aws_lambda_alias.worker.arn : aws_lambda_function.worker.arn
  batch_size                         = local.batch_size
  maximum_batching_window_in_seconds = var.batch_window_seconds
  # Without it an answer that names failed images is ignored, and they are lost.
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = var.tags

  # Not reserved concurrency, by which Lambda would turn batches away that then count as received.
  scaling_config {
    maximum_concurrency = local.maximum_concurrency
  }

  lifecycle {
    # `npm run ops -- pause` and `resume` set it: an apply in between does not start the worker again.
    ignore_changes = [enabled]

    precondition {
      condition     = local.rekognition_share > 0 && local.maximum_concurrency * local.rekognition_share <= local.rekognition_tps
      error_message = "The workers would ask Rekognition for more calls a second than rekognition_tps, or for none."
    }
    precondition {
      condition     = local.maximum_concurrency >= local.least_concurrency && local.maximum_concurrency <= local.most_concurrency
      error_message = "An event source mapping takes a maximum concurrency of 2 to 1,000."
    }
    precondition {
      # A batch of more than 10 needs a window of its own (AWS Lambda developer guide, Amazon SQS).
      condition     = local.batch_size >= 1 && local.batch_size <= local.largest_batch
      error_message = "A batch holds 1 to 10 jobs."
    }
    precondition {
      condition     = local.batch_size == 1 || local.batch_size <= local.rekognition_share * local.batch_seconds
      error_message = "A worker would need more than a third of its time for a full batch at its share of the quota."
    }
  }
}

#trivy:ignore:AWS-0017 encrypted with a key of AWS's; logs hold ids, no images
resource "aws_cloudwatch_log_group" "worker" {
  #checkov:skip=CKV_AWS_158: encrypted with a key of AWS's; logs hold ids, no images
  #checkov:skip=CKV_AWS_338: a month is enough to find a fault

  name              = "/aws/lambda/${var.name}-worker"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "worker" {
  name                 = "${var.name}-worker-${local.region}"
  assume_role_policy   = local.assumed_by_lambda
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

#trivy:ignore:AWS-0057 wildcards are keys under one prefix, log streams of one group, and what AWS cannot narrow
resource "aws_iam_role_policy" "worker" {
  name = "worker"
  role = aws_iam_role.worker.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      # The event source mapping polls the queue with the function's role.
      {
        Sid      = "TakeJobs"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.jobs.arn
      },
      # When a job comes back: after a failed attempt, or while Rekognition is asked too much, another worker holds the
      # image or the time is up.
      {
        Sid      = "PostponeJob"
        Effect   = "Allow"
        Action   = "sqs:ChangeMessageVisibility"
        Resource = aws_sqs_queue.jobs.arn
      },
      # What is no job, and the next run of an image that was given up.
      {
        Sid      = "KeepForOperators"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.jobs_dead.arn
      },
      # For the worker itself, and for Rekognition, which reads the object with the caller's rights. HeadObject is
      # the same action. It reads a preview where it does not take the original, which is not decoded twice for it.
      {
        Sid    = "ReadOriginal"
        Effect = "Allow"
        Action = "s3:GetObject"
        Resource = [
          for prefix in concat([local.uploads, local.originals], var.preview ? [local.previews] : []) :
          "${aws_s3_bucket.images.arn}/${prefix}*"
        ]
      },
      # Results of the same bytes that were too large for their record.
      {
        Sid      = "ReuseResults"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${aws_s3_bucket.images.arn}/${local.analyses}*"
      },
      local.tell_missing_from_forbidden.worker,
      # An upload moves to a key that no form allows.
      {
        Sid      = "StoreOriginal"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.images.arn}/${local.originals}*"
      },
      # Thumbnails, previews where they are wanted, and results that are too large for the record.
      {
        Sid    = "StoreResults"
        Effect = "Allow"
        Action = "s3:PutObject"
        Resource = [
          for prefix in concat([local.thumbnails, local.analyses], var.preview ? [local.previews] : []) :
          "${aws_s3_bucket.images.arn}/${prefix}*"
        ]
      },
      # An upload that has moved; and of an image that was deleted before its job came, or while it was worked on, all.
      {
        Sid      = "RemoveLeftovers"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = local.image_objects
      },
      # Only what this deployment offers. Image operations have no resources that could be named (Service Authorization
      # Reference).
      {
        Sid      = "Analyse"
        Effect   = "Allow"
        Action   = distinct([for analysis in var.analyses : local.rekognition_actions[analysis] if contains(keys(local.rekognition_actions), analysis)])
        Resource = "*"
      },
      # Claim, commit, announce and release a record, begin a new run; look at it when a condition has failed.
      {
        Sid      = "ClaimAndCommit"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
        Resource = aws_dynamodb_table.images.arn
      },
      # Whose results the same bytes have: asked for a whole batch at once.
      {
        Sid      = "FindSameBytes"
        Effect   = "Allow"
        Action   = "dynamodb:BatchGetItem"
        Resource = aws_dynamodb_table.images.arn
      },
      # An image is found by its labels before its event says that it is there; and by the way, whose results the same bytes
      # may have next time.
      {
        Sid      = "IndexLabelsAndRememberBytes"
        Effect   = "Allow"
        Action   = "dynamodb:BatchWriteItem"
        Resource = [aws_dynamodb_table.labels.arn, aws_dynamodb_table.images.arn]
      },
      # Every outcome is an event, on this bus only.
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
        Resource = "${aws_cloudwatch_log_group.worker.arn}:*"
      },
    ], local.common_statements)
  })
}
