//! Clients of an edge.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::deadline::{PATIENCE, patiently};

/// A connection that speaks in lines, as [`crate::endpoint::naming`] does.
pub struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    /// Connects.
    pub async fn connect(to: SocketAddr) -> io::Result<Caller> {
        Caller::over(TcpStream::connect(to).await?)
    }

    /// Connects from an address of choice.
    pub async fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<Caller> {
        Caller::over(connect_from(from, to).await?)
    }

    /// Speaks over a connection that is there.
    pub fn over(stream: TcpStream) -> io::Result<Caller> {
        stream.set_nodelay(true)?;
        Ok(Caller {
            stream: BufReader::new(stream),
        })
    }

    /// Says a line and gives the answer.
    pub async fn ask(&mut self, line: &str) -> io::Result<String> {
        self.say(line).await?;
        self.listen().await
    }

    /// Says a line.
    pub async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Waits for a line. The end of the stream is an error.
    pub async fn listen(&mut self) -> io::Result<String> {
        let mut answer = String::new();
        match tokio::time::timeout(PATIENCE, self.stream.read_line(&mut answer)).await {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => Ok(answer.trim_end().to_owned()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The local end.
    ///
    /// # Panics
    /// Never, for a connected socket.
    pub fn local(&self) -> SocketAddr {
        self.stream
            .get_ref()
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// How the connection ends, without saying anything more.
    pub async fn end(&mut self) -> End {
        end(self.stream.get_mut()).await
    }

    /// Whether it is still there: neither closed nor reset by now.
    pub fn is_open(&self) -> bool {
        let mut byte = [0];
        match self.stream.get_ref().try_read(&mut byte) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// How a connection ended, as its reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By FIN.
    Closed,
    /// By RST.
    Reset,
}

/// Reads until the end.
///
/// # Panics
/// When it does not come, or is neither FIN nor RST.
pub async fn end(stream: &mut TcpStream) -> End {
    let mut rest = Vec::new();
    match patiently("the end of a connection", stream.read_to_end(&mut rest)).await {
        Ok(_) => End::Closed,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("neither FIN nor RST: {error}"),
    }
}

/// Connects from an address of choice.
pub async fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Closes by reset.
///
/// # Panics
/// Never, for a live socket.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket takes SO_LINGER");
}

/// Whether nobody listens there. A connection that is taken and then left alone is none.
pub async fn is_refused(to: SocketAddr) -> bool {
    let connected = TcpStream::connect(to).await;
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// One line on a connection of its own, and the answer.
pub async fn ask(to: SocketAddr, line: &str) -> io::Result<String> {
    Caller::connect(to).await?.ask(line).await
}

/// The same from an address of choice.
pub async fn ask_from(from: IpAddr, to: SocketAddr, line: &str) -> io::Result<String> {
    Caller::connect_from(from, to).await?.ask(line).await
}

/// How many of `count` new connections each endpoint got.
///
/// # Panics
/// When one fails.
pub async fn shares(to: SocketAddr, count: usize) -> std::collections::BTreeMap<String, usize> {
    let mut shares = std::collections::BTreeMap::new();
    for number in 0..count {
        let id = ask(to, &number.to_string())
            .await
            .unwrap_or_else(|error| panic!("connection {number}: {error}"));
        *shares.entry(id).or_default() += 1;
    }
    shares
}
