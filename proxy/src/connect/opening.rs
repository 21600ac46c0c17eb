//! What an endpoint is told before the client's bytes: the PROXY header.

use portolan_config::model::ProxyProtocol;

use crate::flow::Flow;
use crate::proxy_protocol::{encode_v1, encode_v2};

/// What is written to the endpoint before the client's bytes, and how much of it is ours.
pub(crate) fn opening(
    flow: &Flow,
    proxy: ProxyProtocol,
    prelude: Vec<u8>,
    tlvs: &[u8],
) -> (Vec<u8>, usize) {
    let client = flow.client_addr.0;
    let spoken_to = flow
        .declared
        .as_deref()
        .copied()
        .unwrap_or(flow.listener_addr.0);
    let mut bytes = Vec::new();
    match proxy {
        ProxyProtocol::Off => return (prelude, 0),
        ProxyProtocol::V1 => encode_v1(client, spoken_to, &mut bytes),
        ProxyProtocol::V2 => encode_v2(
            client,
            spoken_to,
            portolan_config::model::Protocol::Tcp,
            Some(&flow.id.to_be_bytes()),
            tlvs,
            &mut bytes,
        ),
    }
    let ours = bytes.len();
    bytes.extend_from_slice(&prelude);
    (bytes, ours)
}
