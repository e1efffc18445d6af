variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "image-analyzer-subscribers"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "The name must be 3 to 40 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "region" {
  description = "AWS region of the event bus. Null: as the environment or the profile says."
  type        = string
  default     = null
}

variable "event_bus_name" {
  description = "Bus that images are announced on: the output event_bus_name of ../../infrastructure."
  type        = string
  default     = "image-analyzer"
}

variable "labels" {
  description = "The Lambda function gets the events of images with any of these labels."
  type        = list(string)
  default     = ["Dog"]

  validation {
    condition     = length(var.labels) > 0
    error_message = "At least one label is needed."
  }
}

variable "webhook_url" {
  description = "HTTPS endpoint that every event is posted to (webhook.ts, behind TLS)."
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9](%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@&=+$,A-Za-z0-9])*$", var.webhook_url))
    error_message = "EventBridge calls https endpoints only, of ASCII letters, digits and -()_.!~*';/?:@&=+$, (any other character percent-encoded, a space as %20; CreateApiDestination)."
  }
}

variable "webhook_key" {
  description = "What the webhook gets as x-api-key: WEBHOOK_KEY of webhook.ts. It is also in Terraform's state."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[^:[:cntrl:]]{32,512}$", var.webhook_key))
    error_message = "The key must have 32 to 512 characters, with no colon and no line break, as of: openssl rand -hex 32"
  }
}

variable "webhook_calls_per_second" {
  description = "The maximum number of calls to the webhook in a second; further events wait."
  type        = number
  default     = 50

  validation {
    condition     = var.webhook_calls_per_second >= 1 && var.webhook_calls_per_second <= 300
    error_message = "Must be 1 to 300."
  }
}

variable "dist_dir" {
  description = "Folder with subscriber.zip, which `npm run build` makes."
  type        = string
  default     = "../../dist"
}

variable "log_retention_days" {
  description = "Days for which the function's log is kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of the retentions that CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "plain_http" {
  description = "For emulators of AWS only, which have no TLS: leaves out the policies that demand it."
  type        = bool
  default     = false
}
