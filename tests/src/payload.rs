//! Bytes that prove themselves: a stream of a seed can be checked anywhere without being kept, and no stretch of it looks like another.
//!
//! An exchange begins with a head of four big-endian numbers: seed, bytes up, bytes down, and how the endpoint behaves.

use std::io;
use std::sync::LazyLock;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::endpoint::{Behaviour, custom};

/// Not a power of two, so that a shift by any buffer's size shows.
const PERIOD: usize = 1_000_003;

/// Twice the period, so that any stretch of up to a period is a slice.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut noise = vec![0; PERIOD];
    SmallRng::seed_from_u64(42).fill(noise.as_mut_slice());
    noise.extend_from_within(..);
    noise
});

/// The stretch of a seed's stream at an offset; at most a period is given.
pub fn stretch(seed: u64, offset: u64, len: usize) -> &'static [u8] {
    let at = ((seed % PERIOD as u64 + offset) % PERIOD as u64) as usize;
    &NOISE[at..at + len.min(PERIOD)]
}

/// Sends `len` bytes of a stream.
pub async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    len: u64,
    piece: usize,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < len {
        let size = piece.min(usize::try_from(len - offset).unwrap_or(usize::MAX));
        to.write_all(stretch(seed, offset, size)).await?;
        offset += size.min(PERIOD) as u64;
    }
    Ok(())
}

/// Reads to the end and demands exactly `len` bytes of a stream.
pub async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    seed: u64,
    len: u64,
    piece: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; piece.min(PERIOD)];
    let mut offset = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        if buffer[..read] != *stretch(seed, offset, read) {
            return Err(io::Error::other(format!(
                "wrong bytes within {read} at {offset} of {len}"
            )));
        }
        offset += read as u64;
        if piece < SLOW_BELOW {
            // A reader that takes its time: others get the processor, and buffers in between fill.
            tokio::task::yield_now().await;
        }
    }
    if offset != len {
        return Err(io::Error::other(format!("{offset} bytes of {len}")));
    }
    Ok(())
}

/// Readers with smaller pieces yield after each.
const SLOW_BELOW: usize = 4096;

/// What an exchange is.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Of the client's stream; the endpoint's is the next number's.
    pub seed: u64,
    /// Bytes from the client.
    pub up: u64,
    /// Bytes from the endpoint.
    pub down: u64,
    /// Who waits for whom.
    pub order: Order,
    /// Bytes that each side reads and writes at a time.
    pub piece: usize,
}

/// Who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Both directions at once.
    Together,
    /// The endpoint answers after the client's half-close.
    AfterClient,
    /// The client sends after the endpoint's half-close.
    AfterEndpoint,
}

impl Exchange {
    /// One of random shape; most are small, some are large.
    pub fn random(random: &mut impl rand::Rng, seed: u64) -> Exchange {
        let mut size = || match random.random_range(0..100) {
            0..5 => 0,
            5..70 => random.random_range(1..2_000),
            70..97 => random.random_range(2_000..40_000),
            _ => random.random_range(40_000..600_000),
        };
        let (up, down) = (size(), size());
        let order = match random.random_range(0..3) {
            0 => Order::Together,
            1 => Order::AfterClient,
            _ => Order::AfterEndpoint,
        };
        let piece = [500, 5_000, 65_536, 300_000][random.random_range(0..4)];
        Exchange {
            seed,
            up,
            down,
            order,
            piece,
        }
    }

    /// The client's part, on a fresh connection.
    pub async fn ask(self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let order = match self.order {
            Order::Together => 0,
            Order::AfterClient => 1,
            Order::AfterEndpoint => 2_u64,
        };
        let mut head = Vec::with_capacity(HEAD);
        for number in [self.seed, self.up, self.down, order, self.piece as u64] {
            head.extend_from_slice(&number.to_be_bytes());
        }
        stream.write_all(&head).await?;
        let (mut from, mut to) = stream.split();
        let sending = async {
            send(&mut to, self.seed, self.up, self.piece).await?;
            to.shutdown().await
        };
        let receiving = receive(&mut from, self.seed + 1, self.down, self.piece);
        match self.order {
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
}

const HEAD: usize = 5 * 8;

/// The endpoint's part. What it finds wrong it answers with a reset.
pub fn exchanging() -> Behaviour {
    custom(async |mut stream: TcpStream| {
        let done = answer(&mut stream).await;
        if done.is_err() {
            crate::client::reset(stream);
        }
        done
    })
}

async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let mut numbers = head
        .chunks_exact(8)
        .map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
    let mut number = || numbers.next().expect("as many as the head has");
    let (seed, up, down, order, piece) =
        (number(), number(), number(), number(), number() as usize);
    let (mut from, mut to) = stream.split();
    let receiving = receive(&mut from, seed, up, piece);
    let sending = async {
        send(&mut to, seed + 1, down, piece).await?;
        to.shutdown().await
    };
    match order {
        0 => tokio::try_join!(receiving, sending).map(|_| ()),
        1 => {
            receiving.await?;
            sending.await
        }
        _ => {
            sending.await?;
            receiving.await
        }
    }
}
