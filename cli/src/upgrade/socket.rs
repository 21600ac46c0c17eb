//! The Unix socket that upgrades are asked for on: where it is, who may speak on it, how it is bound. The file stays when its process
//! ends; one that nobody listens on any more is replaced.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

/// Upgrades that wait: a few scripts at most.
const BACKLOG: i32 = 8;

/// The longest path that fits an address (`sun_path`, unix(7)), its end not counted.
const LONGEST_PATH: usize = 107;

/// Beside the state file.
pub(super) fn path(state_file: &Path) -> PathBuf {
    let mut path = state_file.as_os_str().to_owned();
    path.push(".sock");
    PathBuf::from(path)
}

/// Connects to the running process; `None` when nobody listens.
pub(super) fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let nobody = [
        ErrorKind::NotFound,
        ErrorKind::ConnectionRefused,
        // A path too long for a socket.
        ErrorKind::InvalidInput,
    ];
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if nobody.contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Binds the socket. `AddrInUse` when another process listens on it.
pub(super) fn open(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the path has more than {LONGEST_PATH} bytes; choose a shorter [pop] state_file"
            ),
        ));
    }
    match connect(path)? {
        Some(_) => return Err(ErrorKind::AddrInUse.into()),
        None => match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        },
    }
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Before bind: the file takes over the socket's mode, so there is no moment in which others may connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Whether the other end is root's or our own user's. Whoever gets our sockets gets our traffic, and whose we take we serve.
pub(super) fn is_trusted(stream: &UnixStream) -> io::Result<bool> {
    let peer = socket_peercred(stream)?;
    Ok(peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
