# What it is called and where it comes from

variable "name" {
  description = "Prefix of every resource's name. Two deployments in one account and region need two names."
  type        = string
  default     = "image-analyzer"
  nullable    = false

  validation {
    # The bucket's name is the longest: 63 characters less "-images-", 12 of the account, "-" and 14 of the region.
    condition     = can(regex("^[a-z][a-z0-9-]{1,26}[a-z0-9]$", var.name))
    error_message = "The name must be 3 to 28 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
  validation {
    condition     = !can(regex("^(xn--|sthree-|amzn-s3-demo-|aws|default$)", var.name))
    error_message = "The name must not be default, nor begin with aws, xn--, sthree- or amzn-s3-demo-, which AWS keeps for itself (Amazon S3, bucket naming rules; Amazon EventBridge)."
  }
}

variable "tags" {
  description = "Tags of every resource that can have some, in addition to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.tags : try(!startswith(lower(key), "aws:") && length(key) >= 1 && length(key) <= 128 && length(value) <= 256, false)])
    error_message = "A tag's key must have 1 to 128 characters and not begin with aws:, its value at most 256 (AWS tagging)."
  }
  validation {
    condition     = alltrue([for text in flatten([keys(var.tags), values(var.tags)]) : can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*$", text))])
    error_message = "Keys and values of tags may hold letters, digits, spaces and _ . : / = + - @ (IAM and S3 refuse others)."
  }
  validation {
    condition     = length(var.tags) <= 40
    error_message = "At most 40 tags: AWS takes 50 on a resource, and the provider may have default tags."
  }
  validation {
    condition     = length(distinct([for key in keys(var.tags) : lower(key)])) == length(var.tags)
    error_message = "Keys of tags must differ in more than upper and lower case, which IAM takes for the same."
  }
}

variable "dist_dir" {
  description = "Folder with api.zip, worker.zip and sweeper.zip, which `npm run build` makes."
  type        = string
  default     = "../dist"
  nullable    = false
}

variable "zips" {
  description = "Packages that are not in dist_dir, by function (api, worker, sweeper): a path, or an object of S3 in the same region. sha256 is as `npm run build` prints it; an object needs one, and where it is given no other package is deployed."
  type = map(object({
    path              = optional(string)
    s3_bucket         = optional(string)
    s3_key            = optional(string)
    s3_object_version = optional(string)
    sha256            = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(keys(var.zips), ["api", "worker", "sweeper"])) == 0
    error_message = "The functions are api, worker and sweeper."
  }
  validation {
    condition = alltrue([
      for zip in var.zips : try(
        zip.path == null
        ? alltrue([for part in [zip.s3_bucket, zip.s3_key, zip.sha256] : length(part) > 0])
        : length(zip.path) > 0 && alltrue([for part in [zip.s3_bucket, zip.s3_key, zip.s3_object_version] : part == null]),
        false,
      )
    ])
    error_message = "A zip needs either path, or s3_bucket, s3_key and sha256."
  }
  validation {
    condition     = alltrue([for zip in var.zips : try(zip.sha256 == null, true) || can(regex("^[0-9a-f]{64}$", zip.sha256))])
    error_message = "sha256 must be 64 hexadecimal digits in lower case."
  }
}

variable "runtime" {
  description = "Lambda runtime of all functions: nodejs22.x, or nodejs24.x with the AWS provider from 6.19 on."
  type        = string
  default     = "nodejs22.x"
  nullable    = false

  validation {
    condition     = can(regex("^nodejs(2[2-9]|[3-9][0-9])\\.x$", var.runtime))
    error_message = "The runtime must be nodejs22.x or newer."
  }
}

variable "architecture" {
  description = "Processor of all functions; the worker's package must hold sharp for it. arm64 costs a fifth less."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture must be arm64 or x86_64."
  }
}

variable "versions" {
  description = "Published versions that are called instead of the newest, by function (api, worker, sweeper): to try the newest with a part of the requests first, or to stay on one that is known to be good. Empty: the newest of all."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for function, version in var.versions : contains(["api", "worker", "sweeper"], function) && can(regex("^[1-9][0-9]*$", version))])
    error_message = "versions must map api, worker or sweeper to the number of a published version."
  }
}

