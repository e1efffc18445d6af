# One key for all that rests. Who may use it: who administers the account, and the services that write in their own name.
resource "aws_kms_key" "images" {
  description         = "Images, records, jobs and logs of ${var.name}."
  enable_key_rotation = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # The roles of the functions get their right by their own policies.
      {
        Sid       = "Administer"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      # S3 and EventBridge write to the queues, and CloudWatch to the topic of alarms.
      {
        Sid       = "SendMessages"
        Effect    = "Allow"
        Principal = { Service = ["s3.amazonaws.com", "events.amazonaws.com", "cloudwatch.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
      {
        Sid       = "WriteLogs"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account}:*" } }
      },
    ]
  })
}
