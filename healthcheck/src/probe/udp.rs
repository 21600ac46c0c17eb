//! The UDP probe: one datagram, asked again while no answer comes, and an answer that holds what is expected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use portolan_config::address::EndpointAddr;
use portolan_config::health::Failure;
use portolan_config::model::UdpProbe;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Finding, failure};

/// One lost datagram is not a fault: within the probe's time it is asked this many times.
const ASKS: u32 = 3;

/// The longest datagram.
const BUFFER: usize = 65_535;

/// Asks, and waits for an answer that passes.
pub(super) async fn ask(to: EndpointAddr, question: &UdpProbe, deadline: Instant) -> Finding {
    match exchange(to, question, deadline).await {
        Ok(rtt) => Finding {
            failure: None,
            rtt: Some(rtt),
        },
        Err(failure) => Finding {
            failure: Some(failure),
            rtt: None,
        },
    }
}

async fn exchange(
    to: EndpointAddr,
    question: &UdpProbe,
    deadline: Instant,
) -> Result<Duration, Failure> {
    let any: IpAddr = match to.0.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let of_io = |error: std::io::Error| failure::of_connect(&error);
    let socket = UdpSocket::bind((any, 0)).await.map_err(of_io)?;
    socket.connect(to.0).await.map_err(of_io)?;
    let mut buffer = vec![0; BUFFER];
    let apart = deadline.saturating_duration_since(Instant::now()) / ASKS;
    let mut unexpected = None;
    for again in 1..=ASKS {
        let asked = Instant::now();
        socket.send(&question.send).await.map_err(of_io)?;
        let until = if again == ASKS {
            deadline
        } else {
            deadline.min(asked + apart)
        };
        while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
            let answer = &buffer[..received.map_err(of_io)?];
            if holds(answer, question.expect.as_deref()) {
                return Ok(asked.elapsed());
            }
            unexpected = Some(answer.len());
        }
    }
    Err(match unexpected {
        None => Failure::TimedOut,
        Some(len) => {
            let what = format!("an answer of {len} bytes without what was expected");
            Failure::Answer(Arc::from(what))
        }
    })
}

fn holds(answer: &[u8], expected: Option<&[u8]>) -> bool {
    match expected {
        None => true,
        Some([]) => true,
        Some(expected) => answer
            .windows(expected.len())
            .any(|window| window == expected),
    }
}