variable "permissions_boundary" {
  description = "ARN of an IAM policy that becomes the permissions boundary of every role, where an account demands one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of a policy, arn:aws:iam::<account>:policy/<name>."
  }
}

variable "vpc_config" {
  description = "Subnets and security groups for the functions, which must reach S3, DynamoDB, SQS, EventBridge and Rekognition from there, by VPC endpoints or NAT; and the issuer of tokens with auth = jwt, which takes NAT. Null: no VPC."
  type        = object({ subnet_ids = list(string), security_group_ids = list(string) })
  default     = null

  validation {
    condition = try(
      alltrue([for id in var.vpc_config.subnet_ids : startswith(id, "subnet-")]) && contains(range(1, 17), length(var.vpc_config.subnet_ids))
      && alltrue([for id in var.vpc_config.security_group_ids : startswith(id, "sg-")]) && contains(range(1, 6), length(var.vpc_config.security_group_ids)),
      var.vpc_config == null,
    )
    error_message = "vpc_config needs 1 to 16 subnets (subnet-…), and 1 to 5 security groups (sg-…) (AWS Lambda, VpcConfig)."
  }
}

variable "tracing" {
  description = "active: X-Ray traces; the first 100,000 a month are free, a further million costs $5. off: no traces, and no permission to write them."
  type        = string
  default     = "active"
  nullable    = false

  validation {
    condition     = contains(["active", "off"], var.tracing)
    error_message = "tracing must be active or off."
  }
}

variable "telemetry_layer" {
  description = "Layer that registers an OpenTelemetry SDK in all functions, and the variables that it reads; AWS's distribution is begun by AWS_LAMBDA_EXEC_WRAPPER. Null: none, and the functions' spans are nothing."
  type        = object({ arn = string, environment = optional(map(string), {}) })
  default     = null

  validation {
    condition     = try(can(regex("^arn:[^:]+:lambda:[^:]+:[0-9]{12}:layer:[^:]+:[0-9]+$", var.telemetry_layer.arn)), false) || var.telemetry_layer == null
    error_message = "telemetry_layer.arn must be a layer's ARN with its version."
  }
  validation {
    condition     = try(split(":", var.telemetry_layer.arn)[3] == local.region, true)
    error_message = "telemetry_layer must be of ${local.region}: Lambda takes no layer of another region."
  }
}

# Who may call the API

variable "auth" {
  description = "Who may call: iam (requests signed with SigV4), jwt (bearer tokens of an OIDC issuer) or none (everybody: an open door to a paid service)."
  type        = string
  default     = "iam"
  nullable    = false

  validation {
    condition     = contains(["iam", "jwt", "none"], var.auth)
    error_message = "auth must be iam, jwt or none."
  }
}

variable "jwt_issuer" {
  description = "With auth = jwt: the issuer of the tokens, as its OIDC discovery document names it."
  type        = string
  default     = null

  validation {
    condition     = (var.auth == "jwt") == (var.jwt_issuer != null)
    error_message = "jwt_issuer belongs to auth = jwt: set both or neither."
  }
  validation {
    condition     = var.jwt_issuer == null || can(regex("^https://[^/?#[:space:]]+[^?#[:space:]]*$", var.jwt_issuer))
    error_message = "jwt_issuer must be an https URL without query or fragment (OpenID Connect Discovery 1.0, section 3)."
  }
}

variable "jwt_audience" {
  description = "With auth = jwt: the audience that a token must name."
  type        = string
  default     = null

  validation {
    condition     = (var.auth == "jwt") == (var.jwt_audience != null)
    error_message = "jwt_audience belongs to auth = jwt: set both or neither."
  }
  validation {
    condition     = try(length(var.jwt_audience) > 0, true)
    error_message = "jwt_audience must not be empty."
  }
}

