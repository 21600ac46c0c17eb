//! The Rust SDK, driven by the model's own names: an operation and its input as JSON, the answer as it was on the wire, the exception by
//! the type that the SDK has for it.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_globalaccelerator::Client;
use aws_sdk_globalaccelerator::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_globalaccelerator::config::retry::RetryConfig;
use aws_sdk_globalaccelerator::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_globalaccelerator::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_globalaccelerator::types::{
    CidrAuthorizationContext, ClientAffinity, CustomRoutingDestinationConfiguration,
    CustomRoutingEndpointConfiguration, CustomRoutingProtocol, EndpointConfiguration,
    EndpointIdentifier, HealthCheckProtocol, IpAddressType, PortOverride, PortRange, Protocol,
    Resource, Tag,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use portolan_tests::api::{Place, SECRET};
use serde_json::Value;

/// The SDK with credentials that the API knows.
#[derive(Clone)]
pub(crate) struct Sdk {
    client: Client,
    last: Last,
}

/// The last answer, as it was on the wire.
#[derive(Clone, Debug, Default)]
struct Last(Arc<Mutex<Value>>);

impl Intercept for Last {
    fn name(&self) -> &'static str {
        "Last"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let answer = serde_json::from_slice(body).unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        Ok(())
    }
}

impl Sdk {
    pub(crate) fn new(at: &Place) -> Sdk {
        let provider = tls::Provider::Rustls(CryptoMode::Ring);
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(provider)
            .build_https();
        let last = Last::default();
        let config = aws_sdk_globalaccelerator::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .endpoint_url(at.url())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test"))
            .interceptor(last.clone())
            .build();
        Sdk {
            client: Client::from_conf(config),
            last,
        }
    }

    /// Carries an operation out; the answer, or the exception's name.
    pub(crate) async fn call(&self, operation: &str, input: &Value) -> Result<Value, String> {
        Box::pin(send(&self.client, operation, input)).await?;
        let last = self.last.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last.clone())
    }
}

/// What an SDK says of a refusal: the code, which must be that of a type that it knows.
fn outcome<T, E>(sent: Result<T, SdkError<E>>) -> Result<(), String>
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let Err(error) = sent else { return Ok(()) };
    let SdkError::ServiceError(refused) = error else {
        panic!("no answer of the service: {error:?}");
    };
    let error = refused.into_err();
    let code = error.code().unwrap_or_default().to_owned();
    assert!(error.message().is_some_and(|m| !m.is_empty()), "{error:?}");
    let shown = format!("{error:?}");
    assert!(
        shown.starts_with(&format!("{code}(")),
        "the SDK has no type for it: {shown}"
    );
    Err(code)
}

/// Declares the operations: name, method, and each member with its setter and how its value is read.
macro_rules! operations {
    ($($name:literal $method:ident { $($member:literal $set:ident $read:expr),* $(,)? })*) => {
        async fn send(client: &Client, operation: &str, input: &Value) -> Result<(), String> {
            match operation {
                $($name => {
                    let known: &[&str] = &[$($member),*];
                    if let Some(given) = input.as_object() {
                        let unknown = given.keys().find(|key| !known.contains(&key.as_str()));
                        assert!(unknown.is_none(), "{operation} has no {unknown:?}");
                    }
                    let request = client.$method();
                    $(let request = request.$set(input.get($member).map($read));)*
                    outcome(request.send().await)
                })*
                _ => panic!("{operation} is not in the table"),
            }
        }
    };
}

