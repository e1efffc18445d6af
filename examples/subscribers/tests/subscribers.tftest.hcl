# What each subscriber gets, and that nothing gets lost or gets in. No account is asked.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { id = "us-east-1" }
  }

  override_resource {
    target = aws_cloudwatch_event_rule.lambda
    values = { arn = "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/lambda" }
  }
  override_resource {
    target = aws_cloudwatch_event_rule.queue
    values = { arn = "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/queue" }
  }
  override_resource {
    target = aws_cloudwatch_event_rule.webhook
    values = { arn = "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/webhook" }
  }
  override_resource {
    target = aws_cloudwatch_event_api_destination.webhook
    values = { arn = "arn:aws:events:us-east-1:111122223333:api-destination/webhook/1" }
  }
  override_resource {
    target = aws_cloudwatch_event_connection.webhook
    values = { arn = "arn:aws:events:us-east-1:111122223333:connection/webhook/1" }
  }
  override_resource {
    target = aws_cloudwatch_log_group.lambda
    values = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/subscriber" }
  }
  override_resource {
    target = aws_dynamodb_table.seen
    values = { arn = "arn:aws:dynamodb:us-east-1:111122223333:table/seen" }
  }
  override_resource {
    target = aws_iam_role.lambda
    values = { arn = "arn:aws:iam::111122223333:role/lambda" }
  }
  override_resource {
    target = aws_iam_role.webhook
    values = { arn = "arn:aws:iam::111122223333:role/webhook" }
  }
  override_resource {
    target = aws_lambda_function.subscriber
    values = { arn = "arn:aws:lambda:us-east-1:111122223333:function:subscriber" }
  }
  override_resource {
    target = aws_sqs_queue.events
    values = { arn = "arn:aws:sqs:us-east-1:111122223333:events" }
  }
  override_resource {
    target = aws_sqs_queue.events_dead
    values = { arn = "arn:aws:sqs:us-east-1:111122223333:events-dead" }
  }
  override_resource {
    target = aws_sqs_queue.lambda_dead
    values = { arn = "arn:aws:sqs:us-east-1:111122223333:lambda-dead" }
  }
  override_resource {
    target = aws_sqs_queue.webhook_dead
    values = { arn = "arn:aws:sqs:us-east-1:111122223333:webhook-dead" }
  }
}

variables {
  webhook_url = "https://hooks.example/images"
  webhook_key = "0123456789abcdef0123456789abcdef"
}

run "each_hears_of_its_own" {
  command = plan

  assert {
    condition = (
      jsondecode(aws_cloudwatch_event_rule.lambda.event_pattern) == { source = ["image-analyzer"], detail = { labels = ["Dog"] } }
      && jsondecode(aws_cloudwatch_event_rule.queue.event_pattern) == { source = ["image-analyzer"] }
      && jsondecode(aws_cloudwatch_event_rule.webhook.event_pattern) == { source = ["image-analyzer"] }
    )
    error_message = "The function gets images with its labels, the others every event."
  }
  assert {
    condition = alltrue([
      for target in [aws_cloudwatch_event_target.lambda, aws_cloudwatch_event_target.queue, aws_cloudwatch_event_target.webhook] :
      target.event_bus_name == "image-analyzer"
    ])
    error_message = "Events are on the image-analyzer's bus."
  }
}

run "nothing_gets_lost" {
  command = plan

  assert {
    condition = alltrue([
      for target in [aws_cloudwatch_event_target.lambda, aws_cloudwatch_event_target.queue, aws_cloudwatch_event_target.webhook] :
      length(target.retry_policy) == 1 && target.retry_policy[0].maximum_retry_attempts == 185
    ])
    error_message = "Each target must be tried again."
  }
  assert {
    condition = (
      aws_cloudwatch_event_target.lambda.dead_letter_config[0].arn == aws_sqs_queue.lambda_dead.arn
      && aws_cloudwatch_event_target.queue.dead_letter_config[0].arn == aws_sqs_queue.events_dead.arn
      && aws_cloudwatch_event_target.webhook.dead_letter_config[0].arn == aws_sqs_queue.webhook_dead.arn
    )
    error_message = "What EventBridge cannot deliver must go to a dead-letter queue."
  }
  assert {
    condition = (
      aws_lambda_function_event_invoke_config.subscriber.destination_config[0].on_failure[0].destination == aws_sqs_queue.lambda_dead.arn
      && jsondecode(aws_sqs_queue.events.redrive_policy).deadLetterTargetArn == aws_sqs_queue.events_dead.arn
    )
    error_message = "What a subscriber fails at must go to a dead-letter queue."
  }
  assert {
    condition = alltrue([
      for queue in [aws_sqs_queue.events, aws_sqs_queue.events_dead, aws_sqs_queue.lambda_dead, aws_sqs_queue.webhook_dead] :
      queue.message_retention_seconds == 14 * 86400 && queue.sqs_managed_sse_enabled
    ])
    error_message = "Queues are encrypted, and keep what they have for 14 days."
  }
  # The lease of once.ts is 50 seconds.
  assert {
    condition     = aws_lambda_function.subscriber.timeout < 50 && aws_sqs_queue.events.visibility_timeout_seconds > 50
    error_message = "A run must be over before its lease, and the lease before the next try."
  }
  assert {
    condition     = aws_cloudwatch_log_group.lambda.retention_in_days == 30 && aws_dynamodb_table.seen.ttl[0].attribute_name == "expiresAt"
    error_message = "Logs and remembered events must not be kept for ever."
  }
}