variable "cors_origins" {
  description = "Origins of web pages that may use the API from a browser and post presigned forms to the bucket, in addition to the API's own page, as https://host[:port]. That page is at another origin behind a domain of yours: name the domain here, or it cannot post large files. Empty: none."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https?://[a-z0-9.-]+(:[0-9]+)?$", origin))])
    error_message = "Each origin must be scheme, host and perhaps port, as browsers send it: no path, no slash at the end, no wildcard."
  }
  validation {
    condition     = !anytrue([for origin in var.cors_origins : can(regex("^(https:.*:443|http:.*:80)$", origin))])
    error_message = "Browsers send no port that is the scheme's own: leave out :443 of https and :80 of http, or the origin would never match."
  }
  validation {
    condition     = try(length(join(",", var.cors_origins)) <= 2000, true)
    error_message = "All origins together must have at most 2,000 characters: a function's environment holds 4 KB (AWS Lambda quotas)."
  }
}

variable "api_requests_per_second" {
  description = "Requests a second that the gateway lets through on average; the rest gets 429."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.api_requests_per_second >= 1 && var.api_requests_per_second <= 10000
    error_message = "Must be from 1 to 10,000, which is an account's quota (Amazon API Gateway quotas)."
  }
}

variable "api_burst" {
  description = "Requests that may arrive at once above the average."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.api_burst >= 1 && var.api_burst <= 5000 && floor(var.api_burst) == var.api_burst
    error_message = "Must be a whole number from 1 to 5,000, which is an account's quota (Amazon API Gateway quotas)."
  }
}

variable "account_concurrency" {
  description = "Concurrent executions that Lambda gives the account in this region, less what its other functions need (`aws lambda get-account-settings`; Service Quotas). A new account may have as few as 10."
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.account_concurrency >= 3 && floor(var.account_concurrency) == var.account_concurrency
    error_message = "Must be a whole number from 3: the two workers that an event source mapping takes at least, and one for the API."
  }
}

variable "max_wait_seconds" {
  description = "The longest that a request with `?wait` waits for its image, in seconds; it takes one of the account's concurrent executions all the while. Null: as long as half of what the workers leave is enough for (api.tf). 0: no request waits."
  type        = number
  default     = null

  validation {
    condition     = try(var.max_wait_seconds >= 0 && var.max_wait_seconds <= 20 && floor(var.max_wait_seconds) == var.max_wait_seconds, var.max_wait_seconds == null)
    error_message = "Must be a whole number from 0 to 20: the gateway ends a request after 29 seconds."
  }
}

variable "api_reserved_concurrency" {
  description = "Reserved concurrency of the API: executions that are kept for it, and the most that it gets, so that the workers have all others however many requests come. Null: the API takes what is there. Lambda keeps 100 of an account unreserved, so an account with fewer cannot reserve any."
  type        = number
  default     = null

  validation {
    condition     = try(var.api_reserved_concurrency >= 1 && floor(var.api_reserved_concurrency) == var.api_reserved_concurrency, var.api_reserved_concurrency == null)
    error_message = "Must be a whole number from 1."
  }
}

variable "manage_api_gateway_logging" {
  description = "Set the role with which API Gateway writes logs. It is one setting for the whole account and region: false where it is set already (`aws apigateway get-account` shows a cloudwatchRoleArn), and in all but one of several deployments."
  type        = bool
  default     = true
  nullable    = false
}

variable "api_gateway_logging_role" {
  description = "With manage_api_gateway_logging = false, where the same apply sets the account's role: the cloudwatch_role_arn of that aws_api_gateway_account. The stage is made after it; depends_on would have all of the module wait, and its plan know no names. Null: the role is set already."
  type        = string
  default     = null

  validation {
    condition     = var.api_gateway_logging_role == null || !var.manage_api_gateway_logging
    error_message = "api_gateway_logging_role is of another aws_api_gateway_account: set manage_api_gateway_logging = false."
  }
}

