locals {
  functions = {
    api     = aws_lambda_function.api.function_name
    worker  = aws_lambda_function.worker.function_name
    sweeper = aws_lambda_function.sweeper.function_name
  }

  dead_letter_queues = merge(
    { jobs = aws_sqs_queue.jobs_dead.name },
    var.subscriber_queue ? { subscriber = local.subscriber_dead } : {},
    local.has_webhook ? { webhook = local.webhook_dead } : {},
  )
}

# Where the alarms are sent.
# `counts`: whether the functions write the lines that our own metrics are made of.
locals {
  counts        = var.metrics && var.log_level == "INFO"
  alarm_actions = concat(var.alarm_actions, aws_sns_topic.alarms[*].arn)
}

#trivy:ignore:AWS-0095 CloudWatch cannot publish to a topic with AWS's own key
resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26: CloudWatch cannot publish to a topic that is encrypted with AWS's own key, and it carries names of alarms only
  count             = var.alarm_email == null ? 0 : 1
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
  tags              = var.tags
}

# AWS asks the address first whether it wants them.
resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == null ? 0 : 1
  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# An operator should look: an image that was given up, or an event that no subscriber took. README.md says what to do.
resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each            = var.compat.alarms ? local.dead_letter_queues : {}
  alarm_name          = "${var.name}-dead-letters-${each.key}"
  alarm_description   = "${each.value} is not empty."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

# More comes in than the workers, or Rekognition's quota, can take; or nothing is taken. The metric leaves out
# what was received three times or more (Amazon SQS developer guide, CloudWatch metrics): jobs that have their pauses.
resource "aws_cloudwatch_metric_alarm" "oldest_job" {
  count               = var.compat.alarms ? 1 : 0
  alarm_name          = "${var.name}-oldest-job"
  alarm_description   = "A job has waited for longer than its visibility timeout."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.jobs.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.visibility_timeout
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

# By our own metrics (shared/log.ts), and of a function that is not called. test/alarms.test.ts makes each of them go off,
# and none of them in a day of ordinary work.
locals {
  alarms = {
    for name, alarm in jsondecode(templatefile("${path.module}/alarms.json", {
      name             = var.name
      max_wait_minutes = var.max_wait_minutes
      sweep_minutes    = var.sweep_minutes
    })) : name => alarm
    if var.compat.alarms && (local.counts || contains(["sweeper-silent", "worker-throttles"], name))
  }
}

resource "aws_cloudwatch_metric_alarm" "pipeline" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = each.value.comparison
  threshold           = tonumber(each.value.threshold)
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.breaching
  treat_missing_data  = each.value.missing
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags

  dynamic "metric_query" {
    for_each = each.value.metrics
    content {
      id          = metric_query.key
      return_data = each.value.expression == null
      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        stat        = metric_query.value.stat
        period      = tonumber(each.value.period)
      }
    }
  }

  dynamic "metric_query" {
    for_each = each.value.expression == null ? [] : [each.value.expression]
    content {
      id          = "compared"
      label       = each.key
      expression  = metric_query.value
      return_data = true
    }
  }
}

# Bad images and refused requests are no errors of a function: these are crashes and time-outs, and sweeps that met
# images which they could not look after.
resource "aws_cloudwatch_metric_alarm" "function_errors" {
  for_each            = var.compat.alarms ? local.functions : {}
  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "${each.value} failed or ran out of time."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = each.value }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "api_errors" {
  count               = var.compat.alarms ? 1 : 0
  alarm_name          = "${var.name}-api-5xx"
  alarm_description   = "The API answered with 5xx, which no input should cause."
  namespace           = "AWS/ApiGateway"
  metric_name         = "5XXError"
  dimensions          = { ApiName = aws_api_gateway_rest_api.api.name, Stage = aws_api_gateway_stage.live.stage_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}
