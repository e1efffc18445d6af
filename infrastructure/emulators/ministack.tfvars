# MiniStack: checks no signatures, and has no Rekognition. Its functions are processes beside it, so it is local to
# them, under the address that presigned URLs have outside too.
auth = "none"

manage_api_gateway_logging = false

compat = {
  plain_http    = true
  s3_path_style = true
  endpoint      = "http://localhost:4566"
  environment = {
    AWS_ENDPOINT_URL             = "http://localhost:4566"
    AWS_ENDPOINT_URL_REKOGNITION = "http://rekognition:4567"
  }
  # Given back otherwise than set, or not at all.
  alarms               = false
  default_tags         = false
  redrive_allow_policy = false
}
