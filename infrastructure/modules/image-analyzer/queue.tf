locals {
  # Six times the function's timeout, as AWS advises for queues that feed Lambda, and the batch window on top
  # (AWS Lambda developer guide, Amazon SQS): a batch that is throttled or retried is never handed out twice.
  visibility_timeout = 6 * var.worker_timeout_seconds + var.batch_window_seconds

  # A worker holds an image until it must be dead, give or take two clocks (worker/process-image.ts). Were that
  # longer than the message is invisible, a job could come back while no worker may claim it.
  lease = var.worker_timeout_seconds + 2

  # The longest that a worker has a job wait after a failure (worker/outcomes.ts).
  longest_pause = 600

  # A job whose worker died is there again after the visibility timeout, and one whose worker failed after its time and
  # the longest pause; so no job is doubled which the queue would still have delivered. From here on an image says by
  # itself when it is due (`sweepAt`): later while its job is known to wait for longer, and after twice the time with
  # each sweep that has led to nothing.
  sweep_after_seconds = local.visibility_timeout + local.longest_pause + var.worker_timeout_seconds

  # The most that SQS takes (Amazon SQS, redrive policy). It is the record of an image that counts attempts; the queue
  # counts also the receives of a job that only waits, which stays the same message: sent again to the queue that it came
  # from, it would be a recursion to Lambda. worker/outcomes.ts has the arithmetic for 14 days.
  most_receives = 1000

  # SQS keeps nothing longer than 14 days (Amazon SQS quotas). When the queue has forgotten a job, the sweeper ends
  # its image.
  give_up_days    = 14
  queue_retention = local.give_up_days * 86400

  jobs      = "${var.name}-jobs"
  jobs_dead = "${var.name}-jobs-dead"

  # ARNs by name, for what a queue says about itself and about those that point at it. So a queue is made with its
  # policy in one call: it is never there without, and Terraform waits once instead of twice.
  sqs = "arn:${local.partition}:sqs:${local.region}:${local.account}"

  # A queue's policy takes this with its own ARN.
  sqs_tls_only = {
    Sid       = "TlsOnly"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }

  # Bucket names are the world's: if this one were ever another account's, its events would not be let in.
  sqs_from_bucket = {
    Sid       = "TakeUploads"
    Effect    = "Allow"
    Principal = { Service = "s3.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Resource  = "${local.sqs}:${local.jobs}"
    Condition = {
      ArnEquals    = { "aws:SourceArn" = "arn:${local.partition}:s3:::${local.bucket}" }
      StringEquals = { "aws:SourceAccount" = local.account }
    }
  }
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; jobs hold only an image's id, and S3 could not write with a key that is not one's own
resource "aws_sqs_queue" "jobs" {
  name                       = local.jobs
  visibility_timeout_seconds = local.visibility_timeout
  message_retention_seconds  = local.queue_retention
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = var.kms_key_arn == null ? true : null
  kms_master_key_id          = var.kms_key_arn
  tags                       = var.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      var.compat.plain_http ? [] : [merge(local.sqs_tls_only, { Resource = "${local.sqs}:${local.jobs}" })],
      [local.sqs_from_bucket],
    )
  })
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.jobs_dead.arn
    maxReceiveCount     = local.most_receives
  })

  lifecycle {
    precondition {
      condition     = local.visibility_timeout >= 6 * var.worker_timeout_seconds + var.batch_window_seconds
      error_message = "The visibility timeout must be six times the worker's timeout and the batch window."
    }
    precondition {
      condition     = local.visibility_timeout <= 43200
      error_message = "SQS hides a message for 12 hours at most."
    }
    precondition {
      condition     = local.lease > var.worker_timeout_seconds && local.lease <= local.visibility_timeout
      error_message = "A lease must outlast its worker and end before the job comes back."
    }
    precondition {
      condition     = local.sweep_after_seconds > max(local.visibility_timeout, local.longest_pause + var.worker_timeout_seconds)
      error_message = "An image may be swept only when its job would have come back."
    }
    precondition {
      condition     = local.sweep_after_seconds < local.queue_retention
      error_message = "The queue must keep a job until the sweeper would replace it."
    }
  }
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; jobs hold only an image's id
resource "aws_sqs_queue" "jobs_dead" {
  name                      = local.jobs_dead
  message_retention_seconds = local.queue_retention
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
  policy = var.compat.plain_http ? null : jsonencode({
    Version   = "2012-10-17"
    Statement = [merge(local.sqs_tls_only, { Resource = "${local.sqs}:${local.jobs_dead}" })]
  })
  # Jobs of no other queue end here. The queue is named, since the two point at each other; and it is said here and not
  # in aws_sqs_queue_redrive_allow_policy, which waits for ever on emulators.
  redrive_allow_policy = !var.compat.redrive_allow_policy ? null : jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.sqs}:${local.jobs}"]
  })
}
