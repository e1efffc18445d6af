# moto (moto_server): every resource can be made, and nothing runs.
compat = {
  s3_path_style = true
  # Accepted and not given back.
  binary_media_types = false
}
