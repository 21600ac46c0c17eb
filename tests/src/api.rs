//! An edge with the Global-Accelerator-compatible API, and AWS's own clients that `tests/python.sh` installs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU8, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::deadline::patiently;
use crate::edge::{Edge, Start};
use crate::{binary, peer, place};

/// The secret that tests sign with, when they do.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Where an API listens and what it hands out.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address.
    pub listen: SocketAddr,
    /// Its address pool.
    pub pool: String,
}

impl Place {
    /// A place of this test's own. The pools are below the addresses that other tests have, and above those that people's
    /// own configurations have.
    pub fn fresh() -> Place {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let second = 80 + (process >> 4) % 48;
        let third = ((process % 16) << 4) as u8 + number % 16;
        Place {
            listen: place::fresh(),
            pool: format!("127.{second}.{third}.0/24"),
        }
    }

    /// The file's section.
    pub fn toml(&self) -> String {
        let Place { listen, pool } = self;
        format!("[api]\nlisten = \"{listen}\"\naddress_pool = [\"{pool}\"]\n")
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// An edge there; what else stands in the file comes behind.
    pub fn edge(&self, more: &str) -> Start {
        Edge::with(&format!("{}{more}", self.toml()))
    }

    /// Carries an operation out.
    ///
    /// # Panics
    /// When the API does not answer, or refuses.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, answer) = self.call(operation, &input).await;
        assert_eq!(status, 200, "{operation} {input}: {answer}");
        answer
    }

    /// Asks for an operation; gives status and answer.
    ///
    /// # Panics
    /// When the API does not answer.
    pub async fn call(&self, operation: &str, input: &Value) -> (u16, Value) {
        let target = format!("GlobalAccelerator_V20180706.{operation}");
        let body = input.to_string().into_bytes();
        let (status, body) = self
            .post(&[("x-amz-target", &target)], body)
            .await
            .expect("the API answers");
        let answer =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        (status, answer)
    }

    /// Posts bytes on a connection of their own.
    pub async fn post(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut request = http::Request::post("/").header("host", self.listen.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body)))?;
        let stream = tokio::net::TcpStream::connect(self.listen).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = patiently("an answer", sender.send_request(request)).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes().to_vec();
        connection.abort();
        Ok((status, body))
    }

    /// Makes an accelerator with one TCP listener; gives its ARN, that of the listener, and the static addresses.
    pub async fn accelerator(&self, name: &str, port: u16) -> (String, String, Vec<SocketAddr>) {
        let made = self
            .ok(
                "CreateAccelerator",
                json!({ "Name": name, "IdempotencyToken": name }),
            )
            .await;
        let made = &made["Accelerator"];
        let addresses = made["IpSets"][0]["IpAddresses"]
            .as_array()
            .into_iter()
            .flatten();
        let addresses = addresses.filter_map(|ip| ip.as_str()?.parse::<Ipv4Addr>().ok());
        let addresses = addresses
            .map(|ip| SocketAddr::new(IpAddr::V4(ip), port))
            .collect();
        let accelerator = text(&made["AcceleratorArn"]);
        let listener = self.listener(&accelerator, port).await;
        (accelerator, listener, addresses)
    }

    /// Makes a TCP listener; gives its ARN.
    pub async fn listener(&self, accelerator: &str, port: u16) -> String {
        let input = json!({ "AcceleratorArn": accelerator, "Protocol": "TCP", "IdempotencyToken": port.to_string(),
            "PortRanges": [{ "FromPort": port, "ToPort": port }] });
        text(&self.ok("CreateListener", input).await["Listener"]["ListenerArn"])
    }

    /// Makes an endpoint group; gives its ARN.
    pub async fn group(&self, listener: &str, region: &str, endpoints: &[String]) -> String {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|id| json!({ "EndpointId": id }))
            .collect();
        let input = json!({ "ListenerArn": listener, "EndpointGroupRegion": region, "IdempotencyToken": region,
            "EndpointConfigurations": endpoints });
        text(&self.ok("CreateEndpointGroup", input).await["EndpointGroup"]["EndpointGroupArn"])
    }
}

/// A value that is a text.
///
/// # Panics
/// When it is none.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// A program of the virtual environment with AWS's clients; `None`, and a line that says so, without it.
pub fn client(program: &str) -> Option<PathBuf> {
    let folder = binary::root().join("target/aws-clients");
    let found = folder.join("bin").join(program);
    if folder.join(".installed").exists() && found.exists() {
        return Some(found);
    }
    peer::skip("AWS's clients are not installed: run tests/python.sh aws-clients");
    None
}

/// Runs a client with credentials and a region, and nothing else of the caller's own AWS settings.
///
/// # Panics
/// When it cannot be run.
pub async fn run(program: PathBuf, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "us-west-2")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), command.output());
    output
        .await
        .expect("a client that ends")
        .expect("the client can be run")
}
