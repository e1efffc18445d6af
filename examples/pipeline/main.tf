# Who GitHub Actions is in the account: a role that plans, for pull requests, and one that deploys, for tags. Applied once, by
# an administrator. deploy.yml and canary.sh beside this use them. They deploy the module, and only read what a root has around
# it: where that is examples/production, its first apply, and each change of key, sign-in, domain or firewall, are an
# administrator's.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {}

variable "repository" {
  description = "The repository whose workflows deploy, as its tokens name it: owner@1234/name@5678 if it was made, renamed or transferred after 2026-07-15, else owner/name. `gh api repos/OWNER/NAME --jq '.owner.id, .id'` has the numbers."
  type        = string

  validation {
    condition     = can(regex("^([A-Za-z0-9-]+/[A-Za-z0-9._-]+|[A-Za-z0-9-]+@[0-9]+/[A-Za-z0-9._-]+@[0-9]+)$", var.repository))
    error_message = "repository must be owner/name, or owner@1234/name@5678 with the numbers of both."
  }
}

variable "name" {
  description = "Name of the deployment: the prefix of all that the roles may make, and the folder of Terraform's state in its bucket."
  type        = string
  default     = "image-analyzer"
}

variable "state_bucket" {
  description = "Bucket of Terraform's state."
  type        = string
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.id
  state     = "arn:${local.partition}:s3:::${var.state_bucket}"
  github    = "token.actions.githubusercontent.com"

  # An ARN of this account and region, by service.
  here = { for service in ["cloudwatch", "dynamodb", "events", "kms", "lambda", "logs", "secretsmanager", "sns", "sqs"] : service => "arn:${local.partition}:${service}:${local.region}:${local.account}" }

  # Which runs get which role (GitHub, OpenID Connect reference). A pull request from a fork gets no token; a job with an
  # `environment` has one that names the environment in place of these.
  subjects = {
    plan   = "repo:${var.repository}:pull_request"
    deploy = "repo:${var.repository}:ref:refs/tags/v*"
  }

  # Settings of everything, and no image, record, job or log line.
  read = [
    "apigateway:GET", "cloudwatch:Describe*", "cloudwatch:Get*", "cloudwatch:List*", "dynamodb:Describe*",
    "dynamodb:ListTagsOfResource", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
    "ec2:DescribeVpcs", "events:Describe*", "events:List*", "iam:Get*", "iam:List*", "lambda:Get*",
    "lambda:List*", "logs:Describe*", "logs:ListTagsForResource", "s3:GetAccelerateConfiguration", "s3:GetBucket*",
    "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket",
    "sns:Get*", "sns:List*", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags",
    # What examples/production has around the module.
    "acm:DescribeCertificate", "acm:ListTagsForCertificate", "cognito-idp:Describe*", "cognito-idp:GetUserPoolMfaConfig",
    "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags", "route53:GetChange",
    "route53:GetHostedZone", "route53:ListResourceRecordSets", "wafv2:Get*", "wafv2:ListTagsForResource",
  ]
}

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://${local.github}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "pipeline" {
  for_each = local.subjects
  name     = "${var.name}-pipeline-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
      Condition = {
        StringEquals = { "${local.github}:aud" = "sts.amazonaws.com" }
        StringLike   = { "${local.github}:sub" = each.value }
      }
    }]
  })
}

resource "aws_iam_role_policy" "read" {
  for_each = local.subjects
  name     = "read"
  role     = aws_iam_role.pipeline[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "ReadSettings", Effect = "Allow", Action = local.read, Resource = "*" },
      { Sid = "ReadState", Effect = "Allow", Action = "s3:GetObject", Resource = "${local.state}/${var.name}/*" },
    ]
  })
}