# What callers may ask for

variable "max_image_bytes" {
  description = "The largest image that POST /images takes, in bytes; a larger one is sent to a form of POST /uploads."
  type        = number
  default     = 4500000
  nullable    = false

  validation {
    condition     = var.max_image_bytes >= 1 && var.max_image_bytes <= 4500000 && floor(var.max_image_bytes) == var.max_image_bytes
    error_message = "Must be a whole number from 1 to 4,500,000: Lambda takes a request of 6 MB, with the image in base64 (shared/config.ts)."
  }
}

variable "max_upload_bytes" {
  description = "The largest image that POST /uploads gives a form for, in bytes."
  type        = number
  default     = 50000000
  nullable    = false

  validation {
    condition     = var.max_upload_bytes >= 1 && var.max_upload_bytes <= 5368709120 && floor(var.max_upload_bytes) == var.max_upload_bytes
    error_message = "Must be a whole number from 1 to 5,368,709,120, the most that S3 takes in one request."
  }
  validation {
    condition     = var.max_upload_bytes >= var.max_image_bytes
    error_message = "max_upload_bytes must not be less than max_image_bytes: what is too large for POST /images is sent to POST /uploads, which would refuse it too. Lower both."
  }
}

variable "daily_image_quota" {
  description = "Images that an owner may submit in a day of UTC; then 429 until midnight. 0: as many as they like."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.daily_image_quota >= 0 && floor(var.daily_image_quota) == var.daily_image_quota
    error_message = "Must be a whole number, or 0 for no quota."
  }
}

variable "analyses" {
  description = "What a request may ask for: labels, faces, moderation and text by Rekognition, and faces-when-person, which asks for faces only where the labels show a person; metadata and gps of the file itself, which cost nothing, and gps brings metadata with it. The rest is never computed, billed or stored, and IAM forbids it. A request that names none gets labels, faces and metadata, as far as they are listed here; where neither labels nor faces is listed, all that is but gps."
  type        = list(string)
  default     = ["labels", "faces", "moderation", "text", "faces-when-person", "metadata", "gps"]
  nullable    = false

  validation {
    condition     = length(var.analyses) > 0 && length(distinct(var.analyses)) == length(var.analyses) && length(setsubtract(var.analyses, ["labels", "faces", "moderation", "text", "faces-when-person", "metadata", "gps"])) == 0
    error_message = "Must list some of labels, faces, moderation, text, faces-when-person, metadata and gps, and each once."
  }

  validation {
    condition     = length(setsubtract(var.analyses, ["metadata", "gps"])) > 0
    error_message = "Must list at least one of labels, faces, moderation and text."
  }

  validation {
    condition     = contains(var.analyses, "labels") || !contains(var.analyses, "faces-when-person")
    error_message = "faces-when-person needs labels, which show whether there is a person: list both."
  }
}

variable "faces" {
  description = "always: a request that names no analyses gets faces. when-person: only where its labels show a person; otherwise the record says facesSkipped, and a million images of which 40 % show people cost about $430 less. A person with less confidence than min_confidence does not count."
  type        = string
  default     = "always"
  nullable    = false

  validation {
    condition     = contains(["always", "when-person"], var.faces)
    error_message = "Must be always or when-person."
  }
  validation {
    condition     = var.faces != "when-person" || contains(var.analyses, "faces-when-person")
    error_message = "when-person needs faces-when-person among the analyses: without it, faces would be asked for always."
  }
}

variable "min_confidence" {
  description = "The minimum confidence of a label and of a moderation label, in per cent. 55 is Rekognition's own default for labels."
  type        = number
  default     = 55
  nullable    = false

  validation {
    condition     = var.min_confidence >= 0 && var.min_confidence <= 100
    error_message = "Must be from 0 to 100."
  }
}