operations! {
    "CreateAccelerator" create_accelerator { "Name" set_name text, "IpAddressType" set_ip_address_type family, "IpAddresses" set_ip_addresses texts,
        "Enabled" set_enabled flag, "IdempotencyToken" set_idempotency_token text, "Tags" set_tags tags }
    "DescribeAccelerator" describe_accelerator { "AcceleratorArn" set_accelerator_arn text }
    "ListAccelerators" list_accelerators { "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "UpdateAccelerator" update_accelerator { "AcceleratorArn" set_accelerator_arn text, "Name" set_name text, "IpAddressType" set_ip_address_type family,
        "IpAddresses" set_ip_addresses texts, "Enabled" set_enabled flag }
    "DeleteAccelerator" delete_accelerator { "AcceleratorArn" set_accelerator_arn text }
    "DescribeAcceleratorAttributes" describe_accelerator_attributes { "AcceleratorArn" set_accelerator_arn text }
    "UpdateAcceleratorAttributes" update_accelerator_attributes { "AcceleratorArn" set_accelerator_arn text, "FlowLogsEnabled" set_flow_logs_enabled flag,
        "FlowLogsS3Bucket" set_flow_logs_s3_bucket text, "FlowLogsS3Prefix" set_flow_logs_s3_prefix text }
    "CreateListener" create_listener { "AcceleratorArn" set_accelerator_arn text, "PortRanges" set_port_ranges ranges, "Protocol" set_protocol protocol,
        "ClientAffinity" set_client_affinity affinity, "IdempotencyToken" set_idempotency_token text }
    "DescribeListener" describe_listener { "ListenerArn" set_listener_arn text }
    "ListListeners" list_listeners { "AcceleratorArn" set_accelerator_arn text, "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "UpdateListener" update_listener { "ListenerArn" set_listener_arn text, "PortRanges" set_port_ranges ranges, "Protocol" set_protocol protocol,
        "ClientAffinity" set_client_affinity affinity }
    "DeleteListener" delete_listener { "ListenerArn" set_listener_arn text }
    "CreateEndpointGroup" create_endpoint_group { "ListenerArn" set_listener_arn text, "EndpointGroupRegion" set_endpoint_group_region text,
        "EndpointConfigurations" set_endpoint_configurations endpoints, "TrafficDialPercentage" set_traffic_dial_percentage share,
        "HealthCheckPort" set_health_check_port number, "HealthCheckProtocol" set_health_check_protocol check, "HealthCheckPath" set_health_check_path text,
        "HealthCheckIntervalSeconds" set_health_check_interval_seconds number, "ThresholdCount" set_threshold_count number,
        "IdempotencyToken" set_idempotency_token text, "PortOverrides" set_port_overrides overrides }
    "DescribeEndpointGroup" describe_endpoint_group { "EndpointGroupArn" set_endpoint_group_arn text }
    "ListEndpointGroups" list_endpoint_groups { "ListenerArn" set_listener_arn text, "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "UpdateEndpointGroup" update_endpoint_group { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointConfigurations" set_endpoint_configurations endpoints,
        "TrafficDialPercentage" set_traffic_dial_percentage share, "HealthCheckPort" set_health_check_port number,
        "HealthCheckProtocol" set_health_check_protocol check, "HealthCheckPath" set_health_check_path text,
        "HealthCheckIntervalSeconds" set_health_check_interval_seconds number, "ThresholdCount" set_threshold_count number,
        "PortOverrides" set_port_overrides overrides }
    "DeleteEndpointGroup" delete_endpoint_group { "EndpointGroupArn" set_endpoint_group_arn text }
    "AddEndpoints" add_endpoints { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointConfigurations" set_endpoint_configurations endpoints }
    "RemoveEndpoints" remove_endpoints { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointIdentifiers" set_endpoint_identifiers identifiers }
    "TagResource" tag_resource { "ResourceArn" set_resource_arn text, "Tags" set_tags tags }
    "UntagResource" untag_resource { "ResourceArn" set_resource_arn text, "TagKeys" set_tag_keys texts }
    "ListTagsForResource" list_tags_for_resource { "ResourceArn" set_resource_arn text }
    "CreateCrossAccountAttachment" create_cross_account_attachment { "Name" set_name text, "Principals" set_principals texts, "Resources" set_resources resources,
        "IdempotencyToken" set_idempotency_token text, "Tags" set_tags tags }
    "DescribeCrossAccountAttachment" describe_cross_account_attachment { "AttachmentArn" set_attachment_arn text }
    "ListCrossAccountAttachments" list_cross_account_attachments { "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "UpdateCrossAccountAttachment" update_cross_account_attachment { "AttachmentArn" set_attachment_arn text, "Name" set_name text,
        "AddPrincipals" set_add_principals texts, "RemovePrincipals" set_remove_principals texts, "AddResources" set_add_resources resources,
        "RemoveResources" set_remove_resources resources }
    "DeleteCrossAccountAttachment" delete_cross_account_attachment { "AttachmentArn" set_attachment_arn text }
    "ListCrossAccountResources" list_cross_account_resources { "AcceleratorArn" set_accelerator_arn text,
        "ResourceOwnerAwsAccountId" set_resource_owner_aws_account_id text, "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "ListCrossAccountResourceAccounts" list_cross_account_resource_accounts { }
    "ProvisionByoipCidr" provision_byoip_cidr { "Cidr" set_cidr text, "CidrAuthorizationContext" set_cidr_authorization_context authorization }
    "AdvertiseByoipCidr" advertise_byoip_cidr { "Cidr" set_cidr text }
    "WithdrawByoipCidr" withdraw_byoip_cidr { "Cidr" set_cidr text }
    "DeprovisionByoipCidr" deprovision_byoip_cidr { "Cidr" set_cidr text }
    "ListByoipCidrs" list_byoip_cidrs { "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "CreateCustomRoutingAccelerator" create_custom_routing_accelerator { "Name" set_name text, "IpAddressType" set_ip_address_type family,
        "IpAddresses" set_ip_addresses texts, "Enabled" set_enabled flag, "IdempotencyToken" set_idempotency_token text, "Tags" set_tags tags }
    "DescribeCustomRoutingAccelerator" describe_custom_routing_accelerator { "AcceleratorArn" set_accelerator_arn text }
    "ListCustomRoutingAccelerators" list_custom_routing_accelerators { "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "UpdateCustomRoutingAccelerator" update_custom_routing_accelerator { "AcceleratorArn" set_accelerator_arn text, "Name" set_name text,
        "IpAddressType" set_ip_address_type family, "IpAddresses" set_ip_addresses texts, "Enabled" set_enabled flag }
    "DeleteCustomRoutingAccelerator" delete_custom_routing_accelerator { "AcceleratorArn" set_accelerator_arn text }
    "DescribeCustomRoutingAcceleratorAttributes" describe_custom_routing_accelerator_attributes { "AcceleratorArn" set_accelerator_arn text }
    "UpdateCustomRoutingAcceleratorAttributes" update_custom_routing_accelerator_attributes { "AcceleratorArn" set_accelerator_arn text,
        "FlowLogsEnabled" set_flow_logs_enabled flag, "FlowLogsS3Bucket" set_flow_logs_s3_bucket text, "FlowLogsS3Prefix" set_flow_logs_s3_prefix text }
    "CreateCustomRoutingListener" create_custom_routing_listener { "AcceleratorArn" set_accelerator_arn text, "PortRanges" set_port_ranges ranges,
        "IdempotencyToken" set_idempotency_token text }
    "DescribeCustomRoutingListener" describe_custom_routing_listener { "ListenerArn" set_listener_arn text }
    "ListCustomRoutingListeners" list_custom_routing_listeners { "AcceleratorArn" set_accelerator_arn text, "MaxResults" set_max_results number,
        "NextToken" set_next_token text }
    "UpdateCustomRoutingListener" update_custom_routing_listener { "ListenerArn" set_listener_arn text, "PortRanges" set_port_ranges ranges }
    "DeleteCustomRoutingListener" delete_custom_routing_listener { "ListenerArn" set_listener_arn text }
    "CreateCustomRoutingEndpointGroup" create_custom_routing_endpoint_group { "ListenerArn" set_listener_arn text,
        "EndpointGroupRegion" set_endpoint_group_region text, "DestinationConfigurations" set_destination_configurations destinations,
        "IdempotencyToken" set_idempotency_token text }
    "DescribeCustomRoutingEndpointGroup" describe_custom_routing_endpoint_group { "EndpointGroupArn" set_endpoint_group_arn text }
    "ListCustomRoutingEndpointGroups" list_custom_routing_endpoint_groups { "ListenerArn" set_listener_arn text, "MaxResults" set_max_results number,
        "NextToken" set_next_token text }
    "DeleteCustomRoutingEndpointGroup" delete_custom_routing_endpoint_group { "EndpointGroupArn" set_endpoint_group_arn text }
    "AddCustomRoutingEndpoints" add_custom_routing_endpoints { "EndpointGroupArn" set_endpoint_group_arn text,
        "EndpointConfigurations" set_endpoint_configurations subnets }
    "RemoveCustomRoutingEndpoints" remove_custom_routing_endpoints { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointIds" set_endpoint_ids texts }
    "AllowCustomRoutingTraffic" allow_custom_routing_traffic { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointId" set_endpoint_id text,
        "DestinationAddresses" set_destination_addresses texts, "DestinationPorts" set_destination_ports numbers,
        "AllowAllTrafficToEndpoint" set_allow_all_traffic_to_endpoint flag }
    "DenyCustomRoutingTraffic" deny_custom_routing_traffic { "EndpointGroupArn" set_endpoint_group_arn text, "EndpointId" set_endpoint_id text,
        "DestinationAddresses" set_destination_addresses texts, "DestinationPorts" set_destination_ports numbers,
        "DenyAllTrafficToEndpoint" set_deny_all_traffic_to_endpoint flag }
    "ListCustomRoutingPortMappings" list_custom_routing_port_mappings { "AcceleratorArn" set_accelerator_arn text, "EndpointGroupArn" set_endpoint_group_arn text,
        "MaxResults" set_max_results number, "NextToken" set_next_token text }
    "ListCustomRoutingPortMappingsByDestination" list_custom_routing_port_mappings_by_destination { "EndpointId" set_endpoint_id text,
        "DestinationAddress" set_destination_address text, "MaxResults" set_max_results number, "NextToken" set_next_token text }
}

fn text(value: &Value) -> String {
    portolan_tests::api::text(value)
}

fn flag(value: &Value) -> bool {
    value.as_bool().expect("a boolean")
}

fn number(value: &Value) -> i32 {
    i32::try_from(value.as_i64().expect("a number")).expect("a small one")
}

fn share(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

fn family(value: &Value) -> IpAddressType {
    text(value).as_str().into()
}

fn protocol(value: &Value) -> Protocol {
    text(value).as_str().into()
}

fn affinity(value: &Value) -> ClientAffinity {
    text(value).as_str().into()
}

fn check(value: &Value) -> HealthCheckProtocol {
    text(value).as_str().into()
}

fn each<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().expect("a list").iter().map(read).collect()
}

fn texts(value: &Value) -> Vec<String> {
    each(value, text)
}

fn numbers(value: &Value) -> Vec<i32> {
    each(value, number)
}

fn tags(value: &Value) -> Vec<Tag> {
    each(value, |tag| {
        Tag::builder()
            .key(text(&tag["Key"]))
            .value(text(&tag["Value"]))
            .build()
            .expect("complete")
    })
}

fn ranges(value: &Value) -> Vec<PortRange> {
    each(value, |range| {
        PortRange::builder()
            .from_port(number(&range["FromPort"]))
            .to_port(number(&range["ToPort"]))
            .build()
    })
}

fn overrides(value: &Value) -> Vec<PortOverride> {
    each(value, |o| {
        PortOverride::builder()
            .listener_port(number(&o["ListenerPort"]))
            .endpoint_port(number(&o["EndpointPort"]))
            .build()
    })
}

fn endpoints(value: &Value) -> Vec<EndpointConfiguration> {
    each(value, |endpoint| {
        EndpointConfiguration::builder()
            .set_endpoint_id(endpoint.get("EndpointId").map(text))
            .set_weight(endpoint.get("Weight").map(number))
            .set_client_ip_preservation_enabled(
                endpoint.get("ClientIPPreservationEnabled").map(flag),
            )
            .set_attachment_arn(endpoint.get("AttachmentArn").map(text))
            .build()
    })
}

fn identifiers(value: &Value) -> Vec<EndpointIdentifier> {
    each(value, |endpoint| {
        EndpointIdentifier::builder()
            .endpoint_id(text(&endpoint["EndpointId"]))
            .build()
            .expect("complete")
    })
}

fn subnets(value: &Value) -> Vec<CustomRoutingEndpointConfiguration> {
    each(value, |endpoint| {
        CustomRoutingEndpointConfiguration::builder()
            .set_endpoint_id(endpoint.get("EndpointId").map(text))
            .set_attachment_arn(endpoint.get("AttachmentArn").map(text))
            .build()
    })
}

fn destinations(value: &Value) -> Vec<CustomRoutingDestinationConfiguration> {
    let protocol = |value: &Value| CustomRoutingProtocol::from(text(value).as_str());
    each(value, |destination| {
        CustomRoutingDestinationConfiguration::builder()
            .from_port(number(&destination["FromPort"]))
            .to_port(number(&destination["ToPort"]))
            .set_protocols(Some(each(&destination["Protocols"], protocol)))
            .build()
            .expect("complete")
    })
}

fn resources(value: &Value) -> Vec<Resource> {
    each(value, |resource| {
        Resource::builder()
            .set_endpoint_id(resource.get("EndpointId").map(text))
            .set_cidr(resource.get("Cidr").map(text))
            .set_region(resource.get("Region").map(text))
            .build()
    })
}

fn authorization(value: &Value) -> CidrAuthorizationContext {
    CidrAuthorizationContext::builder()
        .message(text(&value["Message"]))
        .signature(text(&value["Signature"]))
        .build()
        .expect("complete")
}
