# Three subscribers to the events of an image-analyzer that is deployed already (../../infrastructure).
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  event_source = "image-analyzer"
  # Longer than EventBridge tries, so that an operator has time to look.
  dead_letter_seconds = 14 * 86400

  # EventBridge tries again for a day, too: for subscribers that are down longer than an hour, a message in
  # the dead-letter queue is easier to see and to send again.
  retry_policy = { maximum_event_age_in_seconds = 3600, maximum_retry_attempts = 185 }

  # The rule whose events each queue may get, by the queue's name: its own, or those that could not be delivered.
  rules = {
    lambda-dead  = aws_cloudwatch_event_rule.lambda.arn
    events       = aws_cloudwatch_event_rule.queue.arn
    events-dead  = aws_cloudwatch_event_rule.queue.arn
    webhook-dead = aws_cloudwatch_event_rule.webhook.arn
  }
  # EventBridge delivers to queues by their policies, not by a role. These name the queues, whose ARNs therefore cannot be
  # asked for.
  sqs = "arn:${data.aws_partition.current.partition}:sqs:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}"
  queue_policies = {
    for queue, rule in local.rules : queue => jsonencode({
      Version = "2012-10-17"
      Statement = concat(
        var.plain_http ? [] : [{
          Sid       = "TlsOnly"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sqs:*"
          Resource  = "${local.sqs}:${var.name}-${queue}"
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        }],
        [{
          Sid       = "Deliver"
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = "sqs:SendMessage"
          Resource  = "${local.sqs}:${var.name}-${queue}"
          Condition = { ArnEquals = { "aws:SourceArn" = rule } }
        }],
      )
    })
  }
}
