# What the three functions have in common
locals {
  # What every function gets. Bundles carry source maps; errors in logs should name the source.
  function_environment = merge(
    { NODE_OPTIONS = "--enable-source-maps" },
    var.metrics ? { METRICS_NAMESPACE = var.name } : {},
    var.log_level == "INFO" ? {} : { POWERTOOLS_LOG_LEVEL = var.log_level },
    var.emulator_endpoint == null ? {} : { AWS_ENDPOINT_URL = var.emulator_endpoint },
    var.emulator_rekognition == null ? {} : { AWS_ENDPOINT_URL_REKOGNITION = var.emulator_rekognition },
    # Last: it may have NODE_OPTIONS of its own.
    var.telemetry_layer == null ? {} : var.telemetry_layer.environment,
  )

  packages = {
    for function in ["api", "worker", "sweeper"] : function => merge(
      { path = "${var.dist_dir}/${function}.zip", s3_bucket = null, s3_key = null, s3_object_version = null, sha256 = null },
      try(var.zips[function], {}),
    )
  }

  # As Lambda names them. There is no function of Terraform from hexadecimal to base64: three digits are two of base64's,
  # and the last of 64 is one with two bits of nothing.
  base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  package_hashes = {
    for function, package in local.packages : function =>
    package.path != null ? (fileexists(package.path) ? filebase64sha256(package.path) : null) : join("", concat(
      [
        for bits in [for digit in range(0, 63, 3) : parseint(substr(package.sha256, digit, 3), 16)] :
        "${substr(local.base64, floor(bits / 64), 1)}${substr(local.base64, bits % 64, 1)}"
      ],
      [substr(local.base64, parseint(substr(package.sha256, 63, 1), 16) * 4, 1), "="],
    ))
  }
  package_faults = {
    for function, package in local.packages : function =>
    package.path == null ? "" :
    !fileexists(package.path) ? "${package.path} is missing; make it with: npm run build" :
    package.sha256 == null || package.sha256 == filesha256(package.path) ? "" :
    "${package.path} has the SHA-256 ${filesha256(package.path)}, and zips demands ${package.sha256}: take the package that was meant, or its own sum."
  }

  # In each function's description, so that a change of one publishes all three: the version before is then the release
  # before, of each.
  release = substr(sha256(jsonencode([
    local.package_hashes, local.api_environment, local.worker_environment, local.sweeper_environment,
    var.runtime, var.architecture, var.worker_memory_mb, var.worker_timeout_seconds, var.vpc_config, var.tracing,
    var.telemetry_layer,
  ])), 0, 12)

  # Gateway, queue and schedule call the functions by this alias, which is on one published version and goes back to the one
  # before at once. A version is published with each change of code or settings.
  alias             = "live"
  alias_description = "The version that is called."

  assumed_by_lambda = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })

  by_services = {
    StringEquals = { "kms:ViaService" = [for service in ["s3", "sqs", "dynamodb"] : "${service}.${local.region}.${data.aws_partition.current.dns_suffix}"] }
  }

  # In every function's policy, as far as it is asked for.
  common_statements = concat(
    # X-Ray has no resources that could be named (Service Authorization Reference).
    var.tracing != "active" ? [] : [{
      Sid      = "WriteTraces"
      Effect   = "Allow"
      Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
      Resource = "*"
    }],
    # S3, SQS and DynamoDB use the key in the name of who calls them, and for nothing else.
    var.kms_key_arn == null ? [] : [{
      Sid       = "UseKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = var.kms_key_arn
      Condition = local.by_services
    }],
    # Objects, and messages that wait, stay under the key that they were written with.
    length(var.kms_key_arns_before) == 0 ? [] : [{
      Sid       = "ReadUnderKeysOfBefore"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = var.kms_key_arns_before
      Condition = local.by_services
    }],
    # Lambda itself makes the functions' network interfaces with their role (AWS Lambda developer guide, VPC): it names
    # none before they are there.
    var.vpc_config == null ? [] : [{
      Sid    = "JoinVpc"
      Effect = "Allow"
      Action = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
      ]
      Resource = "*"
    }],
  )
}
