output "api_url" {
  description = "Where the API is. With auth = iam requests are signed for the service execute-api."
  value       = local.api_url
}

output "upload_url" {
  description = "Where images are posted to: raw, in a form, or as base64 in JSON."
  value       = "${local.api_url}/images"
}

output "api_execution_arn" {
  description = "With auth = iam: what a caller's policy must allow execute-api:Invoke on, followed by /*."
  value       = "${aws_api_gateway_rest_api.api.execution_arn}/${local.stage}"
}

output "bucket" {
  description = "The bucket of originals, thumbnails, previews and large results."
  value       = aws_s3_bucket.images.id
}

output "table" {
  description = "The DynamoDB table of records."
  value       = aws_dynamodb_table.images.name
}

output "job_queue_url" {
  description = "The queue of jobs."
  value       = aws_sqs_queue.jobs.url
}

output "job_queue_arn" {
  description = "The same queue's ARN, which dead letters are redriven to."
  value       = aws_sqs_queue.jobs.arn
}

output "dead_letter_queue_url" {
  description = "Where the next run of each image is kept that was given up, and what is no job; they may be redriven from there."
  value       = aws_sqs_queue.jobs_dead.url
}

output "dead_letter_queue_arn" {
  description = "The same queue's ARN, which a redrive is started with."
  value       = aws_sqs_queue.jobs_dead.arn
}

output "event_bus_name" {
  description = "The bus that completed and failed analyses are announced on."
  value       = aws_cloudwatch_event_bus.images.name
}

output "event_bus_arn" {
  description = "The bus's ARN, for rules of other accounts."
  value       = aws_cloudwatch_event_bus.images.arn
}

output "subscriber_queue_url" {
  description = "The queue that receives the events, if subscriber_queue says so."
  value       = one(aws_sqs_queue.subscriber[*].url)
}

output "functions" {
  description = "Names of the functions."
  value       = local.functions
}
