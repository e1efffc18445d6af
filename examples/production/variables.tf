variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "image-analyzer"
}

variable "domain" {
  description = "Name by which the API is called, such as images.example.com."
  type        = string
}

variable "zone_id" {
  description = "Hosted zone of Route 53 that the domain is in."
  type        = string
}

variable "page_origin" {
  description = "Origin of the page that people use, such as https://app.example.com."
  type        = string
}

variable "alarm_email" {
  description = "Address that alarms write to."
  type        = string
}

variable "permissions_boundary" {
  description = "What the roles of the functions may do at the most: the output of examples/pipeline. Null: what their policies say."
  type        = string
  default     = null
}

variable "versions" {
  description = "Published versions to stay on, by function, while a canary tries the newest. Empty: the newest."
  type        = map(string)
  default     = {}
}
