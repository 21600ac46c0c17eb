//! Asks a running Portolan over its admin HTTP: one connection a request, JSON in and out. Used by every command that speaks of
//! a running edge; what goes wrong is said with the remedy, since whoever reads it is often in a hurry.

use std::fmt::{self, Write};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the connection alone: a host that drops packets must not look like one that thinks.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole answer: a state of a hundred thousand endpoints takes a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A state of a hundred thousand endpoints is about 60 MB.
const ANSWER_LIMIT: usize = 512 * 1024 * 1024;

/// Where the running Portolan is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// Where the running Portolan answers: its [admin] listen
    #[arg(
        long,
        value_name = "URL",
        env = "PORTOLAN_ADMIN",
        default_value = "http://127.0.0.1:9900"
    )]
    admin: AdminUrl,

    /// A file that holds the token, where [admin] token_file is set
    #[arg(long, value_name = "FILE", env = "PORTOLAN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// `http://HOST:PORT`; the scheme may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminUrl {
    host: String,
    port: u16,
}

impl FromStr for AdminUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write it as http://127.0.0.1:9900";
        let scheme_given = text.contains("://");
        let whole = if scheme_given {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: Uri = whole.parse().map_err(|error| format!("{error}; {FORM}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(
                "only http:// is spoken; for another host use ssh -L or a proxy that ends TLS"
                    .into(),
            );
        }
        let Some(authority) = uri.authority() else {
            return Err(format!("it names no host; {FORM}"));
        };
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(format!("it names no plain host; {FORM}"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("it must end after the port; {FORM}"));
        }
        let default = if scheme_given { 80 } else { 9900 };
        let port = match authority.as_str().rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => port
                .parse()
                .map_err(|_| format!("{port:?} is no port; {FORM}"))?,
            _ => default,
        };
        Ok(AdminUrl {
            host: authority.host().to_owned(),
            port,
        })
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// A client of one admin server.
pub(crate) struct Client {
    url: AdminUrl,
    token: Option<String>,
}

impl Client {
    /// Reads the token, asks nothing yet.
    pub(crate) fn new(args: &AdminArgs) -> anyhow::Result<Self> {
        let AdminArgs { admin, token_file } = args;
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .with_context(|| format!("--token-file {}", path.display()))
        };
        let token = token_file.as_ref().map(read).transpose()?;
        Ok(Client {
            url: admin.clone(),
            token: token.map(|token| token.trim().to_owned()),
        })
    }

    /// The edge that a file describes, on this host.
    pub(crate) fn of_edge(admin: &portolan_config::model::Admin) -> anyhow::Result<Self> {
        let host = match admin.listen.ip() {
            ip if !ip.is_unspecified() => ip.to_string(),
            ip if ip.is_ipv4() => "127.0.0.1".to_owned(),
            _ => "::1".to_owned(),
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Client::new(&AdminArgs {
            admin: AdminUrl {
                host,
                port: admin.listen.port(),
            },
            token_file: admin.token_file.clone(),
        })
    }

    /// Reads a page as a value; also as it came, for `--json`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<(T, Value)> {
        let answer = self.ask(Method::GET, path, None).await?;
        Ok((self.read(answer.clone())?, answer))
    }

    /// Changes something.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(T, Value)> {
        let answer = self.ask(Method::POST, path, Some(body)).await?;
        Ok((self.read(answer.clone())?, answer))
    }

    fn read<T: DeserializeOwned>(&self, answer: Value) -> anyhow::Result<T> {
        serde_json::from_value(answer).with_context(|| {
            format!(
                "{} answers in another shape; is it another version of Portolan?",
                self.url
            )
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let stream = self.connect().await?;
        let answered = timeout(ANSWER_TIMEOUT, self.exchange(stream, method, path, body)).await;
        let (status, body) = match answered {
            Ok(answer) => answer.with_context(|| format!("{} gave no whole answer", self.url))?,
            Err(_) => bail!(
                "{} has not answered within {} s",
                self.url,
                ANSWER_TIMEOUT.as_secs()
            ),
        };
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        match (status, answer) {
            (StatusCode::OK, Some(answer)) => Ok(answer),
            (StatusCode::UNAUTHORIZED, _) => Err(self.unauthorized()),
            (_, Some(Value::Object(refused))) => match refused.get("error").and_then(Value::as_str)
            {
                Some(error) => Err(anyhow!("{}", printable(error))),
                None => Err(self.stranger(status)),
            },
            (_, _) => Err(self.stranger(status)),
        }
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let host = self.url.host.trim_start_matches('[').trim_end_matches(']');
        let start = "is it running (portolan run --config portolan.toml)? Another address is named by --admin URL or PORTOLAN_ADMIN";
        match timeout(CONNECT_TIMEOUT, TcpStream::connect((host, self.url.port))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                bail!(
                    "no Portolan answers at {}: connection refused; {start}",
                    self.url
                )
            }
            Ok(Err(error)) => bail!("{} cannot be reached: {error}; {start}", self.url),
            Err(_) => bail!(
                "{} cannot be reached: no answer within {} s; {start}",
                self.url,
                CONNECT_TIMEOUT.as_secs()
            ),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let AdminUrl { host, port } = &self.url;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
        };
        let request = request
            .body(Full::new(body))
            .context("the token or the URL holds characters that HTTP cannot carry")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT)
                .collect()
                .await;
            let body = body.map_err(|error| anyhow!("{error}"))?;
            Ok((status, body.to_bytes()))
        };
        // Both in this task: the connection needs nobody to end it. Its own end before the answer is an error of the exchange.
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }

    fn unauthorized(&self) -> anyhow::Error {
        match self.token {
            None => anyhow!(
                "{} asks for a token: --token-file FILE, the file that its [admin] token_file names",
                self.url
            ),
            Some(_) => anyhow!(
                "{} does not accept this token; [admin] token_file names the right one",
                self.url
            ),
        }
    }

    fn stranger(&self, status: StatusCode) -> anyhow::Error {
        anyhow!(
            "{} does not answer like Portolan (status {}); --admin URL names another address",
            self.url,
            status.as_u16()
        )
    }
}

/// Runs a command's questions to their end.
pub(crate) fn block_on<T>(ask: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(ask)
}

/// Text as one segment of a path or one value of a query (RFC 3986 §2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// Text from elsewhere, without what would steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Prints a value as JSON for machines.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints to standard output. A reader that has gone, as `head` does, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match io::Write::write_all(&mut out, text.as_bytes()).and_then(|()| io::Write::flush(&mut out))
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
