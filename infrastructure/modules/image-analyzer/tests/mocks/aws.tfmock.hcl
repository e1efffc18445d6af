# An account without AWS: what AWS would fill in, by which policies and functions refer to each other.

mock_data "aws_caller_identity" {
  defaults = { account_id = "111122223333" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}

mock_data "aws_region" {
  defaults = { id = "us-east-1" }
}

mock_resource "aws_cloudwatch_event_rule" {
  defaults = { arn = "arn:aws:events:us-east-1:111122223333:rule/mocked" }
}

mock_resource "aws_cloudwatch_metric_alarm" {
  defaults = { arn = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:mocked" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:mocked" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
}

mock_resource "aws_lambda_function" {
  defaults = {
    arn = "arn:aws:lambda:us-east-1:111122223333:function:mocked"
    # Of the package in S3 that tests/settings.tftest.hcl names.
    code_sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    version     = "7"
    invoke_arn  = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:111122223333:function:mocked/invocations"
  }
}

mock_resource "aws_lambda_alias" {
  defaults = {
    arn        = "arn:aws:lambda:us-east-1:111122223333:function:mocked:live"
    invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:111122223333:function:mocked:live/invocations"
  }
}

mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:us-east-1:111122223333:mocked" }
}

mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:us-east-1:111122223333:mocked" }
}

override_resource {
  target = aws_api_gateway_rest_api.api
  values = { execution_arn = "arn:aws:execute-api:us-east-1:111122223333:api", id = "api", root_resource_id = "root" }
}

override_resource {
  target = aws_api_gateway_resource.proxy
  values = { id = "proxy" }
}

override_resource {
  target = aws_cloudwatch_event_bus.images
  values = { arn = "arn:aws:events:us-east-1:111122223333:event-bus/image-analyzer" }
}

override_resource {
  target = aws_cloudwatch_event_connection.webhook
  values = { arn = "arn:aws:events:us-east-1:111122223333:connection/image-analyzer-webhook/1" }
}

override_resource {
  target = aws_cloudwatch_event_api_destination.webhook
  values = { arn = "arn:aws:events:us-east-1:111122223333:api-destination/image-analyzer-webhook/1" }
}

override_resource {
  target = aws_cloudwatch_event_rule.queue
  values = { arn = "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/image-analyzer-queue" }
}

override_resource {
  target = aws_cloudwatch_event_rule.webhook
  values = { arn = "arn:aws:events:us-east-1:111122223333:rule/image-analyzer/image-analyzer-webhook" }
}

override_resource {
  target = aws_cloudwatch_log_group.api
  values = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/image-analyzer-api" }
}

override_resource {
  target = aws_cloudwatch_log_group.worker
  values = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/image-analyzer-worker" }
}

override_resource {
  target = aws_cloudwatch_log_group.sweeper
  values = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/image-analyzer-sweeper" }
}

override_resource {
  target = aws_dynamodb_table.images
  values = { arn = "arn:aws:dynamodb:us-east-1:111122223333:table/image-analyzer-images" }
}

override_resource {
  target = aws_dynamodb_table.labels
  values = { arn = "arn:aws:dynamodb:us-east-1:111122223333:table/image-analyzer-images-labels" }
}

override_resource {
  target = aws_s3_bucket.images
  values = {
    arn = "arn:aws:s3:::image-analyzer-images-111122223333-us-east-1"
    id  = "image-analyzer-images-111122223333-us-east-1"
  }
}

override_resource {
  target = aws_sqs_queue.jobs
  values = {
    arn = "arn:aws:sqs:us-east-1:111122223333:image-analyzer-jobs"
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-jobs"
  }
}

override_resource {
  target = aws_sqs_queue.jobs_dead
  values = {
    arn = "arn:aws:sqs:us-east-1:111122223333:image-analyzer-jobs-dead"
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-jobs-dead"
  }
}

override_resource {
  target = aws_sqs_queue.subscriber
  values = {
    arn = "arn:aws:sqs:us-east-1:111122223333:image-analyzer-subscriber"
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-subscriber"
  }
}

override_resource {
  target = aws_sqs_queue.subscriber_dead
  values = {
    arn = "arn:aws:sqs:us-east-1:111122223333:image-analyzer-subscriber-dead"
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-subscriber-dead"
  }
}

override_resource {
  target = aws_sqs_queue.webhook_dead
  values = {
    arn = "arn:aws:sqs:us-east-1:111122223333:image-analyzer-webhook-dead"
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/image-analyzer-webhook-dead"
  }
}
