//! Clients and servers that people really use, with the edge in between.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use portolan_tests::deadline::{PATIENCE, patiently, until};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::http::Status;
use portolan_tests::peer::{self, Peer};
use portolan_tests::place;
use portolan_tests::toml::{Group, shop};

async fn edge_before(id: &str, to: SocketAddr) -> (Edge, SocketAddr) {
    let at = place::fresh();
    let edge = Edge::start(&shop(at, "", &[Group::new("r", "1ms").named(id, to, "")])).await;
    (edge, at)
}

async fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let what = program.display().to_string();
    patiently(&what, command.output()).await.unwrap()
}

#[tokio::test]
async fn curl_keeps_a_connection_alive_through_the_edge() {
    let Some(curl) = peer::find("curl") else {
        return;
    };
    let web = Endpoint::start("web", endpoint::web(&Status::default())).await;
    let at = place::fresh();
    // No checks: whatever connects is curl.
    let group = Group::new("r", "1ms").unasked().endpoint(&web);
    let _edge = Edge::start(&shop(at, "", &[group])).await;
    let url = format!("http://{at}/page?[1-100]");
    let output = run(
        &curl,
        &["-sS", "--max-time", "30", "-w", "%{http_code}\n", &url],
    )
    .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("web200").count(), 100, "{output:?}");
    assert_eq!(web.seen().accepted(), 1, "one connection for all requests");
}

#[tokio::test]
async fn redis_speaks_through_the_edge() {
    let (Some(server), Some(cli)) = (peer::find("redis-server"), peer::find("redis-cli")) else {
        return;
    };
    let to = place::fresh();
    let config = format!(
        "bind {}\nport {}\nsave \"\"\nappendonly no\nprotected-mode no\n",
        to.ip(),
        to.port()
    );
    let _redis = Peer::start(server, &["config"], &config, to).await;
    let (_edge, at) = edge_before("redis", to).await;
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let ask = async |arguments: &[&str]| {
        let output = run(&cli, &[&["-h", &host, "-p", &port], arguments].concat()).await;
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(ask(&["PING"]).await, "PONG");
    assert_eq!(ask(&["SET", "key", &"v".repeat(100_000)]).await, "OK");
    assert_eq!(ask(&["STRLEN", "key"]).await, "100000");
    // Many commands in flight at once.
    assert_eq!(
        ask(&["-r", "500", "INCR", "counter"]).await.lines().last(),
        Some("500")
    );
}

#[tokio::test]
async fn tls_passes_through_untouched() {
    let (Some(nginx), Some(curl)) = (peer::find("nginx"), peer::find("curl")) else {
        return;
    };
    let certificate = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (pem, key) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    std::fs::write(&pem, certificate.cert.pem()).unwrap();
    std::fs::write(&key, certificate.signing_key.serialize_pem()).unwrap();
    let to = place::fresh();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn; events {{ worker_connections 256; }}
         http {{ access_log off; client_body_temp_path .; proxy_temp_path .; fastcgi_temp_path .; uwsgi_temp_path .; scgi_temp_path .;
         server {{ listen {to} ssl; ssl_certificate {}; ssl_certificate_key {}; return 200 \"$ssl_protocol $ssl_server_name\"; }} }}",
        pem.display(),
        key.display()
    );
    let _nginx = Peer::start(
        nginx,
        &["-p", ".", "-e", "stderr", "-c", "config"],
        &config,
        to,
    )
    .await;
    let (_edge, at) = edge_before("tls", to).await;
    let connect_to = format!("shop.example:443:{at}");
    let trust = pem.display().to_string();
    let arguments = [
        "-sS",
        "--max-time",
        "30",
        "--cacert",
        &trust,
        "--connect-to",
        &connect_to,
        "https://shop.example/",
    ];
    let output = run(&curl, &arguments).await;
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        seen.starts_with("TLSv1.") && seen.ends_with(" shop.example"),
        "{output:?}"
    );
}

#[tokio::test]
async fn postgresql_speaks_through_the_edge() {
    let Some(bin) = newest_postgresql() else {
        return peer::skip("PostgreSQL is not installed");
    };
    let Some(psql) = peer::find("psql") else {
        return;
    };
    let Some(setpriv) = peer::find("setpriv") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    // PostgreSQL does not run as root: then it is nobody's.
    let mut nobody = vec!["--no-new-privs"];
    if is_root() {
        std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
        nobody.extend(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let (initdb, postgres) = (
        bin.join("initdb").display().to_string(),
        bin.join("postgres").display().to_string(),
    );
    let make = [
        &initdb,
        "-D",
        &data,
        "-U",
        "portolan",
        "-A",
        "trust",
        "--no-sync",
    ];
    let made = run(&setpriv, &[nobody.as_slice(), &make].concat()).await;
    assert!(made.status.success(), "{made:?}");
    let to = place::fresh();
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let sockets = directory.path().display().to_string();
    let serve = [
        &postgres, "-D", &data, "-h", &host, "-p", &port, "-k", &sockets, "-F",
    ];
    let _postgres = Peer::start(setpriv, &[nobody.as_slice(), &serve].concat(), "", to).await;
    // It listens before it takes queries, and refuses them until then.
    let itself = format!("postgresql://portolan@{to}/postgres");
    until("PostgreSQL has started", PATIENCE, async || {
        let asked = run(&psql, &[&itself, "-Atc", "select 1"]).await;
        asked.status.success()
    })
    .await;
    let (_edge, at) = edge_before("postgres", to).await;
    let url = format!("postgresql://portolan@{at}/postgres");
    let output = run(
        &psql,
        &[
            &url,
            "-Atc",
            "select count(*) from generate_series(1, 100000)",
        ],
    )
    .await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "100000",
        "{output:?}"
    );
}

/// Debian keeps the server's programs by version, out of the path.
fn newest_postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    found.retain(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file());
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
