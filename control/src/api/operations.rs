//! The 56 operations by name, each with its types and the function that carries it out.

pub(crate) mod accelerators;
pub(crate) mod attachments;
pub(crate) mod byoip;
pub(crate) mod custom_endpoints;
pub(crate) mod custom_groups;
pub(crate) mod custom_routing;
pub(crate) mod endpoint_groups;
pub(crate) mod endpoints;
pub(crate) mod listeners;
pub(crate) mod port_mappings;
pub(crate) mod tags;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::Context;
use super::errors::{ApiError, Exception};
use super::shapes::NoOutput;
use super::shapes::model::MODEL;
use super::shapes::{
    accelerators as a, attachments as x, byoip as b, custom_routing as c, endpoint_groups as g,
    listeners as l, tags as t,
};

/// Declares the operations.
macro_rules! operations {
    ($($name:ident: $function:path, $request:ty => $response:ty;)*) => {
        /// An operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Operation {
            $(#[doc = concat!("`", stringify!($name), "`")] $name,)*
        }

        impl Operation {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Operation] = &[$(Operation::$name,)*];

            /// As requests name it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => stringify!($name),)*
                }
            }

            /// The one that a request names.
            pub(crate) fn by_name(name: &str) -> Option<Operation> {
                match name {
                    $(stringify!($name) => Some(Operation::$name),)*
                    _ => None,
                }
            }

            /// Carries it out over a checked input.
            pub(crate) fn run(self, context: &mut Context<'_>, input: Value) -> Result<Value, ApiError> {
                match self {
                    $(Operation::$name => {
                        let request: $request = read(input)?;
                        let response: $response = $function(context, request)?;
                        Ok(write(&response))
                    })*
                }
            }

            /// Reads and writes its request and its response, for tests of the shapes.
            #[cfg(test)]
            pub(crate) fn round_trip(self, input: Value, output: Value) -> (Result<Value, ApiError>, Result<Value, ApiError>) {
                match self {
                    $(Operation::$name => (
                        read::<$request>(input).map(|request| write(&request)),
                        read::<$response>(output).map(|response| write(&response)),
                    ),)*
                }
            }
        }
    };
}

