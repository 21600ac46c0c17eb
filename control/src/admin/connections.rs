//! Accepts HTTP/1.1 connections for the admin and readiness servers and bounds what one may cost: how many there are, how long a
//! head may take, how long a reader may stand still. Owns its tasks: when the future is dropped, all connections end. Told to stop
//! it accepts no more and lets the answers under way finish.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// For the whole head, and for the wait before the next request on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader whose window stays shut for this long is gone (`TCP_USER_TIMEOUT` covers a zero window, tcp(7)).
const STALLED_READER: Duration = Duration::from_secs(20);

/// The largest head, and what is buffered of an answer.
const BUFFER: usize = 64 * 1024;

/// When accepting fails for want of descriptors or memory, trying again at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a standing accept error is said.
const ERROR_AGAIN: Duration = Duration::from_secs(60);

/// How long answers under way may take once told to stop: an event stream never ends by itself.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Serves `router` on `listener`, `most` connections at once; further ones wait in the kernel's queue. Ends once `stop`
/// is cancelled, with the listener closed first.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    let mut said: Option<Instant> = None;
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (Ok(permit), accepted) = (tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        }) else {
            break;
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    answer(stream, router, stop).await;
                    drop(permit);
                });
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if said.is_none_or(|said| said.elapsed() >= ERROR_AGAIN) {
                    warn!(%error, "admin or readiness connections cannot be accepted");
                    said = Some(Instant::now());
                }
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Those that are left are cut: their readers have had their time.
    let _ = timeout(LAST_ANSWERS, all).await;
    Ok(())
}

/// The connection failed before it was accepted: accept(2) reports that to us, and the next may be fine.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Without these answers are slower or a dead reader stays longer; neither is worth refusing the connection.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_READER));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // What ends a connection early is the client's affair: it went away, or spoke no HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
