output "queue_url" {
  description = "QUEUE_URL of consumer.ts."
  value       = aws_sqs_queue.events.url
}

output "seen_table" {
  description = "SEEN_TABLE of consumer.ts."
  value       = aws_dynamodb_table.seen.name
}

output "consumer_policy_arn" {
  description = "What the role that consumer.ts runs with must be given."
  value       = aws_iam_policy.consumer.arn
}

output "dead_letter_queues" {
  description = "Where events are that were not dealt with, by subscriber."
  value = {
    lambda  = aws_sqs_queue.lambda_dead.url
    queue   = aws_sqs_queue.events_dead.url
    webhook = aws_sqs_queue.webhook_dead.url
  }
}