variable "max_labels" {
  description = "The maximum number of labels of an image, those with the highest confidence. Each costs a write to the table of labels, which takes 100 of an image."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.max_labels >= 1 && var.max_labels <= 1000 && floor(var.max_labels) == var.max_labels
    error_message = "Must be a whole number from 1 to 1,000, the most that Rekognition gives."
  }
}

# How fast, how long, how often. What follows from these is computed in queue.tf and worker.tf.

variable "rekognition_tps" {
  description = "Calls a second that this deployment may make of each of Rekognition's operations (one for each of var.analyses): the lowest of the quotas that Service Quotas shows for them, less what others in the account need. Null: the region's default quota."
  type        = number
  default     = null

  validation {
    # 2 workers (the least that an event source mapping takes) with a call in 20 seconds each: one image in a third of
    # the default time of a worker.
    condition     = try(var.rekognition_tps >= 0.1, var.rekognition_tps == null)
    error_message = "Must be at least 0.1: two workers with one call in twenty seconds each."
  }
}

variable "preview" {
  description = "Make a preview of each image, a JPEG of at most 1,600 pixels a side, for GET /images/{imageId}/preview and the page. What it costs is in README.md."
  type        = bool
  default     = true
  nullable    = false
}

variable "heic" {
  description = "Take HEIC, the photos of telephones. It needs a worker.zip made with: npm run build -- --heic. What a picture costs is in README.md."
  type        = bool
  default     = false
  nullable    = false
}

variable "strip_gps" {
  description = "Overwrite the coordinates of where a photo was taken before the original is stored; names of places stay. Then the analysis gps finds none, and the hash in a record is of what is stored."
  type        = bool
  default     = false
  nullable    = false
}

variable "pack_results" {
  description = "Deflate Rekognition's answers in the record, which then takes fewer write units. Set it once all functions are of a version that has it, and then roll back to none before it: older code does not know such records. What it saves is in README.md."
  type        = bool
  default     = false
  nullable    = false
}

variable "worker_timeout_seconds" {
  description = "Seconds that a worker has for a batch."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.worker_timeout_seconds >= 30 && var.worker_timeout_seconds <= 900 && floor(var.worker_timeout_seconds) == var.worker_timeout_seconds
    error_message = "Must be a whole number from 30 (a batch of slow images) to 900 (AWS Lambda quotas)."
  }
}

variable "worker_memory_mb" {
  description = "Memory of the worker, which also decides its share of processor."
  type        = number
  default     = 1769
  nullable    = false

  validation {
    # Decodes under way may take 500 MB (packages/image-guard/costs.ts), Node and libvips 100 MB, and originals the rest; of large
    # ones see batch_bytes in worker.tf.
    condition     = var.worker_memory_mb >= 1024 && var.worker_memory_mb <= 10240
    error_message = "Must be from 1,024 (what a batch of the worst images needs) to 10,240 (AWS Lambda quotas)."
  }
}

variable "batch_window_seconds" {
  description = "Seconds that a batch waits for more jobs. Each one is a second more until a lone image is done, and a few invocations fewer."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.batch_window_seconds >= 0 && var.batch_window_seconds <= 300 && floor(var.batch_window_seconds) == var.batch_window_seconds
    error_message = "Must be a whole number from 0 to 300 (AWS Lambda, event source mapping)."
  }
}

variable "max_attempts" {
  description = "Attempts after which an image that met only transient errors ends as EXHAUSTED. Ten take up to an hour; each further one takes up to ten minutes and the worker's timeout."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.max_attempts >= 1 && var.max_attempts <= 100 && floor(var.max_attempts) == var.max_attempts
    error_message = "Must be a whole number from 1 to 100."
  }
}

