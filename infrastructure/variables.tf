# Written by `npm run inputs` from modules/image-analyzer; change it there.

# What it is called and where it comes from

variable "name" {
  description = "Prefix of every resource's name. Two deployments in one account and region need two names."
  type        = string
  default     = "image-analyzer"
  nullable    = false
}

variable "tags" {
  description = "Tags of every resource that can have some, in addition to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false
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
}

variable "runtime" {
  description = "Lambda runtime of all functions: nodejs22.x, or nodejs24.x with the AWS provider from 6.19 on."
  type        = string
  default     = "nodejs22.x"
  nullable    = false
}

variable "architecture" {
  description = "Processor of all functions; the worker's package must hold sharp for it. arm64 costs a fifth less."
  type        = string
  default     = "arm64"
  nullable    = false
}

variable "versions" {
  description = "Published versions that are called instead of the newest, by function (api, worker, sweeper): to try the newest with a part of the requests first, or to stay on one that is known to be good. Empty: the newest of all."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "permissions_boundary" {
  description = "ARN of an IAM policy that becomes the permissions boundary of every role, where an account demands one."
  type        = string
  default     = null
}

variable "vpc_config" {
  description = "Subnets and security groups for the functions, which must reach S3, DynamoDB, SQS, EventBridge and Rekognition from there, by VPC endpoints or NAT; and the issuer of tokens with auth = jwt, which takes NAT. Null: no VPC."
  type        = object({ subnet_ids = list(string), security_group_ids = list(string) })
  default     = null
}

variable "tracing" {
  description = "active: X-Ray traces; the first 100,000 a month are free, a further million costs $5. off: no traces, and no permission to write them."
  type        = string
  default     = "active"
  nullable    = false
}

variable "telemetry_layer" {
  description = "Layer that registers an OpenTelemetry SDK in all functions, and the variables that it reads; AWS's distribution is begun by AWS_LAMBDA_EXEC_WRAPPER. Null: none, and the functions' spans are nothing."
  type        = object({ arn = string, environment = optional(map(string), {}) })
  default     = null
}

# Who may call the API

variable "auth" {
  description = "Who may call: iam (requests signed with SigV4), jwt (bearer tokens of an OIDC issuer) or none (everybody: an open door to a paid service)."
  type        = string
  default     = "iam"
  nullable    = false
}

variable "jwt_issuer" {
  description = "With auth = jwt: the issuer of the tokens, as its OIDC discovery document names it."
  type        = string
  default     = null
}

variable "jwt_audience" {
  description = "With auth = jwt: the audience that a token must name."
  type        = string
  default     = null
}

variable "cors_origins" {
  description = "Origins of web pages that may use the API from a browser and post presigned forms to the bucket, in addition to the API's own page, as https://host[:port]. That page is at another origin behind a domain of yours: name the domain here, or it cannot post large files. Empty: none."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "api_requests_per_second" {
  description = "Requests a second that the gateway lets through on average; the rest gets 429."
  type        = number
  default     = 50
  nullable    = false
}

variable "api_burst" {
  description = "Requests that may arrive at once above the average."
  type        = number
  default     = 100
  nullable    = false
}

variable "account_concurrency" {
  description = "Concurrent executions that Lambda gives the account in this region, less what its other functions need (`aws lambda get-account-settings`; Service Quotas). A new account may have as few as 10."
  type        = number
  default     = 1000
  nullable    = false
}

variable "max_wait_seconds" {
  description = "The longest that a request with `?wait` waits for its image, in seconds; it takes one of the account's concurrent executions all the while. Null: as long as half of what the workers leave is enough for (api.tf). 0: no request waits."
  type        = number
  default     = null
}

variable "api_reserved_concurrency" {
  description = "Reserved concurrency of the API: executions that are kept for it, and the most that it gets, so that the workers have all others however many requests come. Null: the API takes what is there. Lambda keeps 100 of an account unreserved, so an account with fewer cannot reserve any."
  type        = number
  default     = null
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
}

# What callers may ask for

variable "max_image_bytes" {
  description = "The largest image that POST /images takes, in bytes; a larger one is sent to a form of POST /uploads."
  type        = number
  default     = 4500000
  nullable    = false
}

variable "max_upload_bytes" {
  description = "The largest image that POST /uploads gives a form for, in bytes."
  type        = number
  default     = 50000000
  nullable    = false
}

variable "daily_image_quota" {
  description = "Images that an owner may submit in a day of UTC; then 429 until midnight. 0: as many as they like."
  type        = number
  default     = 0
  nullable    = false
}

variable "analyses" {
  description = "What a request may ask for: labels, faces, moderation and text by Rekognition, and faces-when-person, which asks for faces only where the labels show a person; metadata and gps of the file itself, which cost nothing, and gps brings metadata with it. The rest is never computed, billed or stored, and IAM forbids it. A request that names none gets labels, faces and metadata, as far as they are listed here; where neither labels nor faces is listed, all that is but gps."
  type        = list(string)
  default     = ["labels", "faces", "moderation", "text", "faces-when-person", "metadata", "gps"]
  nullable    = false
}

variable "faces" {
  description = "always: a request that names no analyses gets faces. when-person: only where its labels show a person; otherwise the record says facesSkipped, and a million images of which 40 % show people cost about $430 less. A person with less confidence than min_confidence does not count."
  type        = string
  default     = "always"
  nullable    = false
}

variable "min_confidence" {
  description = "The minimum confidence of a label and of a moderation label, in per cent. 55 is Rekognition's own default for labels."
  type        = number
  default     = 55
  nullable    = false
}

variable "max_labels" {
  description = "The maximum number of labels of an image, those with the highest confidence. Each costs a write to the table of labels, which takes 100 of an image."
  type        = number
  default     = 100
  nullable    = false
}

# How fast, how long, how often. What follows from these is computed in queue.tf and worker.tf.

variable "rekognition_tps" {
  description = "Calls a second that this deployment may make of each of Rekognition's operations (one for each of var.analyses): the lowest of the quotas that Service Quotas shows for them, less what others in the account need. Null: the region's default quota."
  type        = number
  default     = null
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
}

variable "worker_memory_mb" {
  description = "Memory of the worker, which also decides its share of processor."
  type        = number
  default     = 1769
  nullable    = false
}

variable "batch_window_seconds" {
  description = "Seconds that a batch waits for more jobs. Each one is a second more until a lone image is done, and a few invocations fewer."
  type        = number
  default     = 0
  nullable    = false
}

variable "max_attempts" {
  description = "Attempts after which an image that met only transient errors ends as EXHAUSTED. Ten take up to an hour; each further one takes up to ten minutes and the worker's timeout."
  type        = number
  default     = 10
  nullable    = false
}

variable "sweep_minutes" {
  description = "Minutes between two sweeps for images that were left behind. The record of an image says when it is due; this is only how much later it may be found."
  type        = number
  default     = 5
  nullable    = false
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
}

variable "kms_key_arn" {
  description = "KMS key of your own for bucket, table, queues, logs and the topic of alarms; README.md has what its policy must allow. Null: keys of AWS, which cost nothing."
  type        = string
  default     = null
}

variable "kms_key_arns_before" {
  description = "Keys that kms_key_arn was before: S3 leaves an object under the key that it was written with, so without its key here no image from its time can be read. Empty: none."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "retention_days" {
  description = "Days after which an image is deleted, with its record, thumbnail, preview and results. 0 keeps them."
  type        = number
  default     = 0
  nullable    = false
}

variable "log_retention_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 30
  nullable    = false
}

variable "archive_days" {
  description = "Days for which events are archived, to be replayed to subscribers that missed them."
  type        = number
  default     = 30
  nullable    = false
}

# Who hears of it

variable "subscriber_labels" {
  description = "Subscribers get only events of images with one of these labels. Empty: every event, failures too."
  type        = list(string)
  default     = []
  nullable    = false
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
}

variable "subscriber_receives" {
  description = "Deliveries after which an event goes from the subscribing queue to its dead-letter queue."
  type        = number
  default     = 5
  nullable    = false
}

variable "subscriber_webhook" {
  description = "HTTPS endpoint that events are posted to, and the token it gets as `Authorization: Bearer …`. The token is also in Terraform's state."
  type        = object({ url = string, token = string })
  default     = null
  sensitive   = true
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
}

variable "max_wait_minutes" {
  description = "Minutes of waiting with which an image sets off an alarm when a worker takes it up."
  type        = number
  default     = 30
  nullable    = false
}

variable "alarm_email" {
  description = "Address that alarms write to; AWS asks it first. Null: alarms go to alarm_actions only."
  type        = string
  default     = null
}

variable "alarm_actions" {
  description = "ARNs that alarms notify, of SNS topics for example. Empty, and without alarm_email: alarms show in the console only."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "monthly_budget_usd" {
  description = "US dollars a month (UTC) that Rekognition may cost, at $1 for 1,000 calls; budget_action says what happens when they are spent. Null: no such limit."
  type        = number
  default     = null
}

variable "budget_action" {
  description = "What happens when monthly_budget_usd is spent. park: no more calls; images wait for the next month or a higher budget, and end as EXHAUSTED after 14 days. refuse: the same, and the API answers new images with 429 BUDGET_EXHAUSTED. alarm: calls go on. An alarm rings in each case, where there are metrics."
  type        = string
  default     = "park"
  nullable    = false
}

variable "daily_cost_usd" {
  description = "US dollars a day that Rekognition may cost before an alarm goes off, at $1 for 1,000 calls, the price of the first million a month in us-east-1. It is only an alarm: nothing is refused. Null: no alarm."
  type        = number
  default     = null
}

variable "unwell_actions" {
  description = "ARNs that one composite alarm notifies, when the first alarm goes off and when the last is over: instead of alarm_actions, or together with them."
  type        = list(string)
  default     = []
  nullable    = false
}

# Emulators

variable "emulator_endpoint" {
  description = "Where an emulator of AWS is: http://host:port by which both the functions and their callers reach it, because presigned URLs name it. Null: AWS."
  type        = string
  default     = null
}

variable "emulator_rekognition" {
  description = "Where the functions reach a Rekognition, since emulators have none: the stand-in of this repository. Null: where the rest of AWS is."
  type        = string
  default     = null
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
