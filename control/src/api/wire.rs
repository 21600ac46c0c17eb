//! AWS JSON 1.1 over HTTP/1.1: every call is a `POST /` whose `X-Amz-Target` names the operation. Bounds what a client may cost;
//! owns its tasks: when the future is dropped, all connections end.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::arn::uuid;
use super::audit::Asker;
use super::engine::Engine;
use super::errors::{ApiError, Exception};
use super::limiter::Limiter;
use super::operations::Operation;
use super::seats::Seats;
use super::sigv4::Keys;

/// The largest body. The largest request that the model allows, 500 resources in an attachment, is below 300 KiB.
const BODY_LIMIT: usize = 1 << 20;

/// The most values in a body: a thousand resources with their members are half of it.
const VALUES: usize = 10_000;

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// For a whole head, and for the wait before the next request on the same connection. Clients keep connections for a while.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A reader whose window stays shut for this long is gone.
const STALLED_READER: Duration = Duration::from_secs(20);

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// Requests that are worked on at once: this bounds the memory that JSON can take.
const REQUESTS: usize = 16;

/// Bodies up to this size are read without waiting for anybody: those of all connections together are a few megabytes, so that who
/// sends slowly holds nobody up.
const SMALL: u64 = 64 * 1024;

/// Larger bodies that are read at once.
const LARGE_BODIES: usize = 16;

/// The largest head.
const BUFFER: usize = 64 * 1024;

/// When accepting fails for want of descriptors or memory, trying again at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const TARGET_PREFIX: &str = "GlobalAccelerator_V20180706.";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

struct Server {
    engine: Arc<Engine>,
    keys: Keys,
    limiter: Mutex<Limiter>,
    seats: Seats,
    requests: Semaphore,
    large_bodies: Semaphore,
}

/// Answers on `listener`.
pub(crate) async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    keys: Keys,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = Arc::new(Server {
        engine,
        keys,
        limiter: Mutex::default(),
        seats: Seats::default(),
        requests: Semaphore::new(REQUESTS),
        large_bodies: Semaphore::new(LARGE_BODIES),
    });
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return Ok(());
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Who has more than its share is hung up on.
                let Some(seat) = server.seats.take(peer.ip()) else {
                    continue;
                };
                let server = server.clone();
                connections.spawn(async move {
                    connection(stream, peer, server).await;
                    drop((seat, permit));
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "API connections cannot be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, server: Arc<Server>) {
    // Without these answers are slower or a dead reader stays longer; neither is worth refusing the connection.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_READER));
    let answer = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(server.answer(request, peer.ip()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    // What ends a connection early is the client's affair: it went away, or spoke no HTTP.
    let _ = connection.await;
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Response<Full<Bytes>> {
        let request_id = uuid(rand::random());
        let answered = self.handle(request, client, &request_id).await;
        let (status, body) = match answered {
            Ok(value) => (StatusCode::OK, value),
            Err(error) => {
                debug!(%client, request_id, %error, "API request refused");
                let ApiError { exception, message } = error;
                (
                    exception.status(),
                    json!({ "__type": exception.name(), "Message": message }),
                )
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if matches!(
            status,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) {
            // The rest of the body is not worth reading.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        client: IpAddr,
        request_id: &str,
    ) -> Result<Value, ApiError> {
        let (head, body) = request.into_parts();
        if !self
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admits(client, Instant::now())
        {
            return Err(Exception::Throttling.because("Rate exceeded"));
        }
        if head.method != Method::POST || head.uri.path() != "/" {
            return Err(Exception::UnknownOperation.because("every operation is a POST to /"));
        }
        if self.keys.is_open() {
            refuse_browsers(&head.headers)?;
        }
        let large = match announced(&head.headers) {
            Some(length) if length <= SMALL => None,
            Some(_) | None => Some(self.large_bodies.acquire().await),
        };
        let body = read_body(&head.headers, body).await?;
        let caller = self.keys.verify(&head.headers, &body, SystemTime::now())?;
        let operation = operation(&head.headers)?;
        let _request = self.requests.acquire().await;
        let input = parse(&body)?;
        drop((body, large));
        let asker = Asker {
            caller,
            client,
            request_id: request_id.to_owned(),
        };
        self.engine.clone().call(operation, input, asker).await
    }
}

fn operation(headers: &HeaderMap) -> Result<Operation, ApiError> {
    let target = headers
        .get(TARGET)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = target.strip_prefix(TARGET_PREFIX);
    name.and_then(Operation::by_name).ok_or_else(|| {
        Exception::UnknownOperation.because("X-Amz-Target names no operation of Global Accelerator")
    })
}

/// Without signatures a page that somebody looks at could ask for changes through their browser: by a name of its own that
/// resolves to this host, or across origins.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        match port.bytes().all(|b| b.is_ascii_digit()) {
            true => name,
            false => host,
        }
    });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let ours = bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback());
    if !ours || headers.contains_key(header::ORIGIN) {
        let message = "Without [api] credentials only clients on this host are answered, by its loopback address or as localhost";
        return Err(Exception::AccessDenied.because(message));
    }
    Ok(())
}

/// The length that a body says it has.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

async fn read_body(headers: &HeaderMap, body: Incoming) -> Result<Bytes, ApiError> {
    let too_large = || {
        Exception::RequestEntityTooLarge.because(format!("A body has at most {BODY_LIMIT} bytes"))
    };
    if announced(headers).is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(Exception::Serialization.because(format!("the body broke off: {error}")))
        }
        Err(_) => Err(Exception::RequestTimeout.because("The body did not come in time")),
    }
}

/// An empty body is an empty object. serde_json bounds the depth of what it reads.
fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let broken = |what: &dyn std::fmt::Display| {
        Exception::Serialization.because(format!("the body is no JSON: {what}"))
    };
    if values(body) > VALUES {
        return Err(broken(&"it has more values than any request needs"));
    }
    serde_json::from_slice(body).map_err(|error| broken(&error))
}

/// How many values a JSON text may have, counted by what separates them; a value in memory is a hundred times its text.
fn values(body: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}
