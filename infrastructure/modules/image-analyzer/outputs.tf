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

output "versions" {
  description = "The published versions that are called: what to say as `versions` to stay on them."
  value       = { api = aws_lambda_alias.api.function_version, worker = aws_lambda_alias.worker.function_version, sweeper = aws_lambda_alias.sweeper.function_version }
}

output "alias_arns" {
  description = "ARNs by which the functions are called: of the alias live, by the names api, worker and sweeper."
  value       = { api = aws_lambda_alias.api.arn, worker = aws_lambda_alias.worker.arn, sweeper = aws_lambda_alias.sweeper.arn }
}

output "function_arns" {
  description = "ARNs of the functions, by the names api, worker and sweeper."
  value       = { api = aws_lambda_function.api.arn, worker = aws_lambda_function.worker.arn, sweeper = aws_lambda_function.sweeper.arn }
}

output "role_arns" {
  description = "ARNs of the roles of the functions: for a key policy, or a policy of your own on top."
  value       = { api = aws_iam_role.api.arn, worker = aws_iam_role.worker.arn, sweeper = aws_iam_role.sweeper.arn }
}

output "worker_policy" {
  description = "The policy of the worker's role, as JSON: for a worker outside Lambda."
  value       = aws_iam_role_policy.worker.policy
}

output "worker_environment" {
  description = "The worker's settings, by their names: for a worker outside Lambda, whose REKOGNITION_TPS is another."
  value       = local.worker_environment
}

output "log_groups" {
  description = "Names of the log groups of the functions, and of the gateway (access)."
  value       = merge(local.log_groups, { access = aws_cloudwatch_log_group.access.name })
}

output "bucket_arn" {
  description = "The bucket's ARN."
  value       = aws_s3_bucket.images.arn
}

output "table_arn" {
  description = "The table's ARN."
  value       = aws_dynamodb_table.images.arn
}

output "subscriber_queue_arn" {
  description = "The subscriber's queue's ARN, if subscriber_queue says so."
  value       = one(aws_sqs_queue.subscriber[*].arn)
}

output "rest_api_id" {
  description = "The REST API: for a custom domain (aws_api_gateway_base_path_mapping) or a usage plan."
  value       = aws_api_gateway_rest_api.api.id
}

output "stage_name" {
  description = "The stage of the REST API."
  value       = aws_api_gateway_stage.live.stage_name
}

output "stage_arn" {
  description = "The stage's ARN: for a web application firewall (aws_wafv2_web_acl_association)."
  value       = aws_api_gateway_stage.live.arn
}

output "event_source" {
  description = "What rules of your own match as source."
  value       = local.event_source
}

output "alarm_names" {
  description = "Names of all alarms, by which a roll-out may decide to go back."
  value       = local.every_alarm[*].alarm_name
}
