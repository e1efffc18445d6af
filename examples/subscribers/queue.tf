# A program anywhere that reads a queue (consumer.ts)

resource "aws_cloudwatch_event_rule" "queue" {
  name           = "${var.name}-queue"
  description    = "Every finished image, failures too."
  event_bus_name = var.event_bus_name
  event_pattern  = jsonencode({ source = [local.event_source] })
}

resource "aws_cloudwatch_event_target" "queue" {
  event_bus_name = var.event_bus_name
  rule           = aws_cloudwatch_event_rule.queue.name
  arn            = aws_sqs_queue.events.arn

  retry_policy {
    maximum_event_age_in_seconds = local.retry_policy.maximum_event_age_in_seconds
    maximum_retry_attempts       = local.retry_policy.maximum_retry_attempts
  }
  dead_letter_config {
    arn = aws_sqs_queue.events_dead.arn
  }
}

#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "events" {
  name                      = "${var.name}-events"
  message_retention_seconds = local.dead_letter_seconds
  receive_wait_time_seconds = 20
  # More than the lease of once.ts: when a message comes again, a run that was killed holds its event no more.
  visibility_timeout_seconds = 60
  sqs_managed_sse_enabled    = true
  policy                     = local.queue_policies["events"]
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.events_dead.arn
    maxReceiveCount     = 5
  })
}

# What EventBridge could not deliver, and what the consumer has failed at five times.
#trivy:ignore:AWS-0135 SSE-SQS encrypts; EventBridge could not write with a key that is not one's own
resource "aws_sqs_queue" "events_dead" {
  name                      = "${var.name}-events-dead"
  message_retention_seconds = local.dead_letter_seconds
  sqs_managed_sse_enabled   = true
  policy                    = local.queue_policies["events-dead"]
}

# For the role of the consumer.
resource "aws_iam_policy" "consumer" {
  name        = "${var.name}-consumer-${data.aws_region.current.id}"
  description = "Read the queue of events, and remember them."
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadEvents"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.events.arn
      },
      local.remember,
    ]
  })
}
