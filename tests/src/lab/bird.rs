//! BIRD at a place: its process, its files, and a client of its control socket.

mod configuration;

use std::io::{self, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node::Node;
use super::world::{Vips, World};
use crate::deadline::{PATIENCE, until};
use crate::process::Process;

/// It runs before ordinary processes, as the links do: BFD in hardware does not lose a session to a busy processor. Without the right it is
/// as steady as the machine is idle.
const AHEAD: &str = "chrt --rr --pid 5 $$ 2>/dev/null; exec \"$0\" \"$@\"";

/// A running BIRD.
pub struct Bird {
    process: Process,
    directory: PathBuf,
}

impl Bird {
    /// Writes its files and starts it; it takes commands when this is done.
    pub(crate) async fn start(world: &World, place: usize, node: &Node, directory: &Path) -> Bird {
        std::fs::create_dir_all(directory).expect("the lab's directory is writable");
        let text = configuration::text(world, place, directory);
        std::fs::write(directory.join("bird.conf"), text).expect("the directory is writable");
        let vips = match world.vips {
            Vips::OfTheLab => configuration::announcement(&super::world::VIPS),
            Vips::OfTheTest => String::new(),
        };
        std::fs::write(directory.join("announced.conf"), vips).expect("the directory is writable");
        let mut command = super::node::command("sh");
        command
            .args(["-c", AHEAD, "bird", "-f"])
            .args(["-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"])
            .current_dir(directory);
        let name = format!("bird of {}", node.name());
        let process = node.spawn(&name, command).await;
        let mut bird = Bird {
            process,
            directory: directory.to_owned(),
        };
        until(&format!("{name} takes commands"), PATIENCE, async || {
            if let Some(status) = bird.process.ended() {
                panic!("{name} ended with {status}:\n{}", bird.process.output());
            }
            UnixStream::connect(bird.socket()).is_ok()
        })
        .await;
        bird
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("bird.ctl")
    }

    /// The file that its configuration includes at a PoP: what it announces. It is the lab's, or the test's ([`Vips`]).
    pub fn include(&self) -> PathBuf {
        self.directory.join("announced.conf")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("bird.log")).unwrap_or_default()
    }

    /// Announces these addresses and no other ones: rewrites the include, and has BIRD read it.
    ///
    /// # Panics
    /// When BIRD does not take it.
    pub fn announce(&self, addresses: &[IpAddr]) {
        let new = self.directory.join("announced.new");
        std::fs::write(&new, configuration::announcement(addresses))
            .expect("the directory is writable");
        std::fs::rename(&new, self.include()).expect("the directory is writable");
        let reply = self.ask("configure");
        // 0003: reconfigured; 0004: in progress, the usual answer when something is taken away.
        assert!(
            ["0003", "0004"].iter().any(|code| reply.contains(code)),
            "{reply}"
        );
    }

    /// One exchange on its control socket.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&self, command: &str) -> String {
        ask(&self.socket(), command)
            .unwrap_or_else(|error| panic!("{}: {error}", self.socket().display()))
    }

    /// Its sessions that are not there yet.
    pub(crate) fn not_established(&self) -> Vec<String> {
        self.ask("show protocols")
            .lines()
            .filter(|line| line.contains(" BGP ") && !line.contains("Established"))
            .map(str::to_owned)
            .collect()
    }
}

/// One exchange on a control socket. Its end is not announced by closing our half: BIRD would drop the session, and the command with it.
fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&stream);
    let greeting = reply(&mut reader)?;
    debug_assert!(greeting.starts_with("0001"), "{greeting}");
    (&stream).write_all(format!("{command}\n").as_bytes())?;
    reply(&mut reader)
}

/// Lines up to the one with a code and a space: `0001 BIRD 2.0.12 ready.`; a code and a dash, or a space, means more.
fn reply(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let begin = text.len();
        if reader.read_line(&mut text)? == 0 {
            return Ok(text);
        }
        let line = &text.as_bytes()[begin..];
        if line.len() > 4 && line[..4].iter().all(u8::is_ascii_digit) && line[4] == b' ' {
            return Ok(text);
        }
    }
}
