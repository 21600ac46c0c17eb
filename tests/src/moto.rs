//! moto, the AWS that others wrote: a judge of wire shapes. It takes nearly anything, so a green test against it says nothing about
//! Route 53's rules. `tests/peers.sh` installs it below target/.
//!
//! Where moto 5.2 is not Route 53, and what judges that instead:
//!
//! | Route 53 | moto | judged by |
//! |---|---|---|
//! | refuses values, TTLs, names and CNAMEs that are wrong | takes them | `validate/tests.rs`, the fake |
//! | refuses identifiers and policies that do not go together, mixed policies, values, TTLs, regions, places, roles twice | takes them | `validate/tests.rs`, the fake |
//! | refuses aliases to nothing, to the wrong zone, with a TTL | takes them | `validate/tests.rs`, the fake |
//! | refuses a delete that does not match | another error, or takes it | the fake |
//! | makes all or nothing of a request | keeps what came before a name of another zone | the fake |
//! | 1000 elements and 32,000 characters a request | elements only | `batches/tests.rs`, the fake |
//! | one change of a zone at a time, throttles, protections, lost answers | never | `apply/tests.rs`, the fake |
//! | changes are PENDING for a while | INSYNC at once, one id for all | the fake |
//! | keeps geoproximity | loses it | `client/wire.rs`, the fake |
//! | names in lower case, `*` as `\\052`, sorted by labels from the right | as they came | `model.rs`, the fake |
//! | a caller reference makes one check; a deleted one's is burnt | makes another | the fake |
//! | checks ask public addresses, every 10 or 30 seconds | takes any | `health_checks/tests.rs`, the file's reader |
//! | a check's version is counted and compared | stays 1, not compared | the fake |
//! | quotas, protected records | not known (404) | `plan/tests.rs`, the fake |
//! | lists that end early, go nowhere or have no SOA | never | the fake |
//!
//! And where it is not the rest of AWS, with the fake in `aws` as judge:
//!
//! | AWS | moto | judged by |
//! |---|---|---|
//! | Global Accelerator | 500 in HTML | the fake, every answer checked against the service model |
//! | one load balancer that is not there fails the call for all | is left out | the fake |
//! | at most 20 ARNs a call | any number | the fake |
//! | network load balancers have fixed addresses, a scheme and a type in their ARN | none, none, `app` | `plan/tests/mapping.rs`, the fake |
//! | targets are initial, unhealthy, draining | healthy at once | `advice.rs`, the fake |
//! | a role is refused to who says another external id | assumed by anybody | the fake |
//! | another account's load balancers are not seen | one account | the fake |
//! | throttles, failures, hangs, answers cut off | never | the fake |
//!
//! The fake is `route53`; the others are below `control/src/publish/route53`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::deadline::until;
use crate::process::Process;
use crate::{binary, peer, place};

/// It loads hundreds of modules before it listens, and several start at once.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

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
        until("moto listens", STARTS_WITHIN, async || {
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
