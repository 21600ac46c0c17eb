//! BIRD: the file that its configuration includes, and its control socket. The state lives in the file, never in `disable`, which the next
//! `configure` of anybody would take back.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::plan::{Picture, Style};

/// A reply takes milliseconds; BIRD with many routes may take longer to take a configuration up.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// A reply has few lines, each short; more is not BIRD.
const MOST_LINES: usize = 1024;

/// While BIRD still changes over ("in progress") its old number is seen: so often it is asked again, after so long.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why BIRD did not do it.
#[derive(Debug, Error)]
pub(super) enum BirdError {
    /// The file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket could not be spoken to.
    #[error("BIRD at {}: {source}", socket.display())]
    Socket {
        /// Which.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// BIRD refused the file, which was put back.
    #[error("BIRD refuses the new configuration, the old one stays in force: {reply}")]
    Refused {
        /// Its words.
        reply: String,
    },
    /// We may not change anything.
    #[error("BIRD at {} lets us only look: {reply}; give the socket without `restrict`", socket.display())]
    Denied {
        /// Which.
        socket: PathBuf,
        /// Its words.
        reply: String,
    },
    /// BIRD runs with something else than what was written.
    #[error("BIRD does not run with {}: {reply}; its configuration must say include \"{}\";", include.display(), include.display())]
    NotIncluded {
        /// What it should include.
        include: PathBuf,
        /// Its words.
        reply: String,
    },
}

/// The text of the include file. Functions, so that the operator's own filters decide where they hold.
pub(super) fn render(
    picture: &Picture,
    number: u64,
    asn: Option<u32>,
    prepend: u8,
    alone: bool,
) -> String {
    let all = |_: &Style| true;
    let leaving = |style: &Style| *style == Style::Leaving;
    let mut text = String::from(
        "# Written by portolan, whole, at every change: edits here are lost.\n\
         # In the configuration that includes this, of a BGP protocol's channels:\n\
         #   export filter { if portolan_announces() then { portolan_prepare(); accept; } reject; };\n\n",
    );
    let _ = writeln!(text, "define portolan_number = {number};\n");
    function(&mut text, "portolan_announces", picture, all);
    function(&mut text, "portolan_leaves", picture, leaving);
    text.push_str("function portolan_prepare() {\n    if portolan_leaves() then {\n");
    // RFC 8326: GRACEFUL_SHUTDOWN.
    text.push_str("        bgp_community.add((65535, 0));\n");
    if let Some(asn) = asn {
        for _ in 0..prepend {
            let _ = writeln!(text, "        bgp_path.prepend({asn});");
        }
    }
    text.push_str("    }\n}\n");
    if alone {
        routes(&mut text, picture);
    }
    text
}

fn function(text: &mut String, name: &str, picture: &Picture, takes: impl Fn(&Style) -> bool) {
    let of = |v4: bool| {
        let prefixes: Vec<String> = picture
            .iter()
            .filter(|(prefix, style)| is_v4(prefix) == v4 && takes(style))
            .map(|(prefix, _)| prefix.to_string())
            .collect();
        prefixes.join(", ")
    };
    let _ = writeln!(text, "function {name}() {{");
    for (kind, prefixes) in [("NET_IP4", of(true)), ("NET_IP6", of(false))] {
        // An empty set is a syntax error.
        if !prefixes.is_empty() {
            let _ = writeln!(
                text,
                "    if net.type = {kind} then return net ~ [ {prefixes} ];"
            );
        }
    }
    text.push_str("    return false;\n}\n");
}

/// Where nothing else makes the routes: nobody is to follow them, they are there to be told of.
fn routes(text: &mut String, picture: &Picture) {
    for (name, channel, v4) in [
        ("portolan_v4", "ipv4", true),
        ("portolan_v6", "ipv6", false),
    ] {
        let _ = writeln!(text, "protocol static {name} {{\n    {channel};");
        for prefix in picture.keys().filter(|prefix| is_v4(prefix) == v4) {
            let _ = writeln!(text, "    route {prefix} blackhole;");
        }
        text.push_str("}\n");
    }
}

fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

/// Puts the text in place and has BIRD take it up. When BIRD refuses, the file is as it was. When nobody answers it stays: a BIRD that
/// starts meanwhile must not announce what was to be withdrawn.
pub(super) async fn apply(
    socket: &Path,
    include: &Path,
    text: &str,
    number: u64,
) -> Result<(), BirdError> {
    let before = match std::fs::read(include) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(file(include, source)),
    };
    write_whole(include, text.as_bytes())?;
    if let Err(error) = configure(socket).await {
        if !matches!(error, BirdError::Socket { .. }) {
            // Where nothing was, an empty file is what an `include` can always read.
            write_whole(include, &before.unwrap_or_default())?;
        }
        return Err(error);
    }
    for _ in 0..LOOKS {
        if verify(socket, include, number).await.is_ok() {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    verify(socket, include, number).await
}

/// Whether BIRD runs with the file of this number.
pub(super) async fn verify(socket: &Path, include: &Path, number: u64) -> Result<(), BirdError> {
    let reply = ask(socket, "eval portolan_number").await?;
    let runs = reply.code == 23 && reply.text.trim().parse() == Ok(number);
    if runs {
        return Ok(());
    }
    Err(BirdError::NotIncluded {
        include: include.to_owned(),
        reply: reply.text,
    })
}

async fn configure(socket: &Path) -> Result<(), BirdError> {
    let reply = ask(socket, "configure").await?;
    match reply.code {
        // Reconfigured; in progress, the usual answer to a withdrawal; queued behind another one.
        3..=5 => Ok(()),
        8007 => Err(BirdError::Denied {
            socket: socket.to_owned(),
            reply: reply.text,
        }),
        _ => Err(BirdError::Refused { reply: reply.text }),
    }
}

/// The end of BIRD's answer.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    code: u16,
    text: String,
}

/// Asks one thing. The connection is kept open until the answer is whole: BIRD drops a session, and its command, on a half-close.
async fn ask(socket: &Path, request: &str) -> Result<Reply, BirdError> {
    let broken = |source| BirdError::Socket {
        socket: socket.to_owned(),
        source,
    };
    let asked = timeout(REPLY_WITHIN, async {
        let stream = UnixStream::connect(socket).await?;
        let mut stream = BufReader::new(stream);
        read_reply(&mut stream).await?;
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        read_reply(&mut stream).await
    })
    .await;
    asked
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(broken)
}

/// Lines `dddd-text` and ` text`, until one is `dddd text`; `+text` is news that nobody asked for.
async fn read_reply(stream: &mut BufReader<UnixStream>) -> io::Result<Reply> {
    let mut line = String::new();
    for _ in 0..MOST_LINES {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(reply) = last_line(line.trim_end()) {
            return Ok(reply);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The reply, when this is its last line.
fn last_line(line: &str) -> Option<Reply> {
    let code = line.get(..4)?.parse().ok()?;
    let text = match line.get(4..)? {
        "" => "",
        rest => rest.strip_prefix(' ')?,
    };
    Some(Reply {
        code,
        text: text.to_owned(),
    })
}

/// Written beside it and renamed: BIRD must never read half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), BirdError> {
    let write = || {
        let beside = path.with_extension("portolan-new");
        let mut new = std::fs::File::create(&beside)?;
        io::Write::write_all(&mut new, bytes)?;
        new.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> BirdError {
    BirdError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn picture() -> Picture {
        Picture::from([
            ("203.0.113.10/32".parse().expect("IPv4"), Style::Normal),
            ("203.0.113.11/32".parse().expect("IPv4"), Style::Leaving),
            ("2001:db8::10/128".parse().expect("IPv6"), Style::Normal),
        ])
    }

    #[test]
    fn the_file_names_prefixes_by_family_and_those_being_left_apart() {
        let text = render(&picture(), 7, Some(65100), 2, false);
        let announces = "function portolan_announces() {\n    if net.type = NET_IP4 then return net ~ [ 203.0.113.10/32, 203.0.113.11/32 ];\n    if net.type = NET_IP6 then return net ~ [ 2001:db8::10/128 ];\n    return false;\n}\n";
        assert!(text.contains(announces), "{text}");
        let leaves = "function portolan_leaves() {\n    if net.type = NET_IP4 then return net ~ [ 203.0.113.11/32 ];\n    return false;\n}\n";
        assert!(text.contains(leaves), "{text}");
        assert_eq!(text.matches("bgp_path.prepend(65100)").count(), 2);
        assert!(text.contains("define portolan_number = 7;"));
        assert!(!text.contains("protocol static"));
    }

    #[test]
    fn an_empty_picture_has_no_empty_set_and_alone_it_makes_its_own_routes() {
        let empty = render(&Picture::new(), 1, None, 3, true);
        assert!(!empty.contains('['), "{empty}");
        assert!(!empty.contains("prepend("), "{empty}");
        let alone = render(&picture(), 1, None, 3, true);
        assert!(
            alone.contains("route 2001:db8::10/128 blackhole;"),
            "{alone}"
        );
    }

    /// A BIRD that says this to whatever it is asked.
    fn bird(socket: &Path, says: &'static str) {
        let listener = tokio::net::UnixListener::bind(socket).expect("a folder of our own");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Whoever asks reads to the end of the answer; what goes wrong is seen there.
                let _ = stream.write_all(b"0001 BIRD ready.\n").await;
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(format!("{says}\n").as_bytes()).await;
            }
        });
    }

    #[tokio::test]
    async fn a_refused_file_is_put_back_and_one_that_nobody_reads_yet_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, include) = (folder.path().join("ctl"), folder.path().join("include"));
        std::fs::write(&include, "old").expect("a folder of our own");
        let there = || std::fs::read_to_string(&include).expect("it is there");
        let error = apply(&socket, &include, "new", 1).await;
        assert!(matches!(error, Err(BirdError::Socket { .. })), "{error:?}");
        assert_eq!(there(), "new");

        bird(&socket, "8002 include, line 1: syntax error");
        let error = apply(&socket, &include, "newer", 2).await;
        assert!(matches!(error, Err(BirdError::Refused { .. })), "{error:?}");
        assert_eq!(there(), "new");
    }

    #[test]
    fn a_reply_ends_with_a_code_and_a_space() {
        assert_eq!(last_line("0002-Reading configuration from F"), None);
        assert_eq!(last_line(" more of it"), None);
        assert_eq!(last_line("+news"), None);
        assert_eq!(last_line(""), None);
        assert_eq!(last_line("äöü"), None);
        let done = last_line("0003 Reconfigured").expect("the last line");
        assert_eq!((done.code, done.text.as_str()), (3, "Reconfigured"));
        assert_eq!(last_line("0000").expect("the last line").code, 0);
    }
}
