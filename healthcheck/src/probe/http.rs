//! The HTTP question of a probe, over any stream: a GET, the status, and where the check asks for it the beginning of the body.

use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portolan_config::health::Failure;
use portolan_config::model::HttpProbe;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::failure;
use crate::target::ProbeTarget;

/// How much of a body is looked at.
const BODY_LOOKED_AT: usize = 64 * 1024;

const AGENT: &str = concat!("portolan-healthcheck/", env!("CARGO_PKG_VERSION"));

/// The Host header: the check's, else the endpoint's own name, else its address; with the port where it is not `default_port`
/// (RFC 9110 §7.2).
pub(super) fn host(target: &ProbeTarget, question: &HttpProbe, default_port: u16) -> String {
    if let Some(host) = &question.host {
        return host.clone();
    }
    let address = target.address.0;
    let mut host = match &target.name {
        Some(name) => name.to_string(),
        None if address.is_ipv6() => format!("[{}]", address.ip()),
        None => address.ip().to_string(),
    };
    if address.port() != default_port {
        let _infallible = write!(host, ":{}", address.port());
    }
    host
}

/// Asks, and judges what comes until `deadline`.
pub(super) async fn ask<S>(
    stream: S,
    question: &HttpProbe,
    host: &str,
    deadline: Instant,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(question, host)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure::of_exchange(&error, "HTTP"))?;
    let exchange = async {
        let answer = timeout_at(deadline, sender.send_request(request));
        let answer = answer.await.map_err(|_elapsed| Failure::TimedOut)?;
        let answer = answer.map_err(|error| failure::of_exchange(&error, "HTTP"))?;
        judge_status(&answer, question)?;
        match &question.body {
            None => Ok(()),
            Some(wanted) => {
                let looked = timeout_at(deadline, look_for(wanted.as_bytes(), answer.into_body()));
                // It answered, and too slowly for its check: that is no dead path.
                looked
                    .await
                    .unwrap_or_else(|_elapsed| Err(answer_text("body not complete in time")))
            }
        }
    };
    let mut exchange = pin!(exchange);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        judged = &mut exchange => judged,
        // The connection is over, but what it brought may still lie unread.
        _ended = &mut connection => exchange.await,
    }
}

fn request(question: &HttpProbe, host: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    Request::get(question.path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Failure::Local(Arc::from(format!("the request cannot be made: {error}"))))
}

fn judge_status(answer: &Response<Incoming>, question: &HttpProbe) -> Result<(), Failure> {
    let status = answer.status().as_u16();
    let (first, last) = question.status;
    if (first..=last).contains(&status) {
        return Ok(());
    }
    let wanted = if first == last {
        format!("{first}")
    } else {
        format!("{first}-{last}")
    };
    Err(answer_text(&format!("HTTP {status}, not {wanted}")))
}

/// Reads until `wanted` was there, or the part that is looked at is over.
async fn look_for(wanted: &[u8], mut body: Incoming) -> Result<(), Failure> {
    let mut seen = Vec::new();
    while seen.len() < BODY_LOOKED_AT {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|error| failure::of_exchange(&error, "HTTP body"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        // The match may straddle two frames.
        let from = seen.len().saturating_sub(wanted.len());
        let room = BODY_LOOKED_AT - seen.len();
        seen.extend_from_slice(&data[..data.len().min(room)]);
        if contains(&seen[from..], wanted) {
            return Ok(());
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    Err(answer_text("body does not hold the text asked for"))
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || hay.windows(needle.len()).any(|window| window == needle)
}

fn answer_text(what: &str) -> Failure {
    Failure::Answer(Arc::from(what))
}
