//! Just enough HTTP/1.1: an endpoint that answers, and a client for the admin server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The status that an endpoint's `/health` answers with. Every other path is a 200.
#[derive(Clone, Debug)]
pub struct Status(Arc<AtomicU16>);

impl Default for Status {
    fn default() -> Self {
        Self(Arc::new(AtomicU16::new(200)))
    }
}

impl Status {
    /// Changes it.
    pub fn set(&self, status: u16) {
        self.0.store(status, Ordering::SeqCst);
    }

    fn of(&self, path: &str) -> u16 {
        match path {
            "/health" => self.0.load(Ordering::SeqCst),
            _ => 200,
        }
    }
}

/// Answers requests of one connection with `body`, until it ends.
pub async fn serve(stream: TcpStream, status: Status, body: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut content_length = 0;
        loop {
            let mut header = String::new();
            if stream.read_line(&mut header).await? == 0 || header == "\r\n" {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                content_length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut sent = vec![0; content_length];
        stream.read_exact(&mut sent).await?;
        let status = status.of(&path);
        let answer = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// One request on a connection of its own: status and body.
pub async fn request(to: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    request_as(to, method, path, &to.to_string()).await
}

/// The same with a body, and with an `Authorization`.
pub async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    authorization: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let headers = [("host", &*to.to_string()), ("authorization", authorization)];
    exchange(to, method, path, &headers, body).await
}

/// The same with a `Host` of choice.
pub async fn request_as(
    to: SocketAddr,
    method: &str,
    path: &str,
    host: &str,
) -> io::Result<(u16, String)> {
    exchange(to, method, path, &[("host", host)], "").await
}

async fn exchange(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// What a connection says after one request, for as long as it is kept: server-sent events.
pub struct Following {
    said: Arc<std::sync::Mutex<Vec<u8>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Following {
    /// Asks, and reads on.
    ///
    /// # Panics
    /// When nobody is there.
    pub async fn get(to: SocketAddr, path: &str) -> Following {
        let mut stream = TcpStream::connect(to).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("a new connection takes a request");
        let said = Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&said);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                let mut said = into.lock().expect("no holder panics");
                said.extend_from_slice(&buffer[..read]);
            }
        });
        Following { said, reading }
    }

    /// All of it so far.
    ///
    /// # Panics
    /// Never: nobody panics while holding it.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("no holder panics")).into_owned()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
