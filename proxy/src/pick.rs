//! Stand-in until the pick lands.
use portolan_config::address::*;
use portolan_config::flow::PickReason;
use portolan_config::snapshot::*;
/// Key.
#[derive(Clone, Copy, Debug)]
pub struct FlowKey(pub u64);
/// C.
#[derive(Debug)]
pub struct Candidates {
    n: usize,
}
/// C.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// g
    pub group: usize,
    /// e
    pub endpoint: usize,
    /// a
    pub address: usize,
    /// t
    pub to: EndpointAddr,
    /// r
    pub reason: PickReason,
}
/// K.
pub fn key(_: &ListenerSnapshot, _: ClientAddr, _: ListenerAddr) -> FlowKey {
    FlowKey(0)
}
/// C.
pub fn candidates(_: &ListenerSnapshot, _: FlowKey) -> Candidates {
    Candidates { n: 0 }
}
impl Candidates {
    /// n
    pub fn next(&mut self, l: &ListenerSnapshot) -> Option<Candidate> {
        let n = self.n;
        self.n += 1;
        let e = l.groups.first()?.endpoints.get(n)?;
        Some(Candidate {
            group: 0,
            endpoint: n,
            address: 0,
            to: EndpointAddr((e.addresses.first()?.ip, e.port.unwrap_or(80)).into()),
            reason: PickReason::Nearest,
        })
    }
}
/// E.
pub mod explain {
    use super::*;
    use std::net::*;
    /// e
    pub fn explain(
        _: &Snapshot,
        _: IpAddr,
        _: Option<u16>,
        _: SocketAddr,
        _: portolan_config::model::Protocol,
    ) -> Option<portolan_config::explain::Explanation> {
        None
    }
}
pub use explain::explain;
