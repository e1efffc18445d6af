# An HTTPS endpoint anywhere that EventBridge calls (webhook.ts)

resource "aws_cloudwatch_event_connection" "webhook" {
  name               = "${var.name}-webhook"
  description        = "How the webhook knows that it is us."
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = "x-api-key"
      value = var.webhook_key
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "webhook" {
  name                             = "${var.name}-webhook"
  connection_arn                   = aws_cloudwatch_event_connection.webhook.arn
  invocation_endpoint              = var.webhook_url
  http_method                      = "POST"
  invocation_rate_limit_per_second = var.webhook_calls_per_second
}

resource "aws_cloudwatch_event_rule" "webhook" {
  name           = "${var.name}-webhook"
  description    = "Every finished image, failures too."
  event_bus_name = var.event_bus_name
  event_pattern  = jsonencode({ source = [local.event_source] })
}

resource "aws_cloudwatch_event_target" "webhook" {
  event_bus_name = var.event_bus_name
  rule           = aws_cloudwatch_event_rule.webhook.name
  arn            = aws_cloudwatch_event_api_destination.webhook.arn
  role_arn       = aws_iam_role.webhook.arn

  # The server of a subscriber may be down for longer than AWS is: EventBridge's own day.
  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }
  dead_letter_config {
    arn = aws_sqs_queue.webhook_dead.arn
  }

  # Events that come before the role may call would go to the dead-letter queue.
  depends_on = [aws_iam_role_policy.webhook]
}

resource "aws_iam_role" "webhook" {
  name = "${var.name}-webhook-${data.aws_region.current.id}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "events.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "webhook" {
  name = "webhook"
  role = aws_iam_role.webhook.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # This endpoint, and no other.
      {
        Sid      = "CallWebhook"
        Effect   = "Allow"
        Action   = "events:InvokeApiDestination"
        Resource = aws_cloudwatch_event_api_destination.webhook.arn
      },
    ]
  })
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "webhook_dead" {
  name                      = "${var.name}-webhook-dead"
  message_retention_seconds = local.dead_letter_seconds
  sqs_managed_sse_enabled   = true
  policy                    = local.queue_policies["webhook-dead"]
}
