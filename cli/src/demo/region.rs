//! A region of the demo: endpoints on loopback that answer over TCP and UDP after a delay, as if far away, and that can go dark the way a
//! site does which lost its power: a SYN gets no answer, the connections that are there fall silent, datagrams are swallowed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Asked for one line and the end of the connection.
pub(super) const ASK_ONCE: u8 = b'o';
/// Asked for a line now and a dot every [`TICK`], for ever.
pub(super) const SUBSCRIBE: u8 = b's';
/// How often a subscriber hears from its endpoint.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Room for the connects of a busy moment; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 1024;
/// A connect on loopback that takes this long is not answered at all.
const UNANSWERED: Duration = Duration::from_millis(25);

/// A region of the demo.
pub(super) struct Region {
    /// Its name.
    pub(super) name: &'static str,
    /// How far it is made to look: every answer takes this long.
    pub(super) distance: Duration,
    endpoints: Vec<Arc<TcpListener>>,
    powered: watch::Sender<bool>,
    // Dropping it ends the endpoints.
    _serving: JoinSet<()>,
}

/// A region without power, until it is given to [`Region::come_back`].
pub(super) struct Dark {
    /// From here on no endpoint of the region answered a SYN.
    pub(super) since: Instant,
    _queued: Vec<TcpStream>,
}

impl Region {
    /// Opens `endpoints` endpoints on ephemeral ports.
    pub(super) async fn open(
        name: &'static str,
        distance: Duration,
        endpoints: usize,
    ) -> io::Result<Self> {
        let (powered, _) = watch::channel(true);
        let mut region = Self {
            name,
            distance,
            endpoints: Vec::new(),
            powered,
            _serving: JoinSet::new(),
        };
        for _ in 0..endpoints {
            let (listener, socket) = bind().await?;
            let listener = Arc::new(listener);
            region.endpoints.push(Arc::clone(&listener));
            let endpoint = Endpoint {
                name,
                distance,
                powered: region.powered.subscribe(),
            };
            region
                ._serving
                .spawn(endpoint.clone().serve_datagrams(Arc::new(socket)));
            region._serving.spawn(endpoint.serve(listener));
        }
        Ok(region)
    }

    /// Where its endpoints are.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.endpoints
            .iter()
            .map(|listener| listener.local_addr())
            .collect()
    }

    /// Cuts the power, and proves by trying that no SYN is answered any more.
    pub(super) async fn go_dark(&self) -> anyhow::Result<Dark> {
        self.powered.send_replace(false);
        let mut filling = JoinSet::new();
        for listener in &self.endpoints {
            filling.spawn(swallow_syns(Arc::clone(listener)));
        }
        let mut dark = Dark {
            since: Instant::now(),
            _queued: Vec::new(),
        };
        while let Some(filled) = filling.join_next().await {
            let (since, queued) = filled.context("an endpoint of the demo is gone")??;
            dark.since = dark.since.max(since);
            dark._queued.extend(queued);
        }
        Ok(dark)
    }

    /// Gives the power back; what was connected before is gone, as after a restart.
    pub(super) fn come_back(&self, dark: Dark) -> io::Result<()> {
        drop(dark);
        for listener in &self.endpoints {
            SockRef::from(&**listener).listen(BACKLOG)?;
        }
        self.powered.send_replace(true);
        Ok(())
    }
}

/// One endpoint.
#[derive(Clone)]
struct Endpoint {
    name: &'static str,
    distance: Duration,
    powered: watch::Receiver<bool>,
}

impl Endpoint {
    async fn serve(self, listener: Arc<TcpListener>) {
        let mut powered = self.powered.clone();
        let mut connections = JoinSet::new();
        // An error is the end of the region.
        while powered.wait_for(|on| *on).await.is_ok() {
            tokio::select! {
                // The switch first, so that nothing is accepted once it is off.
                biased;
                _ = powered.wait_for(|on| !*on) => {}
                Ok((client, _)) = listener.accept() => {
                    connections.spawn(self.clone().answer(client));
                    while connections.try_join_next().is_some() {}
                }
            }
        }
    }

