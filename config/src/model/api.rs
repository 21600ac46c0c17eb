//! The Global-Accelerator-compatible API, as the file asks for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::address::Host;

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The account that ARNs name: twelve digits.
    pub account_id: String,
    /// Where static addresses are taken from.
    pub address_pool: Vec<IpNet>,
    /// Who may ask; empty is whoever reaches the listener, which then is on loopback.
    pub credentials: Vec<Credential>,
    /// Probe as seldom as the API's 10 or 30 seconds say.
    pub honour_interval: bool,
    /// Verify certificates in HTTPS checks of groups made by the API.
    pub verify_tls: bool,
}

/// One of `[api] credentials`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its public half.
    pub access_key_id: String,
    /// The file that holds its secret half.
    pub secret_access_key_file: PathBuf,
    /// The file that holds the session token that must come with it; `None` is a key without one.
    pub session_token_file: Option<PathBuf>,
}

/// `[[endpoint_alias]]`: what an endpoint id that is no address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAlias {
    /// Any endpoint id: an ARN, `i-…`, `eipalloc-…`, `subnet-…`.
    pub id: String,
    /// What it is here.
    pub address: AliasAddress,
}

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasAddress {
    /// An endpoint, with its own port when it names one.
    Endpoint(Host, Option<u16>),
    /// A subnet, for custom routing.
    Subnet(IpNet),
}
