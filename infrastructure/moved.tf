# A deployment from before the module existed keeps every resource: these are the addresses that it knows them by. New
# resources need no line here.

moved {
  from = aws_s3_bucket.images
  to   = module.image_analyzer.aws_s3_bucket.images
}

moved {
  from = aws_s3_bucket_public_access_block.images
  to   = module.image_analyzer.aws_s3_bucket_public_access_block.images
}

moved {
  from = aws_s3_bucket_ownership_controls.images
  to   = module.image_analyzer.aws_s3_bucket_ownership_controls.images
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.images
  to   = module.image_analyzer.aws_s3_bucket_server_side_encryption_configuration.images
}

moved {
  from = aws_s3_bucket_policy.images
  to   = module.image_analyzer.aws_s3_bucket_policy.images
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.images
  to   = module.image_analyzer.aws_s3_bucket_lifecycle_configuration.images
}

moved {
  from = aws_s3_bucket_cors_configuration.images
  to   = module.image_analyzer.aws_s3_bucket_cors_configuration.images
}

moved {
  from = aws_s3_bucket_notification.images
  to   = module.image_analyzer.aws_s3_bucket_notification.images
}

moved {
  from = aws_dynamodb_table.images
  to   = module.image_analyzer.aws_dynamodb_table.images
}

moved {
  from = aws_sqs_queue.jobs
  to   = module.image_analyzer.aws_sqs_queue.jobs
}

moved {
  from = aws_sqs_queue.jobs_dead
  to   = module.image_analyzer.aws_sqs_queue.jobs_dead
}

moved {
  from = aws_lambda_function.api
  to   = module.image_analyzer.aws_lambda_function.api
}

moved {
  from = aws_cloudwatch_log_group.api
  to   = module.image_analyzer.aws_cloudwatch_log_group.api
}

moved {
  from = aws_iam_role.api
  to   = module.image_analyzer.aws_iam_role.api
}

moved {
  from = aws_iam_role_policy.api
  to   = module.image_analyzer.aws_iam_role_policy.api
}

moved {
  from = aws_api_gateway_rest_api.api
  to   = module.image_analyzer.aws_api_gateway_rest_api.api
}

moved {
  from = aws_api_gateway_resource.proxy
  to   = module.image_analyzer.aws_api_gateway_resource.proxy
}

moved {
  from = aws_api_gateway_resource.health
  to   = module.image_analyzer.aws_api_gateway_resource.health
}

moved {
  from = aws_api_gateway_method.api
  to   = module.image_analyzer.aws_api_gateway_method.api
}

moved {
  from = aws_api_gateway_integration.api
  to   = module.image_analyzer.aws_api_gateway_integration.api
}

moved {
  from = aws_api_gateway_gateway_response.problem
  to   = module.image_analyzer.aws_api_gateway_gateway_response.problem
}

moved {
  from = aws_lambda_permission.api
  to   = module.image_analyzer.aws_lambda_permission.api
}

moved {
  from = aws_api_gateway_deployment.api
  to   = module.image_analyzer.aws_api_gateway_deployment.api
}

moved {
  from = aws_api_gateway_stage.live
  to   = module.image_analyzer.aws_api_gateway_stage.live
}

moved {
  from = aws_api_gateway_method_settings.all
  to   = module.image_analyzer.aws_api_gateway_method_settings.all
}

moved {
  from = aws_api_gateway_method_settings.health
  to   = module.image_analyzer.aws_api_gateway_method_settings.health
}

moved {
  from = aws_cloudwatch_log_group.access
  to   = module.image_analyzer.aws_cloudwatch_log_group.access
}

moved {
  from = aws_cloudwatch_log_group.execution
  to   = module.image_analyzer.aws_cloudwatch_log_group.execution
}

moved {
  from = aws_api_gateway_account.logging
  to   = module.image_analyzer.aws_api_gateway_account.logging
}

moved {
  from = aws_iam_role.api_gateway_logging
  to   = module.image_analyzer.aws_iam_role.api_gateway_logging
}

moved {
  from = aws_iam_role_policy_attachment.api_gateway_logging
  to   = module.image_analyzer.aws_iam_role_policy_attachment.api_gateway_logging
}

moved {
  from = aws_lambda_function.worker
  to   = module.image_analyzer.aws_lambda_function.worker
}

moved {
  from = aws_lambda_event_source_mapping.jobs
  to   = module.image_analyzer.aws_lambda_event_source_mapping.jobs
}

moved {
  from = aws_cloudwatch_log_group.worker
  to   = module.image_analyzer.aws_cloudwatch_log_group.worker
}

