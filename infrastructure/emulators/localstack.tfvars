# LocalStack 4.14.0, the last that needs no token: checks no signatures, and has no Rekognition. Its functions run in
# containers of the network that docker-compose.yml names.
auth = "none"

manage_api_gateway_logging = false

# One name for both sides. Within a function's container LocalStack's DNS server makes it LocalStack's own address;
# outside it is 127.0.0.1, in the public DNS (LocalStack documentation, DNS server). By itself LocalStack gives functions
# the address of its container, which presigned URLs would name, and which no browser reaches under Docker Desktop.
# Where a router's protection against DNS rebinding hides the name, add it to /etc/hosts as 127.0.0.1.
emulator_endpoint    = "http://localhost.localstack.cloud:4566"
emulator_rekognition = "http://rekognition:4567"

# It goes as it came.
keep_data = false

compat = {
  plain_http    = true
  s3_path_style = true
  # Its CloudWatch Logs are moto's, which knows no PutQueryDefinition.
  saved_queries = false
  # It removes no settings but those of */* from a stage (update_stage in its provider of API Gateway).
  route_settings = false
}
