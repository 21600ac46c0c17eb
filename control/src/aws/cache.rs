//! The last good answer on disk: what is served when AWS cannot be asked, after a start as well. Written whole or not at all, and read
//! back only when it is what was written; the answer before it stands in where that is lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::plan::Known;

/// The form of the file.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Of `known`.
    sha256: String,
    /// JSON, as text: a sum over what is written here holds whatever a later release adds to it.
    known: String,
}

/// Why the last answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else, or half of it.
    #[error("{}: not what Portolan wrote: {what}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Where the last answer lies: beside the store.
pub fn path(store: &Path) -> PathBuf {
    store.with_extension("aws.json")
}

/// Reads it; none yet is nothing known.
pub fn load(path: &Path) -> Result<Known, CacheError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
        Err(source) => {
            return Err(CacheError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let broken = |what: String| CacheError::Broken {
        path: path.to_owned(),
        what,
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
    if kept.version != VERSION {
        return Err(broken(format!(
            "version {}, this release writes {VERSION}",
            kept.version
        )));
    }
    if checksum(&kept.known) != kept.sha256 {
        return Err(broken("its checksum is of something else".to_owned()));
    }
    serde_json::from_str(&kept.known).map_err(|error| broken(error.to_string()))
}

/// The answer before the last one, if there is one that can be read.
pub fn load_before(path: &Path) -> Option<Known> {
    let before = beside(path, BEFORE);
    before.exists().then(|| load(&before).ok()).flatten()
}

/// Where [`save`] leaves what it replaces.
const BEFORE: &str = ".before";

/// Writes it so that a crash leaves the old one or the new one.
pub fn save(path: &Path, known: &Known) -> io::Result<()> {
    let known = serde_json::to_string(known)?;
    let kept = Kept {
        version: VERSION,
        sha256: checksum(&known),
        known,
    };
    let text = serde_json::to_vec(&kept)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    // By process: a predecessor may be writing its last one.
    let fresh = beside(path, &format!(".{}.new", std::process::id()));
    let mut out = File::create(&fresh)?;
    out.write_all(&text)?;
    out.sync_all()?;
    keep_before(path);
    fs::rename(&fresh, path)?;
    // The rename itself is on disk once the folder is.
    File::open(folder)?.sync_all()
}

/// A second name for what is about to be replaced, if it is whole. Where the file system has none, there is no spare.
fn keep_before(path: &Path) {
    let before = beside(path, BEFORE);
    if path.exists() && load(path).is_ok() {
        // Best effort, both: the spare of a file that is written whole.
        let _ = fs::remove_file(&before);
        let _ = fs::hard_link(path, &before);
    }
}

/// Moves what cannot be read out of the way of the next save; tells where to.
pub fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, ".unreadable");
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn checksum(text: &str) -> String {
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_and_what_was_changed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("portolan.redb"));
        assert!(path.ends_with("portolan.aws.json"));
        assert_eq!(load(&path).unwrap(), Known::default(), "none yet");
        let mut known = Known::default();
        known.picture.account = Some("123456789012".into());
        known.read_at = Some(std::time::SystemTime::now());
        save(&path, &known).unwrap();
        assert_eq!(load(&path).unwrap(), known);
        let text = fs::read_to_string(&path).unwrap();
        for broken in [
            text.replace("123456789012", "123456789013"),
            text[..text.len() / 2].to_owned(),
            String::new(),
        ] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(load(&path), Err(CacheError::Broken { .. })));
        }
        assert!(put_aside(&path).unwrap().exists());
        assert_eq!(load(&path).unwrap(), Known::default());
    }

    #[test]
    fn the_answer_before_stands_in_for_one_that_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("portolan.redb"));
        let of = |account: &str| {
            let mut known = Known::default();
            known.picture.account = Some(account.into());
            known
        };
        assert_eq!(load_before(&path), None);
        save(&path, &of("1")).unwrap();
        save(&path, &of("2")).unwrap();
        assert_eq!(load_before(&path), Some(of("1")));
        fs::write(&path, "").unwrap();
        save(&path, &of("3")).unwrap();
        assert_eq!(load(&path).unwrap(), of("3"));
        assert_eq!(load_before(&path), Some(of("1")), "no broken one is kept");
    }
}