operations! {
    CreateAccelerator: accelerators::create, a::CreateAcceleratorRequest => a::CreateAcceleratorResponse;
    DescribeAccelerator: accelerators::describe, a::DescribeAcceleratorRequest => a::DescribeAcceleratorResponse;
    ListAccelerators: accelerators::list, a::ListAcceleratorsRequest => a::ListAcceleratorsResponse;
    UpdateAccelerator: accelerators::update, a::UpdateAcceleratorRequest => a::UpdateAcceleratorResponse;
    DeleteAccelerator: accelerators::delete, a::DeleteAcceleratorRequest => NoOutput;
    DescribeAcceleratorAttributes: accelerators::describe_attributes, a::DescribeAcceleratorAttributesRequest => a::DescribeAcceleratorAttributesResponse;
    UpdateAcceleratorAttributes: accelerators::update_attributes, a::UpdateAcceleratorAttributesRequest => a::UpdateAcceleratorAttributesResponse;
    CreateListener: listeners::create, l::CreateListenerRequest => l::CreateListenerResponse;
    DescribeListener: listeners::describe, l::DescribeListenerRequest => l::DescribeListenerResponse;
    ListListeners: listeners::list, l::ListListenersRequest => l::ListListenersResponse;
    UpdateListener: listeners::update, l::UpdateListenerRequest => l::UpdateListenerResponse;
    DeleteListener: listeners::delete, l::DeleteListenerRequest => NoOutput;
    CreateEndpointGroup: endpoint_groups::create, g::CreateEndpointGroupRequest => g::CreateEndpointGroupResponse;
    DescribeEndpointGroup: endpoint_groups::describe, g::DescribeEndpointGroupRequest => g::DescribeEndpointGroupResponse;
    ListEndpointGroups: endpoint_groups::list, g::ListEndpointGroupsRequest => g::ListEndpointGroupsResponse;
    UpdateEndpointGroup: endpoint_groups::update, g::UpdateEndpointGroupRequest => g::UpdateEndpointGroupResponse;
    DeleteEndpointGroup: endpoint_groups::delete, g::DeleteEndpointGroupRequest => NoOutput;
    AddEndpoints: endpoints::add, g::AddEndpointsRequest => g::AddEndpointsResponse;
    RemoveEndpoints: endpoints::remove, g::RemoveEndpointsRequest => NoOutput;
    TagResource: tags::tag, t::TagResourceRequest => t::TagResourceResponse;
    UntagResource: tags::untag, t::UntagResourceRequest => t::UntagResourceResponse;
    ListTagsForResource: tags::list, t::ListTagsForResourceRequest => t::ListTagsForResourceResponse;
    CreateCrossAccountAttachment: attachments::create, x::CreateCrossAccountAttachmentRequest => x::CreateCrossAccountAttachmentResponse;
    DescribeCrossAccountAttachment: attachments::describe, x::DescribeCrossAccountAttachmentRequest => x::DescribeCrossAccountAttachmentResponse;
    ListCrossAccountAttachments: attachments::list, x::ListCrossAccountAttachmentsRequest => x::ListCrossAccountAttachmentsResponse;
    UpdateCrossAccountAttachment: attachments::update, x::UpdateCrossAccountAttachmentRequest => x::UpdateCrossAccountAttachmentResponse;
    DeleteCrossAccountAttachment: attachments::delete, x::DeleteCrossAccountAttachmentRequest => NoOutput;
    ListCrossAccountResourceAccounts: attachments::list_accounts, x::ListCrossAccountResourceAccountsRequest => x::ListCrossAccountResourceAccountsResponse;
    ListCrossAccountResources: attachments::list_resources, x::ListCrossAccountResourcesRequest => x::ListCrossAccountResourcesResponse;
    ProvisionByoipCidr: byoip::provision, b::ProvisionByoipCidrRequest => b::ProvisionByoipCidrResponse;
    AdvertiseByoipCidr: byoip::advertise, b::AdvertiseByoipCidrRequest => b::AdvertiseByoipCidrResponse;
    WithdrawByoipCidr: byoip::withdraw, b::WithdrawByoipCidrRequest => b::WithdrawByoipCidrResponse;
    DeprovisionByoipCidr: byoip::deprovision, b::DeprovisionByoipCidrRequest => b::DeprovisionByoipCidrResponse;
    ListByoipCidrs: byoip::list, b::ListByoipCidrsRequest => b::ListByoipCidrsResponse;
    CreateCustomRoutingAccelerator: custom_routing::create, c::CreateCustomRoutingAcceleratorRequest => c::CreateCustomRoutingAcceleratorResponse;
    DescribeCustomRoutingAccelerator: custom_routing::describe, c::DescribeCustomRoutingAcceleratorRequest => c::DescribeCustomRoutingAcceleratorResponse;
    ListCustomRoutingAccelerators: custom_routing::list, c::ListCustomRoutingAcceleratorsRequest => c::ListCustomRoutingAcceleratorsResponse;
    UpdateCustomRoutingAccelerator: custom_routing::update, c::UpdateCustomRoutingAcceleratorRequest => c::UpdateCustomRoutingAcceleratorResponse;
    DeleteCustomRoutingAccelerator: custom_routing::delete, c::DeleteCustomRoutingAcceleratorRequest => NoOutput;
    DescribeCustomRoutingAcceleratorAttributes: custom_routing::describe_attributes, c::DescribeCustomRoutingAcceleratorAttributesRequest => c::DescribeCustomRoutingAcceleratorAttributesResponse;
    UpdateCustomRoutingAcceleratorAttributes: custom_routing::update_attributes, c::UpdateCustomRoutingAcceleratorAttributesRequest => c::UpdateCustomRoutingAcceleratorAttributesResponse;
    CreateCustomRoutingListener: custom_routing::create_listener, c::CreateCustomRoutingListenerRequest => c::CreateCustomRoutingListenerResponse;
    DescribeCustomRoutingListener: custom_routing::describe_listener, c::DescribeCustomRoutingListenerRequest => c::DescribeCustomRoutingListenerResponse;
    ListCustomRoutingListeners: custom_routing::list_listeners, c::ListCustomRoutingListenersRequest => c::ListCustomRoutingListenersResponse;
    UpdateCustomRoutingListener: custom_routing::update_listener, c::UpdateCustomRoutingListenerRequest => c::UpdateCustomRoutingListenerResponse;
    DeleteCustomRoutingListener: custom_routing::delete_listener, c::DeleteCustomRoutingListenerRequest => NoOutput;
    CreateCustomRoutingEndpointGroup: custom_groups::create, c::CreateCustomRoutingEndpointGroupRequest => c::CreateCustomRoutingEndpointGroupResponse;
    DescribeCustomRoutingEndpointGroup: custom_groups::describe, c::DescribeCustomRoutingEndpointGroupRequest => c::DescribeCustomRoutingEndpointGroupResponse;
    ListCustomRoutingEndpointGroups: custom_groups::list, c::ListCustomRoutingEndpointGroupsRequest => c::ListCustomRoutingEndpointGroupsResponse;
    DeleteCustomRoutingEndpointGroup: custom_groups::delete, c::DeleteCustomRoutingEndpointGroupRequest => NoOutput;
    AddCustomRoutingEndpoints: custom_endpoints::add, c::AddCustomRoutingEndpointsRequest => c::AddCustomRoutingEndpointsResponse;
    RemoveCustomRoutingEndpoints: custom_endpoints::remove, c::RemoveCustomRoutingEndpointsRequest => NoOutput;
    AllowCustomRoutingTraffic: custom_endpoints::allow, c::AllowCustomRoutingTrafficRequest => NoOutput;
    DenyCustomRoutingTraffic: custom_endpoints::deny, c::DenyCustomRoutingTrafficRequest => NoOutput;
    ListCustomRoutingPortMappings: port_mappings::list, c::ListCustomRoutingPortMappingsRequest => c::ListCustomRoutingPortMappingsResponse;
    ListCustomRoutingPortMappingsByDestination: port_mappings::list_by_destination, c::ListCustomRoutingPortMappingsByDestinationRequest => c::ListCustomRoutingPortMappingsByDestinationResponse;
}

impl Operation {
    /// Whether it changes nothing, and so need not wait for its turn.
    pub(crate) fn only_reads(self) -> bool {
        self.name().starts_with("Describe") || self.name().starts_with("List")
    }

    /// Checks an input by the model alone.
    pub(crate) fn check(self, input: Value) -> Result<Value, ApiError> {
        MODEL.check(self.name(), input)
    }
}

/// The model has been checked, so what is wrong here is a number that the type has no room for.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| Exception::Serialization.because(error))
}

fn write(response: &impl Serialize) -> Value {
    serde_json::to_value(response).expect("responses have string keys")
}
