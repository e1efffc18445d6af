# LocalStack 4.14.0, the last that needs no token: checks no signatures, and has no Rekognition. Its functions run in
# containers of the network that docker-compose.yml names; where LocalStack is they are told by itself.
auth = "none"

manage_api_gateway_logging = false

compat = {
  plain_http    = true
  s3_path_style = true
  endpoint      = "http://localhost:4566"
  environment   = { AWS_ENDPOINT_URL_REKOGNITION = "http://rekognition:4567" }
}
