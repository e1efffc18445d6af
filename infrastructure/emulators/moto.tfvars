# moto (moto_server, with MOTO_IAM_LOAD_MANAGED_POLICIES=true): every resource can be made, and nothing runs.
# It goes as it came.
keep_data = false

compat = {
  plain_http    = true
  s3_path_style = true
  # Accepted and not given back: a change in every plan, and three minutes of waiting for the second.
  binary_media_types   = false
  redrive_allow_policy = false
  # It knows neither PutCompositeAlarm nor PutQueryDefinition.
  composite_alarm = false
  saved_queries   = false
}
