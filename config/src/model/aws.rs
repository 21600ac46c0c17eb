//! What the file says about AWS: whom to ask, how often, and what may be reached from here.

use std::net::IpAddr;
use std::time::Duration;

/// `[aws]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// Whether accelerators are made of what AWS says; without it the table gives credentials and endpoints alone.
    pub import: bool,
    /// Where tagged load balancers are looked for.
    pub regions: Vec<String>,
    /// Every client's endpoint instead of AWS's own.
    pub endpoint_url: Option<String>,
    /// The account whose answers are believed: twelve digits.
    pub account_id: Option<String>,
    /// Time from one reading to the next.
    pub interval: Duration,
    /// Calls a second of one service and account.
    pub calls_per_second: u32,
    /// Calls of one service and account at once.
    pub burst: u32,
    /// What can be reached from here.
    pub reach: AwsReach,
    /// Roles that read other accounts.
    pub roles: Vec<AwsRole>,
    /// By an accelerator's name or ARN: where it is served here.
    pub addresses: Vec<(String, Vec<IpAddr>)>,
}

/// What of AWS can be reached from this PoP. An address does not tell: a private one may be routed here, a public one filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsReach {
    /// What faces the internet.
    Public,
    /// The networks themselves, by VPN, Direct Connect or peering: internal load balancers and private addresses, too.
    Private,
}

/// One of `[aws] roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRole {
    /// The role.
    pub arn: String,
    /// The account that it is in, out of the ARN.
    pub account_id: String,
    /// What the role's trust asks for.
    pub external_id: Option<String>,
}
