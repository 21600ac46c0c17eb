//! Endpoints for tests, all on loopback: ones that refuse, swallow SYNs, accept and say nothing, or answer what they are told to.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan_config::address::EndpointAddr;
use portolan_config::model::{HealthCheck, HttpProbe, Probe};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::target::ProbeTarget;

/// Far beyond what anything here takes on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Waits for `what`, and says so when it does not come.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_elapsed) => panic!("not in time: {what}"),
    }
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    in_time(what, async {
        while !holds() {
            tokio::time::sleep(ms(2)).await;
        }
    })
    .await;
}

pub(crate) fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        port: None,
        interval: ms(100),
        fast_interval: ms(50),
        timeout: Duration::from_secs(2),
        healthy_threshold: NonZeroU8::new(2).unwrap(),
        unhealthy_threshold: NonZeroU8::new(2).unwrap(),
        jitter: 0.0,
    }
}

/// Probed once at the beginning and not again within a test.
pub(crate) fn seldom(probe: Probe) -> HealthCheck {
    HealthCheck {
        interval: DEADLINE * 10,
        ..check(probe)
    }
}

pub(crate) fn target(address: SocketAddr, check: HealthCheck) -> ProbeTarget {
    ProbeTarget {
        address: EndpointAddr(address),
        check: Arc::new(check),
        name: None,
    }
}

pub(crate) fn question() -> HttpProbe {
    HttpProbe {
        path: "/health".into(),
        host: None,
        status: (200, 399),
        body: None,
    }
}

/// A port that is ours and refuses, until it listens.
pub(crate) struct Refusing(Socket);

impl Refusing {
    pub(crate) fn new() -> (Self, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (Self(socket), address)
    }

    pub(crate) fn listen(self) -> Accepting {
        self.0.listen(1024).unwrap();
        self.0.set_nonblocking(true).unwrap();
        Accepting::from_listener(TcpListener::from_std(self.0.into()).unwrap(), say_nothing)
    }
}

/// A port that answers no further SYN: its accept queue is full, and Linux drops SYNs to a full queue.
pub(crate) struct Swallowing {
    _listener: Socket,
    _queued: Vec<StdStream>,
}

impl Swallowing {
    pub(crate) fn new() -> (Self, SocketAddr) {
        let (refusing, address) = Refusing::new();
        (Self::fill(refusing.0, address), address)
    }

    fn fill(listener: Socket, address: SocketAddr) -> Self {
        listener.listen(0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = StdStream::connect_timeout(&address, ms(100)) {
            queued.push(stream);
            assert!(queued.len() < 16, "the queue does not fill");
        }
        Self {
            _listener: listener,
            _queued: queued,
        }
    }
}

/// A port that accepts and counts; dropping it closes the port and all its connections.
pub(crate) struct Accepting {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    pub(crate) open: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Accepting {
    pub(crate) async fn serving<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        Self::from_listener(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    pub(crate) async fn silent() -> Self {
        Self::serving(say_nothing).await
    }

    /// Answers every request with these bytes, then closes.
    pub(crate) async fn answering(answer: &str) -> Self {
        let answer = Arc::<str>::from(answer);
        Self::serving(move |stream| say(stream, Arc::clone(&answer))).await
    }

    fn from_listener<F, S>(listener: TcpListener, serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (counted, opened) = (Arc::clone(&accepted), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut flows = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                opened.fetch_add(1, Ordering::SeqCst);
                let (served, opened) = (serve(stream), Arc::clone(&opened));
                flows.spawn(async move {
                    served.await;
                    opened.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            accepted,
            open,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads until the other side is gone.
pub(crate) async fn say_nothing(mut stream: TcpStream) {
    let mut scratch = [0; 1024];
    while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
}

async fn say(mut stream: TcpStream, answer: Arc<str>) {
    read_request(&mut stream).await;
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    say_nothing(stream).await;
}

/// The request's head, as text.
pub(crate) async fn read_request<S: AsyncReadExt + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    let mut scratch = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => break,
            Ok(n) => head.extend_from_slice(&scratch[..n]),
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
