//! One probe over the network: ask, wait as long as one is told to, say what came. Called by the checker's task; keeps no state
//! beside the TLS configurations.

use std::time::Duration;

use portolan_config::address::EndpointAddr;
use portolan_config::health::Failure;
use portolan_config::model::Probe;
use tokio::time::{Instant, timeout_at};

use crate::target::ProbeTarget;

mod failure;
mod http;
mod tcp;
mod tls;
mod udp;

pub(crate) use failure::of_connect as failure_of_connect;
pub(crate) use tcp::close_by_reset;
pub(crate) use tls::TlsClients;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Why it did not pass.
    pub(crate) failure: Option<Failure>,
    /// How long the connect took, if it was accepted.
    pub(crate) rtt: Option<Duration>,
}

/// Asks `target`, and whether `port` takes connections, too: both must pass. It may take as long as `timeout`.
pub(crate) async fn probe_with_port(
    target: &ProbeTarget,
    port: Option<EndpointAddr>,
    timeout: Duration,
    tls: &TlsClients,
) -> Finding {
    let Some(port) = port else {
        return probe(target, timeout, tls).await;
    };
    let (check, port) = tokio::join!(probe(target, timeout, tls), connect(port, timeout));
    Finding {
        failure: check.failure.or(port.failure),
        rtt: check.rtt,
    }
}

/// Asks `target` what its check says.
async fn probe(target: &ProbeTarget, timeout: Duration, tls: &TlsClients) -> Finding {
    let deadline = Instant::now() + timeout;
    match &target.check.probe {
        Probe::None => Finding {
            failure: None,
            rtt: None,
        },
        Probe::Tcp => connect(target.address, timeout).await,
        Probe::Http(question) => {
            let (stream, rtt) = match tcp::connect(target.address, deadline).await {
                Ok(connected) => connected,
                Err(failure) => {
                    return Finding {
                        failure: Some(failure),
                        rtt: None,
                    };
                }
            };
            let host = http::host(target, question, 80);
            let failure = http::ask(stream, question, &host, deadline).await.err();
            Finding {
                failure,
                rtt: Some(rtt),
            }
        }
        Probe::Https {
            http: question,
            sni,
            verify_tls,
        } => {
            let (stream, rtt) = match tcp::connect(target.address, deadline).await {
                Ok(connected) => connected,
                Err(failure) => {
                    return Finding {
                        failure: Some(failure),
                        rtt: None,
                    };
                }
            };
            let greeted = tls.greet(stream, target, sni.as_deref(), *verify_tls);
            let failure = match timeout_at(deadline, greeted).await {
                Err(_elapsed) => Some(Failure::TimedOut),
                Ok(Err(failure)) => Some(failure),
                Ok(Ok(stream)) => {
                    let host = http::host(target, question, 443);
                    http::ask(stream, question, &host, deadline).await.err()
                }
            };
            Finding {
                failure,
                rtt: Some(rtt),
            }
        }
        Probe::Udp(question) => udp::ask(target.address, question, deadline).await,
    }
}

/// One question of a burst: a connect, or the check itself where that speaks UDP, which knows no connects.
pub(crate) async fn burst(target: &ProbeTarget, to: EndpointAddr, timeout: Duration) -> Finding {
    match &target.check.probe {
        Probe::Udp(question) => udp::ask(to, question, Instant::now() + timeout).await,
        Probe::None | Probe::Tcp | Probe::Http(_) | Probe::Https { .. } => {
            connect(to, timeout).await
        }
    }
}

/// A connect and nothing more, closed by reset: the TCP probe, and what a burst is made of.
pub(crate) async fn connect(to: EndpointAddr, timeout: Duration) -> Finding {
    match tcp::connect(to, Instant::now() + timeout).await {
        Ok((stream, rtt)) => {
            tcp::close_by_reset(&stream);
            Finding {
                failure: None,
                rtt: Some(rtt),
            }
        }
        Err(failure) => Finding {
            failure: Some(failure),
            rtt: None,
        },
    }
}

#[cfg(test)]
mod tests;
