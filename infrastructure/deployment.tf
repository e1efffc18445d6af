# Written by `npm run inputs` from modules/image-analyzer; change it there.

module "image_analyzer" {
  source = "./modules/image-analyzer"

  name                       = var.name
  dist_dir                   = var.dist_dir
  runtime                    = var.runtime
  architecture               = var.architecture
  auth                       = var.auth
  jwt_issuer                 = var.jwt_issuer
  jwt_audience               = var.jwt_audience
  cors_origins               = var.cors_origins
  api_requests_per_second    = var.api_requests_per_second
  api_burst                  = var.api_burst
  account_concurrency        = var.account_concurrency
  max_wait_seconds           = var.max_wait_seconds
  api_reserved_concurrency   = var.api_reserved_concurrency
  manage_api_gateway_logging = var.manage_api_gateway_logging
  max_upload_bytes           = var.max_upload_bytes
  daily_image_quota          = var.daily_image_quota
  analyses                   = var.analyses
  rekognition_tps            = var.rekognition_tps
  preview                    = var.preview
  heic                       = var.heic
  strip_gps                  = var.strip_gps
  worker_timeout_seconds     = var.worker_timeout_seconds
  worker_memory_mb           = var.worker_memory_mb
  batch_window_seconds       = var.batch_window_seconds
  max_attempts               = var.max_attempts
  sweep_minutes              = var.sweep_minutes
  keep_data                  = var.keep_data
  retention_days             = var.retention_days
  log_retention_days         = var.log_retention_days
  archive_days               = var.archive_days
  subscriber_labels          = var.subscriber_labels
  subscriber_queue           = var.subscriber_queue
  subscriber_receives        = var.subscriber_receives
  subscriber_webhook         = var.subscriber_webhook
  metrics                    = var.metrics
  log_level                  = var.log_level
  max_wait_minutes           = var.max_wait_minutes
  alarm_email                = var.alarm_email
  alarm_actions              = var.alarm_actions
  emulator_endpoint          = var.emulator_endpoint
  emulator_rekognition       = var.emulator_rekognition
  compat                     = var.compat
}