run "nobody_may_more_than_needed" {
  command = plan

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.lambda.policy).Statement : statement.Sid => [statement.Action, statement.Resource]
      } == {
      RememberEvents = [["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], aws_dynamodb_table.seen.arn]
      GiveUp         = ["sqs:SendMessage", aws_sqs_queue.lambda_dead.arn]
      WriteLogs      = [["logs:CreateLogStream", "logs:PutLogEvents"], "${aws_cloudwatch_log_group.lambda.arn}:*"]
      WriteTraces    = [["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*"]
    }
    error_message = "The function may do what it does, and no more."
  }
  assert {
    condition = {
      for statement in jsondecode(aws_iam_policy.consumer.policy).Statement : statement.Sid => [statement.Action, statement.Resource]
      } == {
      ReadEvents     = [["sqs:DeleteMessage", "sqs:ReceiveMessage"], aws_sqs_queue.events.arn]
      RememberEvents = [["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], aws_dynamodb_table.seen.arn]
    }
    error_message = "The consumer may do what it does, and no more."
  }
  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.webhook.policy).Statement : [statement.Action, statement.Resource]
    ] == [["events:InvokeApiDestination", aws_cloudwatch_event_api_destination.webhook.arn]]
    error_message = "EventBridge may call this endpoint only."
  }
  assert {
    condition = {
      for name, queue in { events = aws_sqs_queue.events, events-dead = aws_sqs_queue.events_dead, lambda-dead = aws_sqs_queue.lambda_dead, webhook-dead = aws_sqs_queue.webhook_dead } :
      name => [for statement in jsondecode(queue.policy).Statement : "${statement.Effect} ${try(statement.Condition.ArnEquals["aws:SourceArn"], statement.Action)} ${statement.Resource}"]
      } == {
      for name, rule in { events = "queue", events-dead = "queue", lambda-dead = "lambda", webhook-dead = "webhook" } :
      name => [
        "Deny sqs:* arn:aws:sqs:us-east-1:111122223333:image-analyzer-subscribers-${name}",
        "Allow arn:aws:events:us-east-1:111122223333:rule/image-analyzer/${rule} arn:aws:sqs:us-east-1:111122223333:image-analyzer-subscribers-${name}",
      ]
    }
    error_message = "Only a queue's own rule may send to it, and nobody may speak to it in plain text."
  }
  assert {
    condition     = aws_lambda_permission.subscriber.principal == "events.amazonaws.com" && aws_lambda_permission.subscriber.source_arn == aws_cloudwatch_event_rule.lambda.arn
    error_message = "Only its own rule may invoke the function."
  }
}

run "other_labels" {
  command = plan

  variables {
    labels = ["Cat", "Dog"]
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.lambda.event_pattern).detail.labels == ["Cat", "Dog"]
    error_message = "Any of the labels will do."
  }
}

run "plain_http_and_short_keys_are_refused" {
  command = plan

  variables {
    webhook_url = "http://hooks.example/images"
    webhook_key = "short"
    labels      = []
  }

  expect_failures = [var.webhook_url, var.webhook_key, var.labels]
}

run "what_eventbridge_does_not_take_is_refused" {
  command = plan

  variables {
    webhook_url = "https://hooks.example/{tenant}"
    webhook_key = "0123456789abcdef0123456789abcdef\n"
  }

  expect_failures = [var.webhook_url, var.webhook_key]
}
