//! What the operator drains: endpoints, for a time or for good, and the whole PoP. Kept in a small file, so that a drain
//! outlives reload, upgrade and restart. An unreadable file is put aside and told of; the edge serves all the same.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portolan_config::units::{EndpointId, Region};
use serde::{Deserialize, Serialize};

use crate::state::DrainView;

/// More than a PoP has reason to drain by hand; bounds the file and every look at it.
pub(crate) const MOST_DRAINS: usize = 1000;

/// The layout of the file. A file of another version is not touched, for a newer process may have written it.
const VERSION: u32 = 1;

/// The beginning of the year 9999.
const LAST_DAY: Duration = Duration::from_secs(253_370_764_800);

/// Drains in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drains {
    pub(crate) pop: bool,
    endpoints: Vec<Drain>,
}

/// One endpoint's drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) endpoint: EndpointId,
    /// In this region alone; `None` is wherever the id stands.
    pub(crate) region: Option<Region>,
    pub(crate) since: SystemTime,
    pub(crate) until: Option<SystemTime>,
}

impl Drain {
    /// For the state.
    pub(crate) fn view(&self) -> DrainView {
        DrainView {
            endpoint: self.endpoint.to_string(),
            region: self.region.as_ref().map(Region::to_string),
            since: rfc3339(self.since),
            until: self.until.map(rfc3339),
        }
    }

    fn covers(&self, endpoint: &EndpointId, region: &Region) -> bool {
        self.endpoint == *endpoint && self.region.as_ref().is_none_or(|own| own == region)
    }
}

/// For people and JSON.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    // What a clock that was never set, or a mistyped length, can lead to is beyond what the format can say.
    let at = at.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_DAY);
    humantime::format_rfc3339_millis(at).to_string()
}

impl Drains {
    /// Whether an endpoint drains there.
    pub(crate) fn covers(&self, endpoint: &EndpointId, region: &Region) -> bool {
        self.endpoints
            .iter()
            .any(|drain| drain.covers(endpoint, region))
    }

    /// All of them.
    pub(crate) fn endpoints(&self) -> &[Drain] {
        &self.endpoints
    }

    /// Begins a drain, or gives the same one another end. `None` when there are too many.
    pub(crate) fn add(
        &mut self,
        endpoint: EndpointId,
        region: Option<Region>,
        lasts: Option<Duration>,
        now: SystemTime,
    ) -> Option<&Drain> {
        let until = lasts.and_then(|lasts| now.checked_add(lasts));
        let known = self
            .endpoints
            .iter()
            .position(|d| d.endpoint == endpoint && d.region == region);
        let index = match known {
            Some(index) => {
                self.endpoints[index].until = until;
                index
            }
            None if self.endpoints.len() >= MOST_DRAINS => return None,
            None => {
                self.endpoints.push(Drain {
                    endpoint,
                    region,
                    since: now,
                    until,
                });
                self.endpoints.len() - 1
            }
        };
        Some(&self.endpoints[index])
    }

    /// Ends the drain of an endpoint in that region, or every drain of it. Tells those that ended.
    pub(crate) fn remove(&mut self, endpoint: &EndpointId, region: Option<&Region>) -> Vec<Drain> {
        self.take(|drain| {
            drain.endpoint == *endpoint && (region.is_none() || drain.region.as_ref() == region)
        })
    }

    /// Ends those whose time is over. Tells them.
    pub(crate) fn expire(&mut self, now: SystemTime) -> Vec<Drain> {
        self.take(|drain| drain.until.is_some_and(|until| until <= now))
    }

    fn take(&mut self, ends: impl Fn(&Drain) -> bool) -> Vec<Drain> {
        let (ended, stay) = std::mem::take(&mut self.endpoints)
            .into_iter()
            .partition(ends);
        self.endpoints = stay;
        ended
    }
}

/// Why the file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: not a state file: {source}", path = path.display())]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path}: version {found}, this release writes version {VERSION}", path = path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("{path}: {what:?} is not a time", path = path.display())]
    Time { path: PathBuf, what: String },
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u32,
    #[serde(default)]
    pop_draining: bool,
    #[serde(default)]
    drains: Vec<DrainView>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Reads the file; none yet is no drains.
pub(crate) fn load(path: &Path) -> Result<Drains, LoadError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Drains::default()),
        Err(source) => {
            return Err(LoadError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    parse(&text, path)
}

fn parse(text: &[u8], path: &Path) -> Result<Drains, LoadError> {
    let malformed = |source| LoadError::Malformed {
        path: path.to_owned(),
        source,
    };
    // The version first: another one may hold anything else.
    let VersionOnly { version } = serde_json::from_slice(text).map_err(malformed)?;
    if version != VERSION {
        return Err(LoadError::Version {
            path: path.to_owned(),
            found: version,
        });
    }
    let file: StateFile = serde_json::from_slice(text).map_err(malformed)?;
    let time = |text: &str| {
        humantime::parse_rfc3339_weak(text).map_err(|_| LoadError::Time {
            path: path.to_owned(),
            what: text.to_owned(),
        })
    };
    let mut endpoints = Vec::new();
    for view in file.drains.into_iter().take(MOST_DRAINS) {
        endpoints.push(Drain {
            since: time(&view.since)?,
            until: view.until.as_deref().map(time).transpose()?,
            endpoint: EndpointId::new(view.endpoint),
            region: view.region.map(Region::new),
        });
    }
    Ok(Drains {
        pop: file.pop_draining,
        endpoints,
    })
}

/// Writes the file so that a crash leaves the old one or the new one, never half of one.
pub(crate) fn save(path: &Path, drains: &Drains) -> io::Result<()> {
    let file = StateFile {
        version: VERSION,
        pop_draining: drains.pop,
        drains: drains.endpoints.iter().map(Drain::view).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&file)?;
    text.push(b'\n');
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let fresh = beside(path, ".new");
    let mut out = File::create(&fresh)?;
    out.write_all(&text)?;
    out.sync_all()?;
    fs::rename(&fresh, path)?;
    // The rename itself is on disk once the folder is.
    File::open(folder)?.sync_all()
}

/// Moves a file that could not be read out of the way of the next save; tells where to.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, ".unreadable");
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
