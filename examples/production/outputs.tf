output "api_url" {
  description = "Where the API is."
  value       = "https://${var.domain}"
}

output "sign_in_url" {
  description = "Where the page sends people to sign in; its tokens are for the client."
  value       = "https://${aws_cognito_user_pool_domain.people.domain}.auth.${local.region}.amazoncognito.com/login?client_id=${aws_cognito_user_pool_client.page.id}&response_type=code&redirect_uri=${urlencode("${var.page_origin}/")}"
}

output "versions" {
  description = "The published versions that are called."
  value       = module.image_analyzer.versions
}
