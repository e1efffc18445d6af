# floci: checks no signatures, and has no Rekognition. Its functions run in containers.
auth = "none"

manage_api_gateway_logging = false

# One name for both sides, as for LocalStack: floci's DNS server makes it its own address to the containers of its functions.
emulator_endpoint    = "http://localhost.localstack.cloud:4566"
emulator_rekognition = "http://rekognition:4567"

# It goes as it came.
keep_data = false

compat = {
  plain_http    = true
  s3_path_style = true
  # It knows neither PutCompositeAlarm nor PutDashboard.
  alarms = false
  # It knows no PutQueryDefinition.
  saved_queries = false
  # It has no responses of the gateway's own to set.
  gateway_responses = false
  # Its gateway looks for a function that is called live.
  alias = false
  # Accepted and not given back: a change in every plan.
  binary_media_types = false
  default_tags       = false
}
