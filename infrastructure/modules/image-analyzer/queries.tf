# Questions to the logs, saved in CloudWatch Logs Insights under the name of this deployment. docs/log.md has what a line has.
locals {
  log_groups = {
    api     = aws_cloudwatch_log_group.api.name
    worker  = aws_cloudwatch_log_group.worker.name
    sweeper = aws_cloudwatch_log_group.sweeper.name
  }

  queries = {
    "story of an image" = {
      groups = values(local.log_groups)
      query  = <<-EOT
        fields @timestamp, service, event, epoch, attempt, code, seconds, error.message, requestId, traceId
        | filter imageId = "PUT THE ID HERE"
        | sort @timestamp
        | limit 1000
      EOT
    }
    "failures by code" = {
      groups = [local.log_groups.worker, local.log_groups.sweeper]
      query  = <<-EOT
        filter event in ["failed", "exhausted"]
        | stats count(*) as images, latest(imageId) as example, latest(error.message) as reason by code
        | sort images desc
      EOT
    }
    "slowest images" = {
      groups = [local.log_groups.worker]
      query  = <<-EOT
        fields imageId, totalMs, queuedMs, fetchMs, decodeMs, analyseMs, workMs, bytes, pixels
        | filter event in ["completed", "failed"]
        | sort totalMs desc
        | limit 50
      EOT
    }
    "what waits" = {
      groups = [local.log_groups.worker]
      query  = <<-EOT
        filter event in ["waits for quota", "waits for budget", "held", "out of time", "attempt failed", "not announced"]
        | stats count(*) as times, max(receives) as receives, latest(error.message) as reason by event, imageId
        | sort receives desc
        | limit 50
      EOT
    }
    "requests of a caller" = {
      groups = [local.log_groups.api]
      query  = <<-EOT
        fields @timestamp, event, method, route, status, code, imageId, requestId, clientRequestId
        | filter owner = "PUT 16 HEX DIGITS HERE" or clientRequestId = "OR WHAT THE CALLER CALLED THE REQUEST"
        | sort @timestamp desc
        | limit 1000
      EOT
    }
  }
}

resource "aws_cloudwatch_query_definition" "logs" {
  for_each        = var.compat.saved_queries ? local.queries : {}
  name            = "${var.name}/${each.key}"
  log_group_names = each.value.groups
  query_string    = each.value.query
}
