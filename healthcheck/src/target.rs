//! What is asked: one address and port, by one check. The value is the probe's key, so that equal checks of one address are
//! asked once whoever wants them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use portolan_config::address::EndpointAddr;
use portolan_config::model::{HealthCheck, Probe};

/// One thing to probe.
///
/// Two of them are equal when the same bytes would go to the same place on the same schedule. So `name` counts only where the
/// probe speaks it, and `check.port` never: the port that is asked is `address`'s.
#[derive(Clone)]
pub struct ProbeTarget {
    /// The address and port that is asked.
    pub address: EndpointAddr,
    /// How.
    pub check: Arc<HealthCheck>,
    /// The endpoint's own DNS name, for the Host header and SNI where the check names none.
    pub name: Option<Arc<str>>,
}

impl ProbeTarget {
    /// The name, where the probe speaks it.
    fn spoken_name(&self) -> Option<&str> {
        let speaks = match &self.check.probe {
            Probe::None | Probe::Tcp | Probe::Udp(_) => false,
            Probe::Http(http) => http.host.is_none(),
            Probe::Https {
                http,
                sni,
                verify_tls: _,
            } => http.host.is_none() || sni.is_none(),
        };
        if speaks { self.name.as_deref() } else { None }
    }

    /// What tells it from other targets at its address, as text that another process can compare.
    pub(crate) fn question(&self) -> String {
        let HealthCheck {
            probe,
            port: _,
            interval,
            fast_interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
            jitter,
        } = &*self.check;
        let name = self.spoken_name();
        format!(
            "{probe:?} {name:?} {interval:?} {fast_interval:?} {timeout:?} {healthy_threshold} {unhealthy_threshold} {jitter}"
        )
    }

    /// Whether nothing is asked and the answer is always yes.
    pub(crate) fn is_always_up(&self) -> bool {
        matches!(self.check.probe, Probe::None)
    }
}

/// Whether two checks ask the same on the same schedule.
fn same_question(a: &HealthCheck, b: &HealthCheck) -> bool {
    let HealthCheck {
        probe,
        port: _,
        interval,
        fast_interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
        jitter,
    } = a;
    *probe == b.probe
        && *interval == b.interval
        && *fast_interval == b.fast_interval
        && *timeout == b.timeout
        && *healthy_threshold == b.healthy_threshold
        && *unhealthy_threshold == b.unhealthy_threshold
        && jitter.to_bits() == b.jitter.to_bits()
}

impl PartialEq for ProbeTarget {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
            && (Arc::ptr_eq(&self.check, &other.check) || same_question(&self.check, &other.check))
            && self.spoken_name() == other.spoken_name()
    }
}

impl Eq for ProbeTarget {}

impl Hash for ProbeTarget {
    /// Over what usually differs; equality looks at the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.spoken_name().hash(state);
        self.check.interval.hash(state);
        self.check.jitter.to_bits().hash(state);
    }
}

impl fmt::Debug for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.check.probe.as_str(), self.address)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}
