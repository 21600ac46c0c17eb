//! The connect that every probe begins with, and that measures the round trip.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_config::address::EndpointAddr;
use portolan_config::health::Failure;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::failure;

/// Connects; with the time that it took.
pub(super) async fn connect(
    to: EndpointAddr,
    deadline: Instant,
) -> Result<(TcpStream, Duration), Failure> {
    let socket = match to.0 {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|error| failure::of_connect(&error))?;
    let began = Instant::now();
    let stream = match timeout_at(deadline, socket.connect(to.0)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failure::of_connect(&error)),
        Err(_elapsed) => return Err(Failure::TimedOut),
    };
    let took = began.elapsed();
    if is_connected_to_itself(&stream) {
        close_by_reset(&stream);
        return Err(Failure::Refused);
    }
    // A request of one small segment must not wait for anything; where it cannot be set it only waits.
    let _ = stream.set_nodelay(true);
    Ok((stream, took))
}

/// Makes the close to come a reset: nothing lingers in TIME_WAIT at either end, however many probes there are.
pub(crate) fn close_by_reset(stream: &TcpStream) {
    // Where it cannot be set the close is an ordinary one.
    let _ = stream.set_zero_linger();
}

/// On this host, a connect to a port in the ephemeral range that nobody listens at can draw that very port as its own, and
/// then simultaneous open (RFC 9293 §3.5) connects the socket to itself.
pub(super) fn is_connected_to_itself(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local == peer,
        (Ok(_), Err(_)) | (Err(_), Ok(_) | Err(_)) => false,
    }
}
