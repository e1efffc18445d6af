# MiniStack: checks no signatures, and has no Rekognition. Its functions are processes beside it, for which it is local
# under the same address as outside; in a container, where port 4566 is published as 4566.
auth = "none"

manage_api_gateway_logging = false

emulator_endpoint    = "http://localhost:4566"
emulator_rekognition = "http://rekognition:4567"

# It goes as it came.
keep_data = false

compat = {
  plain_http    = true
  s3_path_style = true
  # Given back otherwise than set, or not at all.
  alarms       = false
  default_tags = false
  # It knows no PutQueryDefinition.
  saved_queries = false
}
