locals {
  originals  = "originals/"
  thumbnails = "thumbnails/"
  previews   = "previews/"
  # Results that are too large for an item of the table.
  analyses = "analyses/"
  # Where presigned uploads land until the worker has checked them, and moved them to the originals.
  uploads = "uploads/"
  # An upload whose job waits is the only copy of its image: it stays for as long as the queue keeps jobs, and a day.
  uploads_days = local.give_up_days + 1

  # Bucket names are shared by all accounts and regions, so both are part of it.
  bucket = "${var.name}-images-${local.account}-${local.region}"

  # Every object that an image may have: objectKeys in shared/image.ts.
  image_objects = [
    for prefix in [local.uploads, local.originals, local.thumbnails, local.previews, local.analyses] :
    "${aws_s3_bucket.images.arn}/${prefix}*"
  ]

  # For who has to know whether an object is there. Without it S3 answers 403 for a missing key instead of 404
  # (GetObject and HeadObject, Permissions), and ORIGINAL_MISSING could not be distinguished from a wrong set-up. Neither names
  # a prefix, hence IfExists.
  tell_missing_from_forbidden = {
    for function, prefixes in {
      worker  = [local.uploads, local.originals, local.analyses]
      sweeper = [local.uploads, local.originals]
      } : function => {
      Sid       = "TellMissingFromForbidden"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = aws_s3_bucket.images.arn
      Condition = { StringLikeIfExists = { "s3:prefix" = [for prefix in prefixes : "${prefix}*"] } }
    }
  }

  # What a list shows: LISTED_ATTRIBUTES in shared/table.ts.
  listed_attributes = [
    "status", "createdAt", "updatedAt", "completedAt", "attempts", "original", "thumbnail",
    "labels", "faceCount", "labelModelVersion", "failure", "expiresAt",
  ]
}

# Under which name images are kept here. Another name, account or region would be another bucket and table, and Terraform
# would remove the ones that are there; so it is remembered, and the two refuse to become others.
resource "terraform_data" "kept" {
  count = var.keep_data ? 1 : 0
  input = local.bucket

  lifecycle {
    ignore_changes = [input]
  }
}

# Originals, thumbnails, previews and large results

#trivy:ignore:AWS-0089 access logs need a second bucket and name every object's reader
#trivy:ignore:AWS-0090 keys are written once, so versions would only keep what DELETE has promised to remove
#trivy:ignore:AWS-0132 SSE-S3 encrypts; a key of one's own costs a request per object and a kms right in every role
resource "aws_s3_bucket" "images" {
  #checkov:skip=CKV_AWS_18: access logs need a second bucket and name every object's reader; CloudTrail data events do it per account where wanted
  #checkov:skip=CKV_AWS_21: keys are written once, so versions would only keep what DELETE has promised to remove
  #checkov:skip=CKV_AWS_144: what is lost with a region can be uploaded again; a copy elsewhere is the operator's decision
  #checkov:skip=CKV_AWS_145: SSE-S3 encrypts; a key of one's own costs a request per object and a kms right in every role

  bucket        = local.bucket
  force_destroy = !var.keep_data
  tags          = var.tags

  lifecycle {
    precondition {
      condition     = alltrue([for kept in terraform_data.kept[*].output : kept == local.bucket])
      error_message = "The images of this deployment are in ${join("", terraform_data.kept[*].output)}, and another name, account or region would create an empty ${local.bucket} and delete them. To move, deploy a second one under the new name with a state of its own, copy the images, switch the callers over, then destroy this one with keep_data = false. To lose the images, apply keep_data = false first."
    }
  }
}