variable "sweep_minutes" {
  description = "Minutes between two sweeps for images that were left behind. The record of an image says when it is due; this is only how much later it may be found."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.sweep_minutes >= 1 && var.sweep_minutes <= 60 && floor(var.sweep_minutes) == var.sweep_minutes
    error_message = "Must be a whole number from 1, the shortest rate of EventBridge, to 60."
  }
}

# What is kept

variable "keep_data" {
  description = "Protect the images: destroy refuses to delete the table and a bucket that is not empty, and a plan refuses another name, account or region. Set it to false for a trial deployment, which one command then removes with everything in it."
  type        = bool
  default     = true
  nullable    = false
}

variable "undelete_days" {
  description = "Days for which S3 keeps deleted and replaced objects as versions that an operator can restore; what DELETE and retention_days remove is gone only after that many days. The versions cost their storage: $0.023 a GB and month (us-east-1). Records have point-in-time recovery for 35 days anyway. 0: none, and those that are there go within two days."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.undelete_days >= 0 && var.undelete_days <= 3650 && floor(var.undelete_days) == var.undelete_days
    error_message = "Must be a whole number of days up to 3,650, or 0 for no versions."
  }
}

variable "kms_key_arn" {
  description = "KMS key of your own for bucket, table, queues, logs and the topic of alarms; README.md has what its policy must allow. Null: keys of AWS, which cost nothing."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key, arn:aws:kms:<region>:<account>:key/<id>; an alias is not accepted."
  }
  validation {
    condition     = try(split(":", var.kms_key_arn)[3] == local.region, true)
    error_message = "kms_key_arn must be of ${local.region}: bucket, tables, queues and logs take no key of another region."
  }
}

variable "kms_key_arns_before" {
  description = "Keys that kms_key_arn was before: S3 leaves an object under the key that it was written with, so without its key here no image from its time can be read. Empty: none."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.kms_key_arns_before : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", arn))])
    error_message = "kms_key_arns_before must be ARNs of keys, arn:aws:kms:<region>:<account>:key/<id>; an alias is not accepted."
  }
}

variable "retention_days" {
  description = "Days after which an image is deleted, with its record, thumbnail, preview and results. 0 keeps them."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.retention_days >= 0 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "Must be a whole number of days, or 0 to keep everything."
  }
}

variable "log_retention_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of the retentions that CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "archive_days" {
  description = "Days for which events are archived, to be replayed to subscribers that missed them."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.archive_days >= 1 && floor(var.archive_days) == var.archive_days
    error_message = "Must be a whole number of at least 1 (0 would keep events for ever)."
  }
}

# Who hears of it

variable "subscriber_labels" {
  description = "Subscribers get only events of images with one of these labels. Empty: every event, failures too."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.subscriber_labels) == 0 || contains(var.analyses, "labels")
    error_message = "subscriber_labels needs labels among the analyses: without them no event would match."
  }
  validation {
    condition     = length(var.subscriber_labels) == 0 || var.subscriber_queue || local.has_webhook
    error_message = "subscriber_labels needs a subscriber: set subscriber_queue or subscriber_webhook."
  }
  validation {
    condition     = alltrue([for label in var.subscriber_labels : try(length(label) > 0, false)])
    error_message = "A label must not be empty: no event would match."
  }
}

variable "subscriber_queue" {
  description = "Make an SQS queue that receives the events."
  type        = bool
  default     = false
  nullable    = false
}

variable "subscriber_visibility" {
  description = "Seconds for which an event that was received from the subscribing queue is hidden from others. A Lambda function that takes events from it needs its own timeout at least, and AWS advises six times that."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.subscriber_visibility >= 1 && var.subscriber_visibility <= 43200 && floor(var.subscriber_visibility) == var.subscriber_visibility
    error_message = "Must be a whole number from 1 to 43,200: twelve hours (Amazon SQS quotas)."
  }
}