resource "aws_iam_role_policy" "deploy" {
  name = "deploy"
  role = aws_iam_role.pipeline["deploy"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteState"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.state}/${var.name}/*"
      },
      # The bucket and the table, and not what is in them.
      {
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = ["s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucket*", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration"]
        Resource = "arn:${local.partition}:s3:::${var.name}-images-${local.account}-${local.region}"
      },
      {
        Sid      = "Table"
        Effect   = "Allow"
        Action   = ["dynamodb:CreateTable", "dynamodb:DeleteTable", "dynamodb:TagResource", "dynamodb:UntagResource", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive"]
        Resource = "${local.here.dynamodb}:table/${var.name}-*"
      },
      # Who makes a table with a key of one's own lets DynamoDB use it.
      {
        Sid       = "KeyOfTable"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "${local.here.kms}:key/*"
        Condition = { StringEquals = { "kms:ViaService" = "dynamodb.${local.region}.${data.aws_partition.current.dns_suffix}" } }
      },
      {
        Sid      = "Queues"
        Effect   = "Allow"
        Action   = ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue"]
        Resource = "${local.here.sqs}:${var.name}-*"
      },
      # Everything but to call them.
      {
        Sid      = "Functions"
        Effect   = "Allow"
        Action   = ["lambda:AddPermission", "lambda:Create*", "lambda:Delete*", "lambda:PublishVersion", "lambda:Put*", "lambda:RemovePermission", "lambda:TagResource", "lambda:UntagResource", "lambda:Update*"]
        Resource = ["${local.here.lambda}:function:${var.name}-*", "${local.here.lambda}:event-source-mapping:*"]
      },
      # A mapping that is not there yet has no ARN.
      {
        Sid       = "FeedWorker"
        Effect    = "Allow"
        Action    = "lambda:CreateEventSourceMapping"
        Resource  = "*"
        Condition = { ArnLike = { "lambda:FunctionArn" = "${local.here.lambda}:function:${var.name}-*" } }
      },
      {
        Sid      = "Gateway"
        Effect   = "Allow"
        Action   = ["apigateway:DELETE", "apigateway:PATCH", "apigateway:POST", "apigateway:PUT"]
        Resource = [for path in ["restapis", "restapis/*", "account", "tags/*"] : "arn:${local.partition}:apigateway:${local.region}::/${path}"]
      },
      {
        Sid    = "Events"
        Effect = "Allow"
        Action = ["events:Create*", "events:Delete*", "events:Put*", "events:Remove*", "events:TagResource", "events:UntagResource", "events:Update*"]
        Resource = [
          for resource in ["event-bus/${var.name}", "rule/${var.name}*", "archive/${var.name}", "connection/${var.name}-*", "api-destination/${var.name}-*"] :
          "${local.here.events}:${resource}"
        ]
      },
      # The token of a webhook is kept as a secret, in the name of who makes the connection.
      {
        Sid      = "WebhookToken"
        Effect   = "Allow"
        Action   = ["secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret"]
        Resource = "${local.here.secretsmanager}:secret:events!connection/${var.name}-*"
      },
      {
        Sid       = "WebhookRole"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/apidestinations.events.amazonaws.com/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = "apidestinations.events.amazonaws.com" } }
      },
      # Some actions name a group with its streams.
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy", "logs:DisassociateKmsKey", "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource"]
        Resource = [for group in ["/aws/lambda/${var.name}-*", "/aws/apigateway/${var.name}", "/aws/apigateway/${var.name}:*", "API-Gateway-Execution-Logs_*"] : "${local.here.logs}:log-group:${group}"]
      },
      {
        Sid      = "SavedQueries"
        Effect   = "Allow"
        Action   = ["logs:PutQueryDefinition", "logs:DeleteQueryDefinition", "logs:CreateLogDelivery", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"]
        Resource = "*" # they take no other (Service Authorization Reference)
      },
      {
        Sid      = "AlarmOfAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:PutCompositeAlarm"
        Resource = "*" # it takes no other (PutCompositeAlarm, Amazon CloudWatch API Reference)
      },
      {
        Sid      = "EndSubscription"
        Effect   = "Allow"
        Action   = "sns:Unsubscribe"
        Resource = "*" # it takes no other (Service Authorization Reference)
      },
      {
        Sid      = "Alarms"
        Effect   = "Allow"
        Action   = ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource", "cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"]
        Resource = ["${local.here.cloudwatch}:alarm:${var.name}-*", "arn:${local.partition}:cloudwatch::${local.account}:dashboard/${var.name}-*"]
      },
      {
        Sid      = "AlarmTopic"
        Effect   = "Allow"
        Action   = ["sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource"]
        Resource = "${local.here.sns}:${var.name}-alarms"
      },
      # A role that the pipeline makes can do no more than its boundary, with any policy.
      {
        Sid       = "BoundedRoles"
        Effect    = "Allow"
        Action    = ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:AttachRolePolicy"]
        Resource  = local.roles
        Condition = { StringEquals = { "iam:PermissionsBoundary" = aws_iam_policy.boundary.arn } }
      },
      {
        Sid      = "Roles"
        Effect   = "Allow"
        Action   = ["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy"]
        Resource = local.roles
      },
      {
        Sid       = "PassRoles"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = local.roles
        Condition = { StringEquals = { "iam:PassedToService" = ["apigateway.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"] } }
      },
    ]
  })
}

locals {
  # Those of the deployment, and not those of the pipeline itself.
  roles = [for role in ["api", "worker", "sweeper", "webhook", "api-gateway-logging"] : "arn:${local.partition}:iam::${local.account}:role/${var.name}-${role}-${local.region}"]
}

# What a function of the deployment may do at the most: permissions_boundary of the module.
resource "aws_iam_policy" "boundary" {
  name = "${var.name}-boundary"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Own"
        Effect = "Allow"
        Action = ["dynamodb:*Item", "dynamodb:Query", "events:InvokeApiDestination", "events:PutEvents", "s3:*Object", "s3:ListBucket", "sqs:*Message", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
        Resource = concat(
          [for resource in ["s3:::${var.name}-images-*", "s3:::${var.name}-images-*/*"] : "arn:${local.partition}:${resource}"],
          ["${local.here.dynamodb}:table/${var.name}-*", "${local.here.sqs}:${var.name}-*", "${local.here.events}:event-bus/${var.name}", "${local.here.events}:api-destination/${var.name}-*"],
        )
      },
      {
        Sid      = "Services"
        Effect   = "Allow"
        Action   = ["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses", "rekognition:Detect*", "xray:Put*", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:PutLogEvents", "kms:Decrypt", "kms:GenerateDataKey"]
        Resource = "*"
      },
    ]
  })
}

output "role_arns" {
  description = "The roles, for the variables PLAN_ROLE and DEPLOY_ROLE of the repository."
  value       = { for use, role in aws_iam_role.pipeline : use => role.arn }
}

output "permissions_boundary" {
  description = "What the deployment says as permissions_boundary."
  value       = aws_iam_policy.boundary.arn
}
