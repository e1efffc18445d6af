# Top to bottom: is it well, how many come and end, how long it takes, what it costs, what waits, and the functions. How much
# memory a function takes is no metric without Lambda Insights; its log has it (Max Memory Used).
locals {
  # FAILURE_CODES of shared/image.ts
  failure_codes = [
    "CORRUPT_IMAGE", "UNSUPPORTED_FORMAT", "IMAGE_TOO_SMALL", "TOO_MANY_PIXELS", "ORIGINAL_MISSING", "ANALYSIS_REFUSED",
    "EXHAUSTED",
  ]

  # What the dashboard's money is held to; as nothing is known of a month's days, a thirtieth of its budget.
  cost_limits = [for limit in [
    { label = "daily_cost_usd", value = var.daily_cost_usd },
    { label = "a day's part of monthly_budget_usd", value = try(var.monthly_budget_usd / 30, null) },
  ] : limit if limit.value != null]

  every_alarm = values(aws_cloudwatch_metric_alarm.pipeline)

  # Each metric: namespace, name, dimensions by name and value, and what is shown of it where that is not the graph's own.
  own_graphs = [for graph in [
    {
      title = "Images"
      stat  = "Sum"
      metrics = [
        [var.name, "Accepted", "service", "api"],
        [var.name, "Completed", "service", "worker"],
        [var.name, "Failed", "service", "worker"],
        [var.name, "Exhausted", "service", "sweeper"],
      ]
    },
    {
      title   = "Failures by code"
      stat    = "Sum"
      metrics = [for code in local.failure_codes : [var.name, "Failed", "service", "worker", "code", code]]
    },
    {
      title = "From submission to end, and the work of it, in milliseconds"
      stat  = "p50"
      metrics = [
        [var.name, "TotalMs", "service", "worker"],
        [var.name, "TotalMs", "service", "worker", { stat = "p99" }],
        [var.name, "WorkMs", "service", "worker"],
        [var.name, "WorkMs", "service", "worker", { stat = "p99" }],
      ]
    },
    {
      title   = "From the body of a request until its job is sent, in milliseconds"
      stat    = "p50"
      metrics = [[var.name, "AcceptMs", "service", "api"], [var.name, "AcceptMs", "service", "api", { stat = "p99" }]]
    },
    {
      title   = "Calls of Rekognition that are paid for, by the hour"
      stat    = "Sum"
      period  = 3600
      metrics = [[var.name, "PaidCalls", "service", "worker"]]
    },
    {
      title  = "Dollars for Rekognition, by the day (UTC)"
      stat   = "Sum"
      period = 86400
      # The page shows three hours at first, in which no day begins.
      since = "-P14D"
      metrics = [
        [{ id = "dollars", expression = "calls / 1000", label = "dollars" }],
        [var.name, "PaidCalls", "service", "worker", { id = "calls", visible = false }],
      ]
      limits = local.cost_limits
    },
    {
      title   = "Calls a second that a worker allows itself"
      stat    = "Average"
      period  = 60
      metrics = [for analysis in ["labels", "faces", "moderation", "text"] : [var.name, "LimiterRate", "service", "worker", "analysis", analysis]]
    },
    {
      title   = "Longest wait of an image that is taken up, in seconds"
      stat    = "Maximum"
      metrics = [[var.name, "ImageAge", "service", "worker"]]
    },
    {
      title = "Attempts that do not end"
      stat  = "Sum"
      metrics = [
        for metric in ["AttemptsFailed", "Throttled", "OverBudget", "OutOfTime", "Held", "NotAnnounced"] : [var.name, metric, "service", "worker"]
      ]
    },
    {
      title   = "What the sweeper has looked after, and what it could not"
      stat    = "Sum"
      metrics = [for metric in ["Requeued", "Exhausted", "NotSwept"] : [var.name, metric, "service", "sweeper"]]
    },
  ] : graph if local.counts]

  graphs = concat(local.own_graphs, [
    {
      title = "Jobs"
      stat  = "Maximum"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.jobs],
        ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", local.jobs],
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.jobs_dead],
      ]
    },
    {
      title   = "Age of the oldest job in seconds"
      stat    = "Maximum"
      metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", local.jobs]]
    },
    {
      title   = "Errors of functions"
      stat    = "Sum"
      metrics = [for function in values(local.functions) : ["AWS/Lambda", "Errors", "FunctionName", function]]
    },
    {
      title   = "Duration of functions in milliseconds"
      stat    = "p99"
      metrics = [for function in values(local.functions) : ["AWS/Lambda", "Duration", "FunctionName", function]]
      limits = [for function in [aws_lambda_function.api, aws_lambda_function.worker, aws_lambda_function.sweeper] :
        { label = "time-out of ${function.function_name}", value = 1000 * function.timeout }
      ]
    },
    {
      title = "Functions at once, and executions that Lambda throttled"
      stat  = "Maximum"
      metrics = concat(
        [for function in values(local.functions) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function]],
        [for function in values(local.functions) : ["AWS/Lambda", "Throttles", "FunctionName", function, { stat = "Sum" }]],
      )
      limits = [{ label = "most workers", value = local.maximum_concurrency }]
    },
    {
      title = "Requests"
      stat  = "Sum"
      metrics = [
        for metric in ["Count", "4XXError", "5XXError"] :
        ["AWS/ApiGateway", metric, "ApiName", var.name, "Stage", local.stage]
      ]
    },
  ])
}

resource "aws_cloudwatch_dashboard" "images" {
  count          = var.compat.alarms ? 1 : 0
  dashboard_name = "${var.name}-${local.region}"
  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm"
        x          = 0
        y          = 0
        width      = 24
        height     = 3
        properties = { title = "Alarms", alarms = local.every_alarm[*].arn }
      }],
      [for index, graph in local.graphs : {
        type   = "metric"
        x      = index % 2 * 12
        y      = 3 + floor(index / 2) * 6
        width  = 12
        height = 6
        properties = merge(
          { title = graph.title, metrics = graph.metrics, region = local.region, period = try(graph.period, 300), stat = graph.stat },
          try({ start = graph.since, end = "P0D" }, {}),
          length(try(graph.limits, [])) == 0 ? {} : { annotations = { horizontal = graph.limits } },
        )
      }],
    )
  })
}
