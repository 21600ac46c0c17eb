//! A shell in a running world: every place is a command that runs another one there, and `lab` changes the world. When the shell ends,
//! so does everything.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use portolan_tests::binary;
use portolan_tests::edge::Edge;
use portolan_tests::lab::{Lab, Role, VIPS, World, node, scene};

/// Where `portolan status` and the others ask without being told; every namespace has one of its own.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);

/// How the world looks, for people.
const MAP: &str = "
  c-nyc --5ms-- r-use (AS 64501) ----32ms---- r-usw (AS 64502) --5ms-- c-sea
                  |  \\                          |
                 36ms  pop-iad (AS 65100)      66ms
                  |                             |
  c-ber --8ms-- r-eu (AS 64503) ----------------+
                     \\
                      pop-fra (AS 65100)

  regions    us-east-1 at r-use, us-west-2 at r-usw, eu-west-1 at r-eu: two endpoints each
  backbone   pop-iad to us-east-1 1ms, us-west-2 30ms, eu-west-1 34ms; pop-fra 37ms, 64ms, 4ms (one way)";

/// What to try.
const HINTS: &str = "
  every place is a command          c-nyc curl -s http://VIP4/        who answers a client in New York
                                    c-ber curl -so- -w '%{time_connect} s\\n' http://VIP4/
  ask a PoP                         pop-iad portolan status           also: why, drain, … as in the README
                                    pop-iad portolan why --client 198.51.100.10 --to VIP4:80/TCP
  lab links                         delay, loss and counters of every link
  lab link NAME WORDS               lab link pop-iad--us-east-1 blackhole=1
                                    delay=80ms  jitter=5ms  loss=1%  rate=10mbit  carrier=0; x/y for there and back
  lab bird PLACE WORDS              lab bird r-eu show route
  lab map                           this page
  exit                              takes everything down
";

/// Brings the world up, gives the terminal to a shell, takes the world down.
pub(crate) async fn run() -> Result<ExitCode> {
    let world = World::atlantic();
    let Some(lab) = Lab::start(world.clone()).await else {
        return Ok(ExitCode::FAILURE);
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let mut pops = Vec::new();
    for pop in lab.nodes_of(Role::Pop) {
        let toml = scene::configuration(&world, pop.name(), "");
        pops.push(Edge::with(&toml).at(pop).admin(ADMIN.into()).ready().await);
    }
    let lab = Arc::new(lab);
    let commands = lab.directory().join("commands");
    std::fs::create_dir(&commands)?;
    write_commands(&lab, &commands)?;
    serve_socket(Arc::clone(&lab))?;
    println!("{}", page());
    let ended = tokio::task::spawn_blocking(shell(&commands)).await??;
    drop(pops);
    Ok(ExitCode::from(ended))
}

fn page() -> String {
    format!("{MAP}\n{HINTS}")
        .replace("VIP4", &VIPS[0].to_string())
        .replace("VIP6", &VIPS[1].to_string())
}

/// One script a place, and `lab`.
fn write_commands(lab: &Lab, folder: &Path) -> Result<()> {
    for node in lab.nodes() {
        let network = node.network().display();
        // The name of the PoP's binary is on the path; a namespace changes no file.
        let text = format!("#!/bin/sh\nexec nsenter --net={network} \"$@\"\n");
        write_script(&folder.join(node.name()), &text)?;
    }
    let (program, socket) = (binary::lab(), socket(lab));
    let text = format!(
        "#!/bin/sh\nexec {} ask {} \"$@\"\n",
        program.display(),
        socket.display()
    );
    write_script(&folder.join("lab"), &text)?;
    std::os::unix::fs::symlink(binary::portolan(), folder.join("portolan"))?;
    Ok(())
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn socket(lab: &Lab) -> std::path::PathBuf {
    lab.directory().join("lab.sock")
}

/// Answers `lab …` on a socket, for as long as the program runs.
fn serve_socket(lab: Arc<Lab>) -> Result<()> {
    let listener = UnixListener::bind(socket(&lab))?;
    let lab = Arc::downgrade(&lab);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(lab) = lab.upgrade() else { return };
            let mut line = String::new();
            if BufReader::new(&stream).read_line(&mut line).is_ok() {
                // Whoever asked may be gone.
                let _ = (&stream).write_all(answer(&lab, line.trim()).as_bytes());
            }
        }
    });
    Ok(())
}

fn answer(lab: &Lab, line: &str) -> String {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest.split_once(' ')) {
        ("links", _) => lab.links(),
        ("link", Some((name, words))) => match lab.set_link(name, words) {
            Ok(()) => String::new(),
            Err(error) => format!("{error}\n"),
        },
        ("bird", Some((place, command))) => match lab.ask_bird(place, command) {
            Some(reply) => reply,
            None => format!("no BIRD at {place}\n"),
        },
        _ => page(),
    }
}

/// `portolan-lab ask SOCKET WORDS…`: what the script `lab` runs.
pub(crate) fn ask(socket: &str, words: &[&str]) -> Result<ExitCode> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.to_owned())?;
    stream.write_all(format!("{}\n", words.join(" ")).as_bytes())?;
    std::io::copy(&mut stream, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Interactive at a terminal; otherwise it does what it reads.
fn shell(commands: &Path) -> impl FnOnce() -> Result<u8> + Send + 'static {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", commands.display());
    move || {
        let mut command = node::command("bash");
        command.arg("--norc");
        if std::io::stdin().is_terminal() {
            command.arg("-i");
        }
        let command = command.env("PATH", path).env("PS1", "lab$ ");
        let status = command.status().context("bash")?;
        Ok(status.code().map_or(1, |code| code as u8))
    }
}
