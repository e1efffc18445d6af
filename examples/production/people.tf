# People sign in at Cognito. The API believes its ID tokens, whose audience is the client; access tokens name none.
resource "aws_cognito_user_pool" "people" {
  name                     = var.name
  username_attributes      = ["email"]
  auto_verified_attributes = ["email"]
  deletion_protection      = "ACTIVE"

  admin_create_user_config {
    allow_admin_create_user_only = true
  }
}

resource "aws_cognito_user_pool_client" "page" {
  name                                 = "page"
  user_pool_id                         = aws_cognito_user_pool.people.id
  allowed_oauth_flows_user_pool_client = true
  allowed_oauth_flows                  = ["code"]
  allowed_oauth_scopes                 = ["openid", "email"]
  callback_urls                        = ["${var.page_origin}/"]
  supported_identity_providers         = ["COGNITO"]
}

resource "aws_cognito_user_pool_domain" "people" {
  domain       = "${var.name}-${local.account}"
  user_pool_id = aws_cognito_user_pool.people.id
}