variable "subscriber_receives" {
  description = "Deliveries after which an event goes from the subscribing queue to its dead-letter queue."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.subscriber_receives >= 5 && var.subscriber_receives <= 1000 && floor(var.subscriber_receives) == var.subscriber_receives
    error_message = "Must be a whole number from 5, since deliveries that Lambda throttles count too (AWS Lambda developer guide, Amazon SQS), to 1,000."
  }
}

variable "subscriber_webhook" {
  description = "HTTPS endpoint that events are posted to, and the token it gets as `Authorization: Bearer …`. The token is also in Terraform's state."
  type        = object({ url = string, token = string })
  default     = null
  sensitive   = true

  validation {
    condition     = can([regex("^https://[A-Za-z0-9](%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@&=+$,A-Za-z0-9])*$", var.subscriber_webhook.url), regex("^[^:[:cntrl:]]{1,505}$", var.subscriber_webhook.token)]) || var.subscriber_webhook == null
    error_message = "The webhook needs an https URL of ASCII letters, digits and -()_.!~*';/?:@&=+$, (any other character percent-encoded, a space as %20), and a token of at most 505 characters, with no colon and no line break, as a file has at its end (Amazon EventBridge, CreateApiDestination and CreateConnection)."
  }
}

variable "metrics" {
  description = "Whether the functions count what they do, in CloudWatch metrics under the name of this deployment: up to 38 of them, for up to $11 a month. Without them there are no alarms by them: images-wait, nothing-completes, failure-ratio, events-refused, cost-today, budget-spent and api-latency."
  type        = bool
  default     = true
  nullable    = false
}

variable "log_level" {
  description = "The lowest level that the functions log: INFO, WARN or ERROR. Above INFO there is no story of an image, metrics lack what lines of INFO count, and there are no alarms by them, as with metrics = false."
  type        = string
  default     = "INFO"
  nullable    = false

  validation {
    condition     = contains(["INFO", "WARN", "ERROR"], var.log_level)
    error_message = "log_level is INFO, WARN or ERROR."
  }
}

variable "max_wait_minutes" {
  description = "Minutes of waiting with which an image sets off an alarm when a worker takes it up."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.max_wait_minutes >= 1 && var.max_wait_minutes <= 20160
    error_message = "Must be from 1 to 20,160 minutes: 14 days, for which SQS keeps a job."
  }
}

variable "alarm_email" {
  description = "Address that alarms write to; AWS asks it first. Null: alarms go to alarm_actions only."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@[:space:]]+@[^@[:space:]]+$", var.alarm_email))
    error_message = "Must be an address, like operators@example.com."
  }
}

variable "alarm_actions" {
  description = "ARNs that alarms notify, of SNS topics for example. Empty, and without alarm_email: alarms show in the console only."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:", arn))])
    error_message = "Each action must be an ARN."
  }
  validation {
    condition     = length(concat(var.alarm_actions, var.alarm_email[*])) <= 5
    error_message = "An alarm takes 5 actions, and alarm_email is one of them (Amazon CloudWatch, PutMetricAlarm)."
  }
}

variable "monthly_budget_usd" {
  description = "US dollars a month (UTC) that Rekognition may cost, at $1 for 1,000 calls; budget_action says what happens when they are spent. Null: no such limit."
  type        = number
  default     = null

  validation {
    condition     = try(var.monthly_budget_usd >= 0.001 && var.monthly_budget_usd <= 10000000, var.monthly_budget_usd == null)
    error_message = "Must be from 0.001, which is one call, to 10,000,000 dollars."
  }
}

