//! The self-check: can this PoP serve an address? A connection is made to one of our own listeners on it, through the data path, and dropped.
//! A refused or silent one fails; so does one that is reset although an endpoint is up. When no endpoint is up the path cannot be judged,
//! and the PoP stays: elsewhere it is no better (fail open). So it does while flows are refused for want of room: see `room.rs`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::plan::Check;

/// Local, so whatever takes longer is broken.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A flow that finds no endpoint is reset sooner than this by far, where the endpoints refuse.
const RESET_WITHIN: Duration = Duration::from_millis(300);

/// Failures in a row that count.
const FAILURES: u32 = 3;

/// Between two checks of a path: by the third all endpoints that are dead are known to be.
const HEALTH_TIME: Duration = Duration::from_secs(1);

/// Checks under way at once.
const AT_ONCE: usize = 64;

/// What is asked about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Connect here; the flag says whether an endpoint behind it is up, and the edge has room for a flow.
    Connect { to: SocketAddr, has_up: bool },
    /// There is nothing that could be connected to; these are the kernel's words on its listeners.
    Listens { error: Option<String> },
}

/// What is known of each address.
#[derive(Default)]
pub(super) struct Checks {
    known: HashMap<IpAddr, Known>,
    running: JoinSet<(IpAddr, Result<(), Trouble>)>,
}

/// What a check met.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// Our listener does not take connections.
    Listener(String),
    /// It does, and they come to no endpoint, though one is up. While endpoints fall that is so until all are known to have fallen.
    Path(String),
}

#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    failures: u32,
    last: Option<Result<(), Trouble>>,
    is_asked: bool,
}

impl Checks {
    /// Begins the checks that are due, and takes up the results of those that are done.
    pub(super) fn go_on(&mut self, questions: &HashMap<IpAddr, Question>, every: Option<Duration>) {
        self.known
            .retain(|address, _| questions.contains_key(address));
        while let Some(done) = self.running.try_join_next() {
            if let Ok((address, result)) = done
                && let Some(known) = self.known.get_mut(&address)
            {
                known.is_asked = false;
                known.note(result);
            }
        }
        for (address, question) in questions {
            let known = self.known.entry(*address).or_default();
            match (question, every) {
                (Question::Listens { error }, _) => {
                    let result = error.clone().map(Trouble::Listener).map_or(Ok(()), Err);
                    // The kernel's word needs no second opinion.
                    known.failures = if result.is_err() { FAILURES } else { 0 };
                    known.last = Some(result);
                }
                (Question::Connect { .. }, None) => known.note(Ok(())),
                (Question::Connect { to, has_up }, Some(every)) => {
                    known.forgive(*has_up);
                    let every = known.pause(every);
                    let due = known.asked.is_none_or(|asked| asked.elapsed() >= every);
                    if due && !known.is_asked && self.running.len() < AT_ONCE {
                        known.is_asked = true;
                        known.asked = Some(Instant::now());
                        let (address, to, has_up) = (*address, *to, *has_up);
                        self.running
                            .spawn(async move { (address, connect(to, has_up).await) });
                    }
                }
            }
        }
    }

    /// What is known of an address.
    pub(super) fn of(&self, address: &IpAddr) -> Check {
        let Some(known) = self.known.get(address) else {
            return Check::Unknown;
        };
        match &known.last {
            None => Check::Unknown,
            Some(Ok(())) => Check::Passes,
            Some(Err(Trouble::Listener(why) | Trouble::Path(why)))
                if known.failures >= FAILURES =>
            {
                Check::Fails(why.clone())
            }
            Some(Err(_)) => Check::Unknown,
        }
    }
}

impl Known {
    /// What fails is asked again sooner; a path not before the health of the endpoints had its time.
    fn pause(&self, every: Duration) -> Duration {
        match &self.last {
            Some(Err(Trouble::Listener(_))) => every / 4,
            Some(Err(Trouble::Path(_))) => (every / 4).max(HEALTH_TIME),
            Some(Ok(())) | None => every,
        }
    }

    /// Once no endpoint is up a path that led to none was no fault of ours.
    fn forgive(&mut self, has_up: bool) {
        if !has_up && matches!(self.last, Some(Err(Trouble::Path(_)))) {
            self.note(Ok(()));
        }
    }

    fn note(&mut self, result: Result<(), Trouble>) {
        self.failures = match &result {
            Ok(()) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        self.last = Some(result);
    }
}

async fn connect(to: SocketAddr, has_up: bool) -> Result<(), Trouble> {
    let deaf = |why: String| Err(Trouble::Listener(format!("{to} does not accept: {why}")));
    let mut stream = match timeout(CONNECT_WITHIN, from_itself(to)).await {
        Err(_) => return deaf("no answer".into()),
        Ok(Err(error)) => return deaf(error.to_string()),
        Ok(Ok(stream)) => stream,
    };
    let mut byte = [0];
    match timeout(RESET_WITHIN, stream.read(&mut byte)).await {
        Ok(Err(error)) if has_up => Err(Trouble::Path(format!(
            "a connection to {to} finds no endpoint although one is up: {error}"
        ))),
        // A greeting, an end, or silence: it is served; or it is reset and no endpoint is up, which is not ours.
        Ok(Ok(_)) | Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// From the address to itself: were it on no interface of this host, the connection would go to another PoP and be answered there.
async fn from_itself(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(to.ip(), 0))?;
    socket.connect(to).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_that_accepts_passes_and_one_that_is_not_there_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        assert_eq!(connect(at, true).await, Ok(()));
        drop(listener);
        assert!(connect(at, true).await.is_err());
    }

    #[tokio::test]
    async fn a_reset_fails_only_where_an_endpoint_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).expect("a socket");
            }
        });
        assert!(connect(at, true).await.is_err());
        assert_eq!(connect(at, false).await, Ok(()));
    }

    #[test]
    fn one_failure_is_none() {
        let mut known = Known::default();
        let no = || Err(Trouble::Listener("no".into()));
        known.note(no());
        let mut checks = Checks::default();
        let address: IpAddr = "203.0.113.10".parse().expect("an address");
        checks.known.insert(address, known);
        assert_eq!(checks.of(&address), Check::Unknown);
        let known = checks.known.get_mut(&address).expect("it is there");
        known.note(no());
        known.note(no());
        assert_eq!(checks.of(&address), Check::Fails("no".into()));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_no_failure_once_no_endpoint_is_up() {
        let every = Duration::from_millis(200);
        let mut known = Known::default();
        known.note(Err(Trouble::Path("nobody".into())));
        assert_eq!(known.pause(every), HEALTH_TIME, "health decides meanwhile");
        known.forgive(true);
        assert_eq!(known.failures, 1, "an endpoint is up");
        known.forgive(false);
        assert_eq!((known.failures, known.last.clone()), (0, Some(Ok(()))));
        known.note(Err(Trouble::Listener("deaf".into())));
        known.forgive(false);
        assert_eq!(known.failures, 1, "a listener is ours alone");
        assert_eq!(known.pause(every), every / 4);
    }
}
