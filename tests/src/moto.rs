//! moto, the AWS that others wrote: a judge of wire shapes. It takes nearly anything, so a green test against it says nothing about
//! Route 53's rules; `route53` is strict about those. `tests/peers.sh` installs it below target/.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tokio::net::TcpStream;

use crate::deadline::{PATIENCE, until};
use crate::process::Process;
use crate::{binary, peer, place};

/// A running moto; it ends with its owner.
pub struct Moto {
    _process: Process,
    at: SocketAddr,
}

impl Moto {
    /// Starts one; `None`, and a line that says so, when it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Moto> {
        let program = program()?;
        let at = place::fresh();
        let mut command = Command::new(program);
        command.args(["-H", &at.ip().to_string(), "-p", &at.port().to_string()]);
        let mut process = Process::spawn("moto_server", &mut command);
        until("moto listens", PATIENCE, async || {
            if let Some(status) = process.ended() {
                panic!("moto ended with {status}:\n{}", process.output());
            }
            TcpStream::connect(at).await.is_ok()
        })
        .await;
        Some(Moto {
            _process: process,
            at,
        })
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// The file's `[aws]`, for the endpoint alone.
    pub fn toml(&self) -> String {
        format!(
            "[aws]\nimport = false\nendpoint_url = \"http://{}\"\ncalls_per_second = 500\nburst = 500\n",
            self.at
        )
    }
}

fn program() -> Option<PathBuf> {
    let own = binary::root().join("target/tools/moto/bin/moto_server");
    if own.is_file() {
        return Some(own);
    }
    peer::find("moto_server")
}