variable "budget_action" {
  description = "What happens when monthly_budget_usd is spent. park: no more calls; images wait for the next month or a higher budget, and end as EXHAUSTED after 14 days. refuse: the same, and the API answers new images with 429 BUDGET_EXHAUSTED. alarm: calls go on. An alarm rings in each case, where there are metrics."
  type        = string
  default     = "park"
  nullable    = false

  validation {
    condition     = contains(["alarm", "park", "refuse"], var.budget_action)
    error_message = "Must be alarm, park or refuse."
  }
  validation {
    condition     = var.budget_action == "park" || var.monthly_budget_usd != null
    error_message = "budget_action says what happens when monthly_budget_usd is spent: set that too, or neither."
  }
  validation {
    condition     = var.monthly_budget_usd == null || var.budget_action != "alarm" || (var.metrics && var.log_level == "INFO")
    error_message = "budget_action = alarm needs metrics = true and log_level = INFO, of which its alarm is made: without them the budget would do nothing."
  }
}

variable "daily_cost_usd" {
  description = "US dollars a day that Rekognition may cost before an alarm goes off, at $1 for 1,000 calls, the price of the first million a month in us-east-1. It is only an alarm: nothing is refused. Null: no alarm."
  type        = number
  default     = null

  validation {
    condition     = try(var.daily_cost_usd > 0 && var.daily_cost_usd <= 10000000, var.daily_cost_usd == null)
    error_message = "Must be more than 0 and at most 10,000,000 dollars."
  }
  validation {
    condition     = var.daily_cost_usd == null || (var.metrics && var.log_level == "INFO")
    error_message = "daily_cost_usd is an alarm by a metric, which needs metrics = true and log_level = INFO: without them it would never ring."
  }
}

variable "unwell_actions" {
  description = "ARNs that one composite alarm notifies, when the first alarm goes off and when the last is over: instead of alarm_actions, or together with them."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for action in var.unwell_actions : can(regex("^arn:", action))])
    error_message = "Each action must be an ARN."
  }
  validation {
    condition     = length(var.unwell_actions) <= 5
    error_message = "An alarm takes 5 actions (Amazon CloudWatch, PutCompositeAlarm)."
  }
}

# Emulators

variable "emulator_endpoint" {
  description = "Where an emulator of AWS is: http://host:port by which both the functions and their callers reach it, because presigned URLs name it. Null: AWS."
  type        = string
  default     = null

  validation {
    condition     = var.emulator_endpoint == null || can(regex("^https?://[^/?#[:space:]]+$", var.emulator_endpoint))
    error_message = "emulator_endpoint must be scheme, host and perhaps port, with no slash at the end."
  }
}

variable "emulator_rekognition" {
  description = "Where the functions reach a Rekognition, since emulators have none: the stand-in of this repository. Null: where the rest of AWS is."
  type        = string
  default     = null

  validation {
    condition     = var.emulator_rekognition == null || can(regex("^https?://[^/?#[:space:]]+$", var.emulator_rekognition))
    error_message = "emulator_rekognition must be scheme, host and perhaps port, with no slash at the end."
  }
}

variable "compat" {
  description = "What an emulator of AWS needs otherwise; one file per emulator in emulators/. Nothing of it is for AWS."
  type = object({
    # Policies that refuse plain HTTP would shut all callers out of an emulator that has only plain HTTP.
    plain_http = optional(bool, false)
    # Emulators answer for all buckets on one host.
    s3_path_style = optional(bool, false)
    # What an emulator forgets or reports otherwise would show as a change in every plan.
    alarms               = optional(bool, true)
    binary_media_types   = optional(bool, true)
    default_tags         = optional(bool, true)
    redrive_allow_policy = optional(bool, true)
    # An emulator that knows no PutCompositeAlarm is asked again and again.
    composite_alarm = optional(bool, true)
    # An emulator that knows no PutQueryDefinition holds an apply up for minutes.
    saved_queries = optional(bool, true)
    # What an emulator does not take off one route again would end destroy half-way.
    route_settings = optional(bool, true)
    # An emulator without PutGatewayResponse takes it for a request to a bucket. What its gateway answers is then its own.
    gateway_responses = optional(bool, true)
    # A gateway that takes the alias for the function's name would call nothing. Without it there is no way back.
    alias = optional(bool, true)
  })
  default  = {}
  nullable = false
}