    /// Answers each question with what it began with, and the region's name; swallows it while the power is off.
    async fn serve_datagrams(self, socket: Arc<UdpSocket>) {
        let mut buffer = [0; 64];
        let mut answers = JoinSet::new();
        loop {
            // An error is an earlier answer's, whose client is gone.
            let Ok((len, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            if !*self.powered.borrow() {
                continue;
            }
            let answer = [&buffer[..len], self.name.as_bytes()].concat();
            let (endpoint, socket) = (self.clone(), Arc::clone(&socket));
            answers.spawn(async move {
                sleep(endpoint.distance).await;
                if *endpoint.powered.borrow() {
                    let _ = socket.send_to(&answer, client).await;
                }
            });
            while answers.try_join_next().is_some() {}
        }
    }

    /// One connection; falls silent, but stays, while the power is off.
    async fn answer(mut self, mut client: TcpStream) {
        tokio::select! {
            biased;
            _ = self.powered.wait_for(|on| !*on) => {}
            _ = converse(&mut client, self.name, self.distance) => return,
        }
        // An error is the end of the region.
        let _ = self.powered.wait_for(|on| *on).await;
    }
}

/// One port for both protocols: the check over TCP then says of both whether they are there.
async fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 0;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if tries == 10 => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

/// Fills the accept queue, from where on Linux drops SYNs (`tcp_conn_request`, `sk_acceptq_is_full`): on loopback, without any
/// rights, the nearest thing to a site without power. Returns when that began, and what fills the queue.
async fn swallow_syns(listener: Arc<TcpListener>) -> anyhow::Result<(Instant, Vec<TcpStream>)> {
    SockRef::from(&*listener).listen(0)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    for _ in 0..8 {
        let since = Instant::now();
        match timeout(UNANSWERED, TcpStream::connect(address)).await {
            Ok(connected) => queued.push(connected?),
            Err(_) => return Ok((since, queued)),
        }
    }
    bail!("{address} answered although its queue should be full")
}

async fn converse(
    client: &mut TcpStream,
    name: &'static str,
    distance: Duration,
) -> io::Result<()> {
    let asked = client.read_u8().await?;
    sleep(distance).await;
    client.write_all(format!("{name}\n").as_bytes()).await?;
    if asked != SUBSCRIBE {
        return client.shutdown().await;
    }
    loop {
        sleep(TICK).await;
        client.write_all(b".").await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&[ASK_ONCE]).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn goes_dark_and_comes_back() {
        let region = Region::open("near", Duration::ZERO, 2).await.unwrap();
        let addresses = region.addresses().unwrap();
        assert_eq!(ask(addresses[0]).await.unwrap(), "near\n");

        let dark = region.go_dark().await.unwrap();
        for address in &addresses {
            assert!(
                timeout(UNANSWERED, TcpStream::connect(address))
                    .await
                    .is_err()
            );
        }

        region.come_back(dark).unwrap();
        let answer = timeout(Duration::from_secs(10), ask(addresses[1])).await;
        assert_eq!(answer.unwrap().unwrap(), "near\n");
    }

    #[tokio::test]
    async fn datagrams_are_answered_but_in_the_dark() {
        let region = Region::open("near", Duration::ZERO, 1).await.unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client
            .connect(region.addresses().unwrap()[0])
            .await
            .unwrap();
        let mut answer = [0; 64];
        client.send(b"one").await.unwrap();
        let received = timeout(Duration::from_secs(10), client.recv(&mut answer)).await;
        assert_eq!(&answer[..received.unwrap().unwrap()], b"onenear");

        let dark = region.go_dark().await.unwrap();
        client.send(b"two").await.unwrap();
        let received = timeout(TICK, client.recv(&mut answer)).await;
        assert!(received.is_err());

        region.come_back(dark).unwrap();
        client.send(b"three").await.unwrap();
        let received = timeout(Duration::from_secs(10), client.recv(&mut answer)).await;
        assert_eq!(&answer[..received.unwrap().unwrap()], b"threenear");
    }

    #[tokio::test]
    async fn a_subscriber_falls_silent_but_stays_connected() {
        let region = Region::open("near", Duration::ZERO, 1).await.unwrap();
        let mut stream = TcpStream::connect(region.addresses().unwrap()[0])
            .await
            .unwrap();
        stream.write_all(&[SUBSCRIBE]).await.unwrap();
        let mut heard = [0; 6];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"near\n.");

        let _dark = region.go_dark().await.unwrap();
        // What was on its way before may still arrive; then nothing, and no end either.
        let silent = async {
            loop {
                match timeout(TICK * 3, stream.read_u8()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => panic!("{error}"),
                    Err(_) => return,
                }
            }
        };
        timeout(Duration::from_secs(10), silent).await.unwrap();
    }
}
