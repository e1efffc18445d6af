locals {
  # As shared/messages.ts announces them.
  event_source = "image-analyzer"

  # `labels` is flat in the event so that a rule can match it.
  subscribed = merge(
    { source = [local.event_source] },
    length(var.subscriber_labels) > 0 ? { detail = { labels = var.subscriber_labels } } : {},
  )

  subscriber      = "${var.name}-subscriber"
  subscriber_dead = "${var.name}-subscriber-dead"
  webhook_dead    = "${var.name}-webhook-dead"

  # Whether there is a webhook is no secret; where it is may be.
  has_webhook = nonsensitive(var.subscriber_webhook != null)

  # EventBridge delivers to queues by their policies, not by a role: this rule and no other.
  sqs_from_events = {
    Sid       = "Deliver"
    Effect    = "Allow"
    Principal = { Service = "events.amazonaws.com" }
    Action    = "sqs:SendMessage"
  }
  from_rule = {
    queue   = { ArnEquals = { "aws:SourceArn" = one(aws_cloudwatch_event_rule.queue[*].arn) } }
    webhook = { ArnEquals = { "aws:SourceArn" = one(aws_cloudwatch_event_rule.webhook[*].arn) } }
  }
}

resource "aws_cloudwatch_event_bus" "images" {
  name = var.name
  tags = var.tags
}

# What a subscriber missed can be replayed to it.
resource "aws_cloudwatch_event_archive" "images" {
  name             = var.name
  event_source_arn = aws_cloudwatch_event_bus.images.arn
  retention_days   = var.archive_days
  event_pattern    = jsonencode({ source = [local.event_source] })
}

# A subscriber that reads a queue

resource "aws_cloudwatch_event_rule" "queue" {
  count          = var.subscriber_queue ? 1 : 0
  name           = "${var.name}-queue"
  description    = "Events for the subscriber's queue."
  event_bus_name = aws_cloudwatch_event_bus.images.name
  event_pattern  = jsonencode(local.subscribed)
  tags           = var.tags
}

resource "aws_cloudwatch_event_target" "queue" {
  count          = var.subscriber_queue ? 1 : 0
  event_bus_name = aws_cloudwatch_event_bus.images.name
  rule           = aws_cloudwatch_event_rule.queue[0].name
  arn            = aws_sqs_queue.subscriber[0].arn

  # EventBridge drops what it could not deliver for 24 hours, unless there is somewhere to put it.
  dead_letter_config {
    arn = aws_sqs_queue.subscriber_dead[0].arn
  }
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "subscriber" {
  count                      = var.subscriber_queue ? 1 : 0
  name                       = local.subscriber
  visibility_timeout_seconds = var.subscriber_visibility
  message_retention_seconds  = local.queue_retention
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = var.kms_key_arn == null ? true : null
  kms_master_key_id          = var.kms_key_arn
  tags                       = var.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      var.compat.plain_http ? [] : [merge(local.sqs_tls_only, { Resource = "${local.sqs}:${local.subscriber}" })],
      [merge(local.sqs_from_events, { Resource = "${local.sqs}:${local.subscriber}", Condition = local.from_rule.queue })],
    )
  })
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.subscriber_dead[0].arn
    maxReceiveCount     = var.subscriber_receives
  })
}

# What EventBridge could not deliver, and what the subscriber has given up.
#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "subscriber_dead" {
  count                     = var.subscriber_queue ? 1 : 0
  name                      = local.subscriber_dead
  message_retention_seconds = local.queue_retention
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      var.compat.plain_http ? [] : [merge(local.sqs_tls_only, { Resource = "${local.sqs}:${local.subscriber_dead}" })],
      [merge(local.sqs_from_events, { Resource = "${local.sqs}:${local.subscriber_dead}", Condition = local.from_rule.queue })],
    )
  })
  redrive_allow_policy = !var.compat.redrive_allow_policy ? null : jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.sqs}:${local.subscriber}"]
  })
}

# A subscriber that is called over HTTPS

resource "aws_cloudwatch_event_connection" "webhook" {
  count              = local.has_webhook ? 1 : 0
  name               = "${var.name}-webhook"
  description        = "How the subscriber knows that it is us."
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = "Authorization"
      value = "Bearer ${var.subscriber_webhook.token}"
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "webhook" {
  count                            = local.has_webhook ? 1 : 0
  name                             = "${var.name}-webhook"
  connection_arn                   = aws_cloudwatch_event_connection.webhook[0].arn
  invocation_endpoint              = var.subscriber_webhook.url
  http_method                      = "POST"
  invocation_rate_limit_per_second = 50
}

resource "aws_cloudwatch_event_rule" "webhook" {
  count          = local.has_webhook ? 1 : 0
  name           = "${var.name}-webhook"
  description    = "Events for the subscriber's HTTPS endpoint."
  event_bus_name = aws_cloudwatch_event_bus.images.name
  event_pattern  = jsonencode(local.subscribed)
  tags           = var.tags
}

resource "aws_cloudwatch_event_target" "webhook" {
  count          = local.has_webhook ? 1 : 0
  event_bus_name = aws_cloudwatch_event_bus.images.name
  rule           = aws_cloudwatch_event_rule.webhook[0].name
  arn            = aws_cloudwatch_event_api_destination.webhook[0].arn
  role_arn       = aws_iam_role.webhook[0].arn

  dead_letter_config {
    arn = aws_sqs_queue.webhook_dead[0].arn
  }

  # Events that come before the role may call would go to the dead-letter queue.
  depends_on = [aws_iam_role_policy.webhook]
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "webhook_dead" {
  count                     = local.has_webhook ? 1 : 0
  name                      = local.webhook_dead
  message_retention_seconds = local.queue_retention
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      var.compat.plain_http ? [] : [merge(local.sqs_tls_only, { Resource = "${local.sqs}:${local.webhook_dead}" })],
      [merge(local.sqs_from_events, { Resource = "${local.sqs}:${local.webhook_dead}", Condition = local.from_rule.webhook })],
    )
  })
}

resource "aws_iam_role" "webhook" {
  count                = local.has_webhook ? 1 : 0
  name                 = "${var.name}-webhook-${local.region}"
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "events.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "webhook" {
  count = local.has_webhook ? 1 : 0
  name  = "webhook"
  role  = aws_iam_role.webhook[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # EventBridge calls the endpoint with this role, and this endpoint only.
      {
        Sid      = "CallWebhook"
        Effect   = "Allow"
        Action   = "events:InvokeApiDestination"
        Resource = aws_cloudwatch_event_api_destination.webhook[0].arn
      },
    ]
  })
}