# What has been deleted can be brought back for a while, where that is wanted. Without this resource S3 keeps no versions,
# or no further ones.
resource "aws_s3_bucket_versioning" "images" {
  count  = var.undelete_days == 0 ? 0 : 1
  bucket = aws_s3_bucket.images.id

  versioning_configuration {
    status = "Enabled"
  }
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
    bucket_key_enabled = var.kms_key_arn == null ? null : true
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_policy" "images" {
  count  = var.compat.plain_http ? 0 : 1
  bucket = aws_s3_bucket.images.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # No caller may use plain HTTP, with any rights.
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

  # What was sent to an image that had gone further, or was none any more.
  rule {
    id     = "abandoned-uploads"
    status = "Enabled"
    filter {
      prefix = local.uploads
    }
    expiration {
      days = var.retention_days == 0 ? local.uploads_days : min(var.retention_days, local.uploads_days)
    }
    # An upload that has been worked on is an original now: where S3 keeps versions, it would be kept and paid for twice, and
    # with the position that strip_gps takes away. A day is S3's least.
    noncurrent_version_expiration {
      noncurrent_days = 1
    }
  }

  # Also where no versions are kept any more: those from the time of undelete_days stay otherwise, with what DELETE and
  # retention_days have promised to remove.
  rule {
    id     = "deleted"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = max(1, var.undelete_days)
    }
    # The mark of a deletion, when nothing is below it any more.
    expiration {
      expired_object_delete_marker = true
    }
  }

  # Together with the record, whose time to live is as many days (RETENTION_DAYS of the API). That is there first, so
  # no record ever lacks its objects: S3 counts from an object's own making, and on to the next midnight.
  dynamic "rule" {
    for_each = var.retention_days == 0 ? {} : {
      originals  = local.originals
      thumbnails = local.thumbnails
      previews   = local.previews
      analyses   = local.analyses
    }
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

# The page that the API serves posts large files here, and pages of other origins where they are named. A form as
# multipart/form-data has no header that a browser would ask for (Fetch standard, CORS-safelisted request-header), and
# pictures are shown by <img>, which needs no CORS.
resource "aws_s3_bucket_cors_configuration" "images" {
  bucket = aws_s3_bucket.images.id

  cors_rule {
    allowed_methods = ["POST"]
    allowed_origins = distinct(concat([local.api_origin], var.cors_origins))
    max_age_seconds = 3600
  }
}

# What was posted with a form of POST /uploads is a job. Only forms store anything below this prefix, so every kind of
# creation is asked for: to AWS a form is a Post, and to some emulators a Put. S3 asks the queue at once whether it may
# send (queue.tf), and the queue is never there without its policy.
resource "aws_s3_bucket_notification" "images" {
  bucket = aws_s3_bucket.images.id

  queue {
    id            = "uploads"
    queue_arn     = aws_sqs_queue.jobs.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = local.uploads
  }
}

# Records: keys and indexes as shared/table.ts has them

#trivy:ignore:AWS-0025 encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
resource "aws_dynamodb_table" "images" {
  #checkov:skip=CKV_AWS_119: encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
  #checkov:skip=CKV2_AWS_16: on demand needs no scaling

  name                        = "${var.name}-images"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "imageId"
  deletion_protection_enabled = var.keep_data
  tags                        = var.tags

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
  attribute {
    name = "ownerLabel"
    type = "S"
  }
  attribute {
    name = "target"
    type = "S"
  }

  # An owner's images, newest first: a version 7 UUID sorts by its time of creation.
  global_secondary_index {
    name               = "byOwner"
    hash_key           = "owner"
    range_key          = "imageId"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
  }

  # The same of those that are under way, and of those that have failed. An image leaves it when it is completed.
  global_secondary_index {
    name               = "byStatus"
    hash_key           = "owner"
    range_key          = "statusKey"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
  }

  # What the sweeper looks through, by the time at which each is due. An image leaves it when its event is
  # acknowledged, and what a deletion leaves when its objects are gone. Keys only: what counts is the record.
  global_secondary_index {
    name            = "unfinished"
    hash_key        = "unfinished"
    range_key       = "sweepAt"
    projection_type = "KEYS_ONLY"
  }

  # Of the version before, which kept labels here: they are read and deleted still, and none is written.
  global_secondary_index {
    name               = "byLabel"
    hash_key           = "ownerLabel"
    range_key          = "target"
    projection_type    = "INCLUDE"
    non_key_attributes = ["confidence"]
  }

  # Of images with a retention period, and of what is remembered about requests, days and bytes.
  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null # false means AWS's own key, not none
    kms_key_arn = var.kms_key_arn
  }
}

# An owner's images with a label, by their ids: an item for each label of an image, with all that a list shows
# (shared/table.ts, which knows it by the name of the table of records).

#trivy:ignore:AWS-0025 encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
resource "aws_dynamodb_table" "labels" {
  #checkov:skip=CKV_AWS_119: encrypted with a key of AWS's; one's own costs a request per call and a kms right in every role
  #checkov:skip=CKV2_AWS_16: on demand needs no scaling

  name                        = "${aws_dynamodb_table.images.name}-labels"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "ownerLabel"
  range_key                   = "target"
  deletion_protection_enabled = var.keep_data
  tags                        = var.tags

  attribute {
    name = "ownerLabel"
    type = "S"
  }
  attribute {
    name = "target"
    type = "S"
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null # false means AWS's own key, not none
    kms_key_arn = var.kms_key_arn
  }
}
