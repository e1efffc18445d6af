locals {
  functions = {
    api     = aws_lambda_function.api.function_name
    worker  = aws_lambda_function.worker.function_name
    sweeper = aws_lambda_function.sweeper.function_name
  }
}

# Where the alarms are sent.
# `counts`: whether the functions write the lines that our own metrics are made of.
locals {
  counts        = var.metrics && var.log_level == "INFO"
  alarm_actions = concat(var.alarm_actions, aws_sns_topic.alarms[*].arn)
  # Systems Manager and investigations do something about an alarm that begins, and nothing about one that is over.
  only_begins = ":(ssm|ssm-incidents|aiops):"
  ok_actions = concat(
    [for arn in var.alarm_actions : arn if !can(regex(local.only_begins, arn))],
    aws_sns_topic.alarms[*].arn,
  )
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

# What each means and what to do is in docs/runbook.md. test/deployment/alarms.test.ts makes each of them go off, and none of them in a
# day of ordinary work.
locals {
  # Of a subscriber that is not there, and by metrics that are not counted, no alarm ever rings.
  alarms = {
    for name, alarm in jsondecode(templatefile("${path.module}/alarms.json", {
      name               = var.name
      max_wait_minutes   = var.max_wait_minutes
      sweep_minutes      = var.sweep_minutes
      visibility_timeout = local.visibility_timeout
      daily_cost_usd     = coalesce(var.daily_cost_usd, 0)
    })) : name => alarm
    if(
      var.compat.alarms
      && (local.counts || !contains(values(alarm.metrics)[*].namespace, var.name))
      && (var.subscriber_queue || !endswith(name, "-subscriber"))
      && (local.has_webhook || !endswith(name, "-webhook"))
      && (var.daily_cost_usd != null || name != "cost-today")
      && (var.monthly_budget_usd != null || name != "budget-spent")
    )
  }
}

resource "aws_cloudwatch_metric_alarm" "pipeline" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} docs/runbook.md#${each.key}"
  comparison_operator = each.value.comparison
  threshold           = tonumber(each.value.threshold)
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.breaching
  treat_missing_data  = each.value.missing
  alarm_actions       = local.alarm_actions
  ok_actions          = local.ok_actions
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

# One for those who want one: it is on while any of the others is.
resource "aws_cloudwatch_composite_alarm" "unwell" {
  count             = var.compat.alarms && var.compat.composite_alarm ? 1 : 0
  alarm_name        = "${var.name}-unwell"
  alarm_description = "At least one alarm of this deployment is on; its description says what is wrong. docs/runbook.md"
  alarm_rule        = join(" OR ", [for alarm in aws_cloudwatch_metric_alarm.pipeline : "ALARM(\"${alarm.alarm_name}\")"])
  alarm_actions     = var.unwell_actions
  ok_actions        = [for arn in var.unwell_actions : arn if !can(regex(local.only_begins, arn))]
  tags              = var.tags
}

# All alarms were resources of their own, by kind, until they came to be in one table.
moved {
  from = aws_cloudwatch_metric_alarm.dead_letters["jobs"]
  to   = aws_cloudwatch_metric_alarm.pipeline["dead-letters-jobs"]
}
moved {
  from = aws_cloudwatch_metric_alarm.dead_letters["subscriber"]
  to   = aws_cloudwatch_metric_alarm.pipeline["dead-letters-subscriber"]
}
moved {
  from = aws_cloudwatch_metric_alarm.dead_letters["webhook"]
  to   = aws_cloudwatch_metric_alarm.pipeline["dead-letters-webhook"]
}
moved {
  from = aws_cloudwatch_metric_alarm.oldest_job[0]
  to   = aws_cloudwatch_metric_alarm.pipeline["oldest-job"]
}
moved {
  from = aws_cloudwatch_metric_alarm.function_errors["api"]
  to   = aws_cloudwatch_metric_alarm.pipeline["api-errors"]
}
moved {
  from = aws_cloudwatch_metric_alarm.function_errors["worker"]
  to   = aws_cloudwatch_metric_alarm.pipeline["worker-errors"]
}
moved {
  from = aws_cloudwatch_metric_alarm.function_errors["sweeper"]
  to   = aws_cloudwatch_metric_alarm.pipeline["sweeper-errors"]
}
moved {
  from = aws_cloudwatch_metric_alarm.api_errors[0]
  to   = aws_cloudwatch_metric_alarm.pipeline["api-5xx"]
}
