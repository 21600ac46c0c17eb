//! The two ends of a flow of TCP. Every byte is compared with what it must be by the flow's number, its direction and its place: a byte
//! that is lost, repeated, out of order or another flow's is a wrong one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ledger::{End, Ledger, Tally};
use super::plan::{HEAD, Pace, Plan};
use crate::client::{connect_from, reset};
use crate::endpoint::{Behaviour, custom};
use crate::payload::{Order, stretch};

/// Longer than any plan takes with all that is done to it.
const HANGS: Duration = Duration::from_secs(180);

/// Whether the endpoint stands still.
pub(super) type Stall = watch::Receiver<bool>;

/// A client's part, from beginning to end, entered in the ledger.
pub(super) async fn ask(ledger: Arc<Ledger>, plan: Plan, from: IpAddr, to: SocketAddr) {
    ledger.begin(plan);
    let tally = Arc::new(Tally::default());
    let asked = timeout(HANGS, converse(&ledger, plan, from, to, &tally)).await;
    let end = asked.unwrap_or_else(|_| End::Broken("it hangs".into()));
    ledger.client_ended(plan.id, end, tally);
}

async fn converse(ledger: &Ledger, plan: Plan, from: IpAddr, to: SocketAddr, tally: &Tally) -> End {
    let connected = connect_from(from, to).await;
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return End::Broken(format!("connect: {error}")),
    };
    if let Ok(local) = stream.local_addr() {
        ledger.connected(plan.id, local);
    }
    match talk(&mut stream, plan, tally).await {
        Ok(()) if plan.abort_after.is_some() => {
            reset(stream);
            End::Aborted
        }
        other => end_of(other),
    }
}

async fn talk(stream: &mut TcpStream, plan: Plan, tally: &Tally) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&plan.head()).await?;
    let (mut from, mut to) = stream.split();
    if let Some(bytes) = plan.abort_after {
        return send(&mut to, plan.up_seed(), bytes, plan.client, None, tally).await;
    }
    let sending = async {
        send(&mut to, plan.up_seed(), plan.up, plan.client, None, tally).await?;
        to.shutdown().await
    };
    let receiving = receive(
        &mut from,
        plan.down_seed(),
        plan.down,
        plan.client,
        None,
        tally,
    );
    match plan.order {
        Order::Together => tokio::try_join!(sending, receiving).map(|_| ()),
        Order::AfterClient => {
            sending.await?;
            receiving.await
        }
        Order::AfterEndpoint => {
            receiving.await?;
            sending.await
        }
    }
}

/// An endpoint's part. Connections without a head are probes, and races that were lost.
pub(super) fn answering(ledger: &Arc<Ledger>, name: &str, stall: &Stall) -> Behaviour {
    let (ledger, name, stall) = (Arc::clone(ledger), name.to_owned(), stall.clone());
    custom(move |stream| {
        let (ledger, name, stall) = (Arc::clone(&ledger), name.clone(), stall.clone());
        async move { answer(stream, &ledger, &name, stall).await }
    })
}

async fn answer(
    mut stream: TcpStream,
    ledger: &Ledger,
    name: &str,
    stall: Stall,
) -> io::Result<()> {
    let mut head = [0; HEAD];
    let Some(len) = read_head(&mut stream, &mut head).await else {
        return Ok(());
    };
    let Some(plan) = Plan::read(&head).filter(|_| len == HEAD) else {
        if len > 0 && !Plan::of(0, 0).head().starts_with(&head[..len.min(8)]) {
            ledger.finding(format!("{name} was sent {len} bytes of no flow"));
        }
        return Ok(());
    };
    let tally = Arc::new(Tally::default());
    let mut visit = Visit {
        ledger,
        id: plan.id,
        place: ledger.reached(&plan, name, Arc::clone(&tally)),
        end: End::Broken("killed".into()),
    };
    let spoken = speak(&mut stream, plan, stall, &tally).await;
    let failed = spoken.is_err();
    visit.end = end_of(spoken);
    if failed {
        reset(stream);
    }
    Ok(())
}

/// How much of a head came; `None` when the connection ended before it began.
async fn read_head(stream: &mut TcpStream, head: &mut [u8; HEAD]) -> Option<usize> {
    let mut len = 0;
    while len < HEAD {
        match stream.read(&mut head[len..]).await {
            Ok(0) | Err(_) => break,
            Ok(more) => len += more,
        }
    }
    (len > 0).then_some(len)
}

/// Enters the end in the ledger, even when an endpoint is killed in the middle.
struct Visit<'l> {
    ledger: &'l Ledger,
    id: u64,
    place: usize,
    end: End,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.ledger.left(self.id, self.place, self.end.clone());
    }
}

async fn speak(stream: &mut TcpStream, plan: Plan, stall: Stall, tally: &Tally) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, mut to) = stream.split();
    let (while_reading, while_writing) = (Some(stall.clone()), Some(stall));
    let receiving = receive(
        &mut from,
        plan.up_seed(),
        plan.up,
        plan.endpoint,
        while_reading,
        tally,
    );
    let sending = async {
        let (seed, pace) = (plan.down_seed(), plan.endpoint);
        send(&mut to, seed, plan.down, pace, while_writing, tally).await?;
        to.shutdown().await
    };
    match plan.order {
        Order::Together => tokio::try_join!(receiving, sending).map(|_| ()),
        Order::AfterClient => {
            receiving.await?;
            sending.await
        }
        Order::AfterEndpoint => {
            sending.await?;
            receiving.await
        }
    }
}

fn end_of(outcome: io::Result<()>) -> End {
    match outcome {
        Ok(()) => End::Whole,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => End::Wrong(error.to_string()),
        Err(error) => End::Broken(error.to_string()),
    }
}

async fn until_moving(stall: &mut Option<Stall>) {
    if let Some(stall) = stall {
        // Whoever stalls it is gone at the end of the run, and stalls no more.
        let _ = stall.wait_for(|stalled| !stalled).await;
    }
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    len: u64,
    pace: Pace,
    mut stall: Option<Stall>,
    tally: &Tally,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < len {
        until_moving(&mut stall).await;
        let size = pace
            .piece
            .min(usize::try_from(len - offset).unwrap_or(usize::MAX));
        to.write_all(stretch(seed, offset, size)).await?;
        offset += size as u64;
        tally.sent.store(offset, Relaxed);
        if !pace.write_pause.is_zero() {
            sleep(pace.write_pause).await;
        }
    }
    Ok(())
}

async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    seed: u64,
    len: u64,
    pace: Pace,
    mut stall: Option<Stall>,
    tally: &Tally,
) -> io::Result<()> {
    let mut buffer = vec![0; pace.piece.max(1024)];
    let mut offset = 0;
    loop {
        until_moving(&mut stall).await;
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        let right = offset + read as u64 <= len && buffer[..read] == *stretch(seed, offset, read);
        if !right {
            let why = format!("wrong bytes within {read} at {offset} of {len}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        offset += read as u64;
        tally.got.store(offset, Relaxed);
        if !pace.read_pause.is_zero() {
            sleep(pace.read_pause).await;
        }
    }
    if offset == len {
        return Ok(());
    }
    // A stream that ends early by FIN is no cut-off: it claims to be whole.
    let why = format!("it ended after {offset} of {len} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}
