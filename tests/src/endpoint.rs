//! Endpoints in this process: what they do with a connection is a function, how they fail is the test's choice.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deadline::{PATIENCE, until};
use crate::http::Status;
use crate::{http, place};

/// What an endpoint does with one connection. When the future ends, the connection is closed.
pub type Behaviour = Arc<dyn Fn(TcpStream, Arc<Seen>) -> Serving + Send + Sync>;

type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// What an endpoint saw.
#[derive(Debug, Default)]
pub struct Seen {
    id: String,
    accepted: AtomicUsize,
    live: AtomicUsize,
    lines: Mutex<HashSet<String>>,
    heads: Mutex<Vec<Vec<u8>>>,
}

impl Seen {
    /// Connections it took.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections it has.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Whether this line reached it.
    pub fn line(&self, line: &str) -> bool {
        self.lines.lock().expect("no holder panics").contains(line)
    }

    /// What [`capturing`] caught.
    pub fn heads(&self) -> Vec<Vec<u8>> {
        self.heads.lock().expect("no holder panics").clone()
    }

    fn note_lines(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.lines
            .lock()
            .expect("no holder panics")
            .extend(text.lines().map(str::to_owned));
    }
}

/// How an endpoint fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Everything works.
    Serving,
    /// Nothing new is taken, live connections go on.
    Refusing,
    /// Nothing new is taken, and what goes to live connections is lost: the host came back without them.
    Vanished,
    /// SYNs are lost, as is what goes to live connections: the host is unreachable.
    Swallowing,
    /// The process was killed: nothing new is taken, live connections are reset.
    Killed,
}

/// An endpoint.
pub struct Endpoint {
    address: SocketAddr,
    seen: Arc<Seen>,
    life: watch::Sender<Life>,
    listening: watch::Receiver<Option<Life>>,
    listener: JoinHandle<()>,
}

impl Endpoint {
    /// Starts one at an address of its own that says its id.
    pub async fn named(id: &str) -> Endpoint {
        Endpoint::start(id, naming()).await
    }

    /// Starts one at an address of its own.
    pub async fn start(id: &str, behaviour: Behaviour) -> Endpoint {
        Endpoint::start_at(place::fresh(), id, behaviour).await
    }

    /// Starts one.
    pub async fn start_at(address: SocketAddr, id: &str, behaviour: Behaviour) -> Endpoint {
        let seen = Arc::new(Seen {
            id: id.to_owned(),
            ..Seen::default()
        });
        let (life, commands) = watch::channel(Life::Serving);
        let (report, listening) = watch::channel(None);
        let accepting = Accepting {
            address,
            behaviour,
            seen: Arc::clone(&seen),
            life: commands,
            report,
        };
        let endpoint = Endpoint {
            address,
            seen,
            life,
            listening,
            listener: tokio::spawn(accepting.run()),
        };
        endpoint.be(Life::Serving).await;
        endpoint
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.seen.id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw.
    pub fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// As if its process were killed: connects are refused, live connections reset.
    pub async fn kill(&self) {
        self.be(Life::Killed).await;
        until("all connections are reset", PATIENCE, async || {
            self.seen.live() == 0
        })
        .await;
    }

    /// Connects are refused, live connections go on.
    pub async fn refuse(&self) {
        self.be(Life::Refusing).await;
    }

    /// Connects are refused, live connections neither speak nor acknowledge any more.
    pub async fn vanish(&self) {
        self.be(Life::Vanished).await;
    }

    /// A black hole: neither connects nor live connections are answered.
    pub async fn swallow(&self) {
        self.be(Life::Swallowing).await;
    }

    /// All is well again, at the same address.
    pub async fn revive(&self) {
        self.be(Life::Serving).await;
    }

    async fn be(&self, life: Life) {
        self.life.send_replace(life);
        let what = format!("endpoint {} is {life:?}", self.id());
        until(&what, PATIENCE, async || {
            *self.listening.borrow() == Some(life)
        })
        .await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.listener.abort();
        self.life.send_replace(Life::Killed);
    }
}

/// The task that owns the listening socket.
struct Accepting {
    address: SocketAddr,
    behaviour: Behaviour,
    seen: Arc<Seen>,
    life: watch::Receiver<Life>,
    report: watch::Sender<Option<Life>>,
}

impl Accepting {
    async fn run(mut self) {
        loop {
            // SO_REUSEADDR is on: the connections of a life before do not stand in the way.
            let bound = TcpListener::bind(self.address).await;
            let listener = bound.unwrap_or_else(|error| panic!("{}: {error}", self.address));
            self.report.send_replace(Some(Life::Serving));
            let fate = self.accept_until_changed(&listener).await;
            self.take_waiting(&listener).await;
            let _deaf = match fate {
                Life::Swallowing => {
                    let fillers = swallow(&listener, self.address).await;
                    if fillers.is_empty() {
                        self.take_waiting(&listener).await;
                    }
                    Some((fillers, listener))
                }
                Life::Serving | Life::Refusing | Life::Vanished | Life::Killed => {
                    drop(listener);
                    None
                }
            };
            self.report.send_replace(Some(fate));
            self.changed_from(fate).await;
        }
    }