moved {
  from = aws_iam_role.worker
  to   = module.image_analyzer.aws_iam_role.worker
}

moved {
  from = aws_iam_role_policy.worker
  to   = module.image_analyzer.aws_iam_role_policy.worker
}

moved {
  from = aws_lambda_function.sweeper
  to   = module.image_analyzer.aws_lambda_function.sweeper
}

moved {
  from = aws_cloudwatch_event_rule.sweep
  to   = module.image_analyzer.aws_cloudwatch_event_rule.sweep
}

moved {
  from = aws_cloudwatch_event_target.sweep
  to   = module.image_analyzer.aws_cloudwatch_event_target.sweep
}

moved {
  from = aws_lambda_permission.sweep
  to   = module.image_analyzer.aws_lambda_permission.sweep
}

moved {
  from = aws_lambda_function_event_invoke_config.sweeper
  to   = module.image_analyzer.aws_lambda_function_event_invoke_config.sweeper
}

moved {
  from = aws_cloudwatch_log_group.sweeper
  to   = module.image_analyzer.aws_cloudwatch_log_group.sweeper
}

moved {
  from = aws_iam_role.sweeper
  to   = module.image_analyzer.aws_iam_role.sweeper
}

moved {
  from = aws_iam_role_policy.sweeper
  to   = module.image_analyzer.aws_iam_role_policy.sweeper
}

moved {
  from = aws_cloudwatch_event_bus.images
  to   = module.image_analyzer.aws_cloudwatch_event_bus.images
}

moved {
  from = aws_cloudwatch_event_archive.images
  to   = module.image_analyzer.aws_cloudwatch_event_archive.images
}

moved {
  from = aws_cloudwatch_event_rule.queue
  to   = module.image_analyzer.aws_cloudwatch_event_rule.queue
}

moved {
  from = aws_cloudwatch_event_target.queue
  to   = module.image_analyzer.aws_cloudwatch_event_target.queue
}

moved {
  from = aws_sqs_queue.subscriber
  to   = module.image_analyzer.aws_sqs_queue.subscriber
}

moved {
  from = aws_sqs_queue.subscriber_dead
  to   = module.image_analyzer.aws_sqs_queue.subscriber_dead
}

moved {
  from = aws_cloudwatch_event_connection.webhook
  to   = module.image_analyzer.aws_cloudwatch_event_connection.webhook
}

moved {
  from = aws_cloudwatch_event_api_destination.webhook
  to   = module.image_analyzer.aws_cloudwatch_event_api_destination.webhook
}

moved {
  from = aws_cloudwatch_event_rule.webhook
  to   = module.image_analyzer.aws_cloudwatch_event_rule.webhook
}

moved {
  from = aws_cloudwatch_event_target.webhook
  to   = module.image_analyzer.aws_cloudwatch_event_target.webhook
}

moved {
  from = aws_sqs_queue.webhook_dead
  to   = module.image_analyzer.aws_sqs_queue.webhook_dead
}

moved {
  from = aws_iam_role.webhook
  to   = module.image_analyzer.aws_iam_role.webhook
}

moved {
  from = aws_iam_role_policy.webhook
  to   = module.image_analyzer.aws_iam_role_policy.webhook
}

moved {
  from = aws_sns_topic.alarms
  to   = module.image_analyzer.aws_sns_topic.alarms
}

moved {
  from = aws_sns_topic_subscription.alarms
  to   = module.image_analyzer.aws_sns_topic_subscription.alarms
}

moved {
  from = aws_cloudwatch_metric_alarm.dead_letters
  to   = module.image_analyzer.aws_cloudwatch_metric_alarm.dead_letters
}

moved {
  from = aws_cloudwatch_metric_alarm.oldest_job
  to   = module.image_analyzer.aws_cloudwatch_metric_alarm.oldest_job
}

moved {
  from = aws_cloudwatch_metric_alarm.pipeline
  to   = module.image_analyzer.aws_cloudwatch_metric_alarm.pipeline
}

moved {
  from = aws_cloudwatch_metric_alarm.function_errors
  to   = module.image_analyzer.aws_cloudwatch_metric_alarm.function_errors
}

moved {
  from = aws_cloudwatch_metric_alarm.api_errors
  to   = module.image_analyzer.aws_cloudwatch_metric_alarm.api_errors
}

moved {
  from = aws_cloudwatch_dashboard.images
  to   = module.image_analyzer.aws_cloudwatch_dashboard.images
}

moved {
  from = aws_cloudwatch_query_definition.logs
  to   = module.image_analyzer.aws_cloudwatch_query_definition.logs
}
