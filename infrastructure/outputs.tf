# Written by `npm run inputs` from modules/image-analyzer; change it there.

output "api_url" {
  description = "Where the API is. With auth = iam requests are signed for the service execute-api."
  value       = module.image_analyzer.api_url
}

output "upload_url" {
  description = "Where images are posted to: raw, in a form, or as base64 in JSON."
  value       = module.image_analyzer.upload_url
}

output "api_execution_arn" {
  description = "With auth = iam: what a caller's policy must allow execute-api:Invoke on, followed by /*."
  value       = module.image_analyzer.api_execution_arn
}

output "bucket" {
  description = "The bucket of originals, thumbnails, previews and large results."
  value       = module.image_analyzer.bucket
}

output "table" {
  description = "The DynamoDB table of records."
  value       = module.image_analyzer.table
}

output "job_queue_url" {
  description = "The queue of jobs."
  value       = module.image_analyzer.job_queue_url
}

output "job_queue_arn" {
  description = "The same queue's ARN, which dead letters are redriven to."
  value       = module.image_analyzer.job_queue_arn
}

output "dead_letter_queue_url" {
  description = "Where the next run of each image is kept that was given up, and what is no job; they may be redriven from there."
  value       = module.image_analyzer.dead_letter_queue_url
}

output "dead_letter_queue_arn" {
  description = "The same queue's ARN, which a redrive is started with."
  value       = module.image_analyzer.dead_letter_queue_arn
}

output "event_bus_name" {
  description = "The bus that completed and failed analyses are announced on."
  value       = module.image_analyzer.event_bus_name
}

output "event_bus_arn" {
  description = "The bus's ARN, for rules of other accounts."
  value       = module.image_analyzer.event_bus_arn
}

output "subscriber_queue_url" {
  description = "The queue that receives the events, if subscriber_queue says so."
  value       = module.image_analyzer.subscriber_queue_url
}

output "functions" {
  description = "Names of the functions."
  value       = module.image_analyzer.functions
}

output "versions" {
  description = "The published versions that are called: what to say as `versions` to stay on them."
  value       = module.image_analyzer.versions
}

output "alias_arns" {
  description = "ARNs by which the functions are called: of the alias live, by the names api, worker and sweeper."
  value       = module.image_analyzer.alias_arns
}

output "function_arns" {
  description = "ARNs of the functions, by the names api, worker and sweeper."
  value       = module.image_analyzer.function_arns
}

output "role_arns" {
  description = "ARNs of the roles of the functions: for a key policy, or a policy of your own on top."
  value       = module.image_analyzer.role_arns
}

output "worker_policy" {
  description = "The policy of the worker's role, as JSON: for a worker outside Lambda."
  value       = module.image_analyzer.worker_policy
}

output "worker_environment" {
  description = "The worker's settings, by their names: for a worker outside Lambda, whose REKOGNITION_TPS is another."
  value       = module.image_analyzer.worker_environment
}

output "log_groups" {
  description = "Names of the log groups of the functions, and of the gateway (access)."
  value       = module.image_analyzer.log_groups
}

output "bucket_arn" {
  description = "The bucket's ARN."
  value       = module.image_analyzer.bucket_arn
}

output "table_arn" {
  description = "The table's ARN."
  value       = module.image_analyzer.table_arn
}

output "subscriber_queue_arn" {
  description = "The subscriber's queue's ARN, if subscriber_queue says so."
  value       = module.image_analyzer.subscriber_queue_arn
}

output "rest_api_id" {
  description = "The REST API: for a custom domain (aws_api_gateway_base_path_mapping) or a usage plan."
  value       = module.image_analyzer.rest_api_id
}

output "stage_name" {
  description = "The stage of the REST API."
  value       = module.image_analyzer.stage_name
}

output "stage_arn" {
  description = "The stage's ARN: for a web application firewall (aws_wafv2_web_acl_association)."
  value       = module.image_analyzer.stage_arn
}

output "event_source" {
  description = "What rules of your own match as source."
  value       = module.image_analyzer.event_source
}

output "alarm_names" {
  description = "Names of all alarms, by which a roll-out may decide to go back."
  value       = module.image_analyzer.alarm_names
}