    async fn accept_until_changed(&self, listener: &TcpListener) -> Life {
        let mut life = self.life.clone();
        loop {
            tokio::select! {
                biased;
                fate = life.wait_for(|life| *life != Life::Serving) => {
                    return fate.map_or(Life::Killed, |fate| *fate);
                }
                Ok((stream, _)) = listener.accept() => self.take(stream),
            }
        }
    }

    /// Whoever is in the queue has been answered by the kernel, and shares the fate of those before it.
    async fn take_waiting(&self, listener: &TcpListener) {
        while let Ok(Ok((stream, _))) =
            tokio::time::timeout(Duration::ZERO, listener.accept()).await
        {
            self.take(stream);
        }
    }

    async fn changed_from(&mut self, fate: Life) {
        if self.life.wait_for(|life| *life != fate).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn take(&self, stream: TcpStream) {
        self.seen.accepted.fetch_add(1, Ordering::SeqCst);
        self.seen.live.fetch_add(1, Ordering::SeqCst);
        let (behaviour, seen, life) = (
            Arc::clone(&self.behaviour),
            Arc::clone(&self.seen),
            self.life.clone(),
        );
        tokio::spawn(async move {
            // A test may go on to something else and let the connection's error be: what matters is what the client saw.
            let _ = serve(stream, behaviour, &seen, life).await;
            seen.live.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    stream: TcpStream,
    behaviour: Behaviour,
    seen: &Arc<Seen>,
    mut life: watch::Receiver<Life>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A second descriptor of the same socket: the behaviour owns the first, and a reset needs the last.
    let twin = SockRef::from(&stream).try_clone()?;
    let mut serving = behaviour(stream, Arc::clone(seen));
    loop {
        let fate = *life.borrow_and_update();
        // Where the kernel may not be told to drop what comes, at least nobody reads and answers it.
        let frozen = match fate {
            Life::Serving | Life::Refusing => {
                undeafen(&SockRef::from(&twin));
                false
            }
            Life::Vanished | Life::Swallowing => !deafen(&SockRef::from(&twin)),
            Life::Killed => break,
        };
        tokio::select! {
            biased;
            changed = life.changed() => if changed.is_err() { break },
            done = &mut serving, if !frozen => return done,
        }
    }
    let mut unread = [0; 4096];
    while let Ok(len @ 1..) = (&twin).read(&mut unread) {
        seen.note_lines(&unread[..len]);
    }
    twin.set_linger(Some(Duration::ZERO))
}

/// From here on the kernel answers no SYN to this socket. Gives what must be held for that.
async fn swallow(listener: &TcpListener, address: SocketAddr) -> Vec<TcpStream> {
    if deafen(&SockRef::from(listener)) {
        return Vec::new();
    }
    // Without the right: a backlog of nothing, filled until a SYN stays unanswered.
    SockRef::from(listener)
        .listen(0)
        .expect("a listening socket may be told its backlog again");
    let mut fillers = Vec::new();
    // Far less than the first retransmission of a SYN, far more than a connect on loopback takes.
    let quick = Duration::from_millis(300);
    while let Ok(Ok(stream)) = tokio::time::timeout(quick, TcpStream::connect(address)).await {
        fillers.push(stream);
    }
    fillers
}

/// From here on the kernel drops every segment for this socket, unanswered. Not everywhere may everybody: `false` says so.
fn deafen(socket: &SockRef<'_>) -> bool {
    // BPF_RET | BPF_K with 0: of each packet nothing is kept.
    let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
    socket.attach_filter(&drop_all).is_ok()
}

fn undeafen(socket: &SockRef<'_>) {
    // There is none to take off when it was never deaf.
    let _ = socket.detach_filter();
}

fn behaviour<F>(serve: impl Fn(TcpStream, Arc<Seen>) -> F + Send + Sync + 'static) -> Behaviour
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    Arc::new(move |stream, seen| Box::pin(serve(stream, seen)))
}

/// Any function of a connection.
pub fn custom<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Behaviour
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    behaviour(move |stream, _| serve(stream))
}

/// Sends back what it gets, and closes its direction when the client has closed the other.
pub fn echo() -> Behaviour {
    custom(async |mut stream: TcpStream| {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await?;
        to.shutdown().await
    })
}

/// The same, over a path that loses one in a hundred of the segments toward it.
pub fn lossy() -> Behaviour {
    custom(async |mut stream: TcpStream| {
        // Where it may not be: without loss it is an echo like any other.
        let _ = SockRef::from(&stream).attach_filter(&LOSE_ONE_IN_A_HUNDRED);
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await?;
        to.shutdown().await
    })
}

/// `A = random; if A > u32::MAX / 100 take all of the packet, else none of it`.
const LOSE_ONE_IN_A_HUNDRED: [SockFilter; 4] = [
    SockFilter::new(0x20, 0, 0, 0xffff_f000 + 56),
    SockFilter::new(0x25, 0, 1, u32::MAX / 100),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

/// Answers the first thing it is told with its id; what is told it later on the same connection is lost on the way.
pub fn deaf_after_the_first_line() -> Behaviour {
    behaviour(async |mut stream: TcpStream, seen: Arc<Seen>| {
        let _first = stream.read(&mut [0; 4096]).await?;
        deafen(&SockRef::from(&stream));
        stream
            .write_all(format!("{}\n", seen.id).as_bytes())
            .await?;
        std::future::pending().await
    })
}

/// Answers every line with its id, after a while.
pub fn thinking(pause: Duration) -> Behaviour {
    behaviour(move |mut stream, seen| async move {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await? > 0 {
            tokio::time::sleep(pause).await;
            stream
                .write_all(format!("{}\n", seen.id).as_bytes())
                .await?;
        }
        Ok(())
    })
}

/// Answers every line with its id.
pub fn naming() -> Behaviour {
    behaviour(|stream, seen| answer_lines(stream, seen, false))
}

/// Says its id before the client has said anything, then answers lines with it.
pub fn greeting() -> Behaviour {
    behaviour(|stream, seen| answer_lines(stream, seen, true))
}

async fn answer_lines(mut stream: TcpStream, seen: Arc<Seen>, greet: bool) -> io::Result<()> {
    let answer = format!("{}\n", seen.id);
    if greet {
        stream.write_all(answer.as_bytes()).await?;
    }
    let mut buffer = [0; 4096];
    let mut partial = Vec::new();
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        partial.extend_from_slice(&buffer[..len]);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            seen.note_lines(&partial[..end]);
            partial.drain(..=end);
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Answers HTTP requests with its id; `/health` with a status that the test can change.
pub fn web(status: &Status) -> Behaviour {
    let status = status.clone();
    behaviour(move |stream, seen| {
        let status = status.clone();
        async move { http::serve(stream, status, &seen.id).await }
    })
}

/// Accepts, and neither reads nor writes.
pub fn silent() -> Behaviour {
    custom(async |stream: TcpStream| {
        let _open = stream;
        std::future::pending().await
    })
}

/// Accepts and resets at once.
pub fn resetting() -> Behaviour {
    custom(async |stream: TcpStream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)))
}

/// Keeps what each connection began with, up to a pause or its end, and answers with its id.
pub fn capturing() -> Behaviour {
    behaviour(async |mut stream: TcpStream, seen: Arc<Seen>| {
        let mut head = vec![0; 8192];
        let mut len = 0;
        while !head[..len].ends_with(b"\n.\n") {
            match stream.read(&mut head[len..]).await? {
                0 => break,
                more => len += more,
            }
        }
        head.truncate(len);
        seen.heads.lock().expect("no holder panics").push(head);
        stream.write_all(format!("{}\n", seen.id).as_bytes()).await
    })
}
