//! Where a lab has its files. It is removed with the lab; one whose owner was killed is removed by the next lab, which knows it by a lock
//! that nobody holds.

use std::fs::{File, TryLockError};
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "portolan-lab-";
const LOCK: &str = "lock";

/// A lab's directory.
pub(crate) struct Directory {
    path: TempDir,
    /// Held as long as the lab: the kernel gives it back however we end.
    _lock: File,
}

impl Directory {
    /// Makes one, and sweeps what killed labs have left.
    pub(crate) fn new() -> Directory {
        sweep(&std::env::temp_dir());
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .expect("there is a temporary directory");
        // Held before it has the name that a sweeper looks for.
        let new = path.path().join("new");
        let lock = File::create(&new).expect("it is writable");
        lock.lock().expect("a fresh lock is free");
        std::fs::rename(new, path.path().join(LOCK)).expect("it is writable");
        Directory { path, _lock: lock }
    }

    pub(crate) fn path(&self) -> &Path {
        self.path.path()
    }
}

fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Without the lock's file it is being made, or removed, at this moment.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if ours && !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            // Two sweepers may meet; both want the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_swept_and_what_somebody_holds_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join("portolan-lab-abandoned");
        let held = parent.path().join("portolan-lab-held");
        for path in [&abandoned, &held] {
            std::fs::create_dir(path).unwrap();
        }
        drop(File::create(abandoned.join(LOCK)).unwrap());
        let lock = File::create(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        sweep(parent.path());
        assert!(!abandoned.exists());
        assert!(held.exists());
    }
}
