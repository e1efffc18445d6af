locals {
  originals  = "originals/"
  thumbnails = "thumbnails/"
  # Results that are too large for an item of the table.
  analyses = "analyses/"
  # Where presigned uploads land until the worker has checked them.
  uploads = "uploads/"

  # Bucket names are shared by all accounts and regions, so both are part of it.
  bucket = "${var.name}-images-${local.account}-${local.region}"

  # Every object that an image may have: objectKeys in shared/image.ts.
  image_objects = [
    for prefix in [local.originals, local.thumbnails, local.analyses] : "${aws_s3_bucket.images.arn}/${prefix}*"
  ]

  # For who has to know whether an original is there. Without it S3 answers 403 for a missing key instead of 404
  # (GetObject and HeadObject, Permissions), and ORIGINAL_MISSING could not be told from a wrong set-up. Neither names
  # a prefix, hence IfExists.
  tell_missing_from_forbidden = {
    Sid       = "TellMissingFromForbidden"
    Effect    = "Allow"
    Action    = "s3:ListBucket"
    Resource  = aws_s3_bucket.images.arn
    Condition = { StringLikeIfExists = { "s3:prefix" = "${local.originals}*" } }
  }

  # What a list shows: LISTED_ATTRIBUTES in api/records.ts.
  listed_attributes = [
    "status", "createdAt", "updatedAt", "completedAt", "attempts", "original", "thumbnail",
    "labels", "faceCount", "labelModelVersion", "failure",
  ]
}

# Originals, thumbnails and large results

#trivy:ignore:AWS-0089 access logs need a second bucket and name every object's reader
#trivy:ignore:AWS-0090 keys are written once, so versions would only keep what DELETE has promised to remove
#trivy:ignore:AWS-0132 SSE-S3 encrypts; a key of one's own costs a request per object and a kms right in every role
resource "aws_s3_bucket" "images" {
  #checkov:skip=CKV_AWS_18: access logs need a second bucket and name every object's reader; CloudTrail data events do it per account where wanted
  #checkov:skip=CKV_AWS_21: keys are written once, so versions would only keep what DELETE has promised to remove
  #checkov:skip=CKV_AWS_144: what is lost with a region can be uploaded again; a copy elsewhere is the operator's decision
  #checkov:skip=CKV_AWS_145: SSE-S3 encrypts; a key of one's own costs a request per object and a kms right in every role
  #checkov:skip=CKV2_AWS_62: jobs are sent by the API, not by the bucket

  bucket        = local.bucket
  force_destroy = !var.keep_data
}

resource "aws_s3_bucket_public_access_block" "images" {
  bucket                  = aws_s3_bucket.images.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# No object can carry rights of its own: the policies are all there is.
resource "aws_s3_bucket_ownership_controls" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "images" {
  bucket = aws_s3_bucket.images.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "images" {
  count  = var.compat.plain_http ? 0 : 1
  bucket = aws_s3_bucket.images.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # Nobody, however entitled, over plain HTTP.
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.images.arn, "${aws_s3_bucket.images.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  # Both change the bucket's access, and S3 refuses two such changes at once.
  depends_on = [aws_s3_bucket_public_access_block.images]
}

resource "aws_s3_bucket_lifecycle_configuration" "images" {
  bucket = aws_s3_bucket.images.id

  # Parts of an upload that was never completed are paid for and shown nowhere.
  rule {
    id     = "aborted-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  # A day is 96 times as long as a presigned form is good for.
  rule {
    id     = "abandoned-uploads"
    status = "Enabled"
    filter {
      prefix = local.uploads
    }
    expiration {
      days = 1
    }
  }

  # Not the analyses: these belong to the records, which stay, and without them a record could not be shown.
  dynamic "rule" {
    for_each = var.retention_days == 0 ? {} : { originals = local.originals, thumbnails = local.thumbnails }
    content {
      id     = "retention-of-${rule.key}"
      status = "Enabled"
      filter {
        prefix = rule.value
      }
      expiration {
        days = var.retention_days
      }
    }
  }
}

resource "aws_s3_bucket_cors_configuration" "images" {
  count  = length(var.cors_origins) > 0 ? 1 : 0
  bucket = aws_s3_bucket.images.id

  # Presigned forms are posted; thumbnails and originals are shown by <img>, which needs no CORS.
  cors_rule {
    allowed_methods = ["POST"]
    allowed_origins = var.cors_origins
    allowed_headers = ["content-type"]
    max_age_seconds = 3600
  }
}

# Records: keys and indexes as local/resources.ts makes them on one machine

#trivy:ignore:AWS-0025 encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
resource "aws_dynamodb_table" "images" {
  #checkov:skip=CKV_AWS_119: encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
  #checkov:skip=CKV2_AWS_16: on demand needs no scaling

  name                        = "${var.name}-images"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "imageId"
  deletion_protection_enabled = var.keep_data

  attribute {
    name = "imageId"
    type = "S"
  }
  attribute {
    name = "owner"
    type = "S"
  }
  attribute {
    name = "statusKey"
    type = "S"
  }
  attribute {
    name = "unfinished"
    type = "S"
  }
  attribute {
    name = "sweepAt"
    type = "N"
  }

  # An owner's images, newest first: a version 7 UUID sorts by its time of creation.
  global_secondary_index {
    name               = "byOwner"
    hash_key           = "owner"
    range_key          = "imageId"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
  }

  # The same of one status.
  global_secondary_index {
    name               = "byStatus"
    hash_key           = "owner"
    range_key          = "statusKey"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
  }

  # What the sweeper looks through, by the time at which each is due. An image leaves it when its event is
  # acknowledged, and what a deletion leaves when its objects are surely gone. Keys only: what counts is the record.
  global_secondary_index {
    name            = "unfinished"
    hash_key        = "unfinished"
    range_key       = "sweepAt"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled = false # which means AWS's own key, not none
  }
}
