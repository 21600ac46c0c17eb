//! The edge's own word on each flow: its flow log, followed as it grows, and rotated away before it fills the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A file that has grown so large is rotated away.
const ROTATE_AT: u64 = 16 << 20;

/// The edge looks once a second whether its file has been; a process that is stopped meanwhile looks later.
const STILL_WRITTEN: Duration = Duration::from_secs(30);

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    client_ip: IpAddr,
    client_port: u16,
    protocol: String,
    endpoint_id: Option<String>,
    cause: String,
    bytes_in: u64,
    bytes_out: u64,
    packets_in: u64,
    duration_ms: f64,
}

/// A flow as the edge saw it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) client: SocketAddr,
    pub(super) endpoint: Option<String>,
    pub(super) cause: String,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) packets_in: u64,
    pub(super) lasted_ms: u64,
    pub(super) is_datagrams: bool,
}

/// The flow log, and what it was before it was rotated.
pub(super) struct Records {
    path: PathBuf,
    followed: Vec<Followed>,
    rotations: u32,
}

struct Followed {
    file: File,
    read: u64,
    partial: Vec<u8>,
    /// When it was rotated away.
    away: Option<Instant>,
}

impl Records {
    pub(super) fn open(path: &Path) -> io::Result<Records> {
        let mut records = Records {
            path: path.to_owned(),
            followed: Vec::new(),
            rotations: 0,
        };
        records.follow()?;
        Ok(records)
    }

    fn follow(&mut self) -> io::Result<()> {
        self.followed.push(Followed {
            file: File::open(&self.path)?,
            read: 0,
            partial: Vec::new(),
            away: None,
        });
        Ok(())
    }

    /// What has been written since the last time.
    pub(super) fn read(&mut self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for followed in &mut self.followed {
            followed.read(&mut records)?;
        }
        let old =
            |followed: &mut Followed| followed.away.is_none_or(|at| at.elapsed() < STILL_WRITTEN);
        self.followed.retain_mut(old);
        // Renamed away and not yet made anew: the edge opens it within a second.
        let newest_is_away = self
            .followed
            .last()
            .is_none_or(|newest| newest.away.is_some());
        if newest_is_away && self.path.exists() {
            self.follow()?;
        } else if let Some(newest) = self.followed.last_mut()
            && newest.read > ROTATE_AT
            && !newest_is_away
        {
            newest.away = Some(Instant::now());
            self.rotations += 1;
            let away = self.path.with_extension(format!("{}", self.rotations));
            std::fs::rename(&self.path, &away)?;
            // Held open by those who write it and by us.
            std::fs::remove_file(&away)?;
        }
        Ok(records)
    }
}

impl Followed {
    fn read(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        let from = self.partial.len();
        self.file.read_to_end(&mut self.partial)?;
        self.read += (self.partial.len() - from) as u64;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        for line in self.partial[..end].split(|byte| *byte == b'\n') {
            let line: Line = serde_json::from_slice(line)?;
            records.push(Record {
                client: SocketAddr::new(line.client_ip, line.client_port),
                endpoint: line.endpoint_id,
                cause: line.cause,
                bytes_in: line.bytes_in,
                bytes_out: line.bytes_out,
                packets_in: line.packets_in,
                lasted_ms: line.duration_ms as u64,
                is_datagrams: line.protocol == "UDP",
            });
        }
        self.partial.drain(..=end);
        Ok(())
    }
}
