# What people have for Global Accelerator, but for the provider's endpoint. Run by tests/tests/api_terraform.rs.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "secret" { type = string }
variable "name" { type = string }
variable "port" { type = number }
variable "dial" { type = number }
variable "bucket" { type = string }
variable "endpoint_port" { type = number }
variable "endpoints" { type = list(string) }

provider "aws" {
  region                      = "us-west-2"
  access_key                  = "AKIDEXAMPLE"
  secret_key                  = var.secret
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    globalaccelerator = var.endpoint
  }
}

resource "aws_globalaccelerator_accelerator" "shop" {
  name            = var.name
  ip_address_type = "IPV4"
  enabled         = true
  attributes {
    flow_logs_enabled   = true
    flow_logs_s3_bucket = var.bucket
    flow_logs_s3_prefix = "flow-logs/"
  }
  tags = { team = "shop" }
}

resource "aws_globalaccelerator_listener" "web" {
  accelerator_arn = aws_globalaccelerator_accelerator.shop.id
  client_affinity = "SOURCE_IP"
  protocol        = "TCP"
  port_range {
    from_port = var.port
    to_port   = var.port
  }
}

resource "aws_globalaccelerator_cross_account_attachment" "shared" {
  name       = "shared"
  principals = ["000000000000"]
  resource {
    endpoint_id = "127.0.0.1"
    region      = "us-east-1"
  }
}

resource "aws_globalaccelerator_endpoint_group" "near" {
  listener_arn            = aws_globalaccelerator_listener.web.id
  endpoint_group_region   = "us-east-1"
  traffic_dial_percentage = var.dial
  dynamic "endpoint_configuration" {
    for_each = var.endpoints
    content {
      endpoint_id                    = endpoint_configuration.value
      weight                         = 100
      client_ip_preservation_enabled = false
    }
  }
  port_override {
    listener_port = var.port
    endpoint_port = var.endpoint_port
  }
}

resource "aws_globalaccelerator_custom_routing_accelerator" "games" {
  name = "games"
}

resource "aws_globalaccelerator_custom_routing_listener" "games" {
  accelerator_arn = aws_globalaccelerator_custom_routing_accelerator.games.id
  port_range {
    from_port = 21000
    to_port   = 21100
  }
}

resource "aws_globalaccelerator_custom_routing_endpoint_group" "games" {
  listener_arn          = aws_globalaccelerator_custom_routing_listener.games.id
  endpoint_group_region = "us-east-1"
  destination_configuration {
    from_port = 80
    to_port   = 81
    protocols = ["TCP", "UDP"]
  }
  endpoint_configuration {
    endpoint_id = "10.1.0.0/28"
  }
}

data "aws_globalaccelerator_accelerator" "shop" {
  arn = aws_globalaccelerator_accelerator.shop.id
}

output "addresses" { value = flatten(data.aws_globalaccelerator_accelerator.shop.ip_sets[*].ip_addresses) }
output "dns_name" { value = data.aws_globalaccelerator_accelerator.shop.dns_name }
output "health_check_port" { value = aws_globalaccelerator_endpoint_group.near.health_check_port }
output "health_check_path" { value = aws_globalaccelerator_endpoint_group.near.health_check_path }
output "group" { value = aws_globalaccelerator_endpoint_group.near.id }
