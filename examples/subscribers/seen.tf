# The events that have been dealt with, for the function and the consumer (once.ts). An event comes at least once.
#trivy:ignore:AWS-0025 encrypted with a key of AWS's; it holds ids only
resource "aws_dynamodb_table" "seen" {
  #checkov:skip=CKV_AWS_119: encrypted with a key of AWS's; it holds ids only

  name         = "${var.name}-seen"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"

  attribute {
    name = "id"
    type = "S"
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }
}

locals {
  # What once.ts calls.
  remember = {
    Sid      = "RememberEvents"
    Effect   = "Allow"
    Action   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    Resource = aws_dynamodb_table.seen.arn
  }
}
