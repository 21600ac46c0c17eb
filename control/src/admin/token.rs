//! The bearer token: read from a file, read again when the file changes, compared in constant time.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::warn;

/// A token longer than this is a mistaken file.
const LONGEST: u64 = 4096;

/// The token's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("token file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds nothing that could be a token.
    #[error("token file {}: it must hold one line of 1 to {LONGEST} visible ASCII characters", path.display())]
    NotAToken {
        /// The file.
        path: PathBuf,
    },
}

/// The token that requests must carry.
pub(super) struct Token {
    path: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    token: String,
    modified: Option<SystemTime>,
}

impl Token {
    /// Reads it for the first time.
    pub(super) fn read(path: PathBuf) -> Result<Self, TokenError> {
        let modified = modified(&path);
        let token = read(&path)?;
        Ok(Self {
            path,
            current: Mutex::new(Current { token, modified }),
        })
    }

    /// Whether `Authorization` carries the token. A changed file counts at once; a broken one leaves the old token in force.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = modified(&self.path);
        if modified != current.modified {
            current.modified = modified;
            match read(&self.path) {
                Ok(token) => current.token = token,
                Err(error) => warn!(%error, "the old admin token stays"),
            }
        }
        authorization
            .and_then(bearer)
            .is_some_and(|given| equal(given, current.token.as_bytes()))
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn read(path: &Path) -> Result<String, TokenError> {
    let unreadable = |source| TokenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let not_a_token = || TokenError::NotAToken {
        path: path.to_owned(),
    };
    if fs::metadata(path).map_err(unreadable)?.len() > LONGEST {
        return Err(not_a_token());
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(not_a_token());
    }
    Ok(token.to_owned())
}

/// What follows `Bearer `, whose case does not matter (RFC 9110 §11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// Takes the same time wherever they differ. Their lengths may show.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differences = a
        .iter()
        .zip(b)
        .fold(0, |acc, (x, y)| black_box(acc | (x ^ y)));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn admits_the_token_alone() {
        let (_dir, path) = file("s3cret\n");
        let token = Token::read(path).unwrap();
        assert!(token.admits(Some(b"Bearer s3cret")));
        assert!(token.admits(Some(b"bearer  s3cret ")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crett",
            "Basic s3cret",
            "s3cret",
            "Bearer S3cret",
        ] {
            assert!(!token.admits(Some(wrong.as_bytes())), "{wrong}");
        }
        assert!(!token.admits(None));
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        for text in ["", "\n", "two words", "é", &"x".repeat(5000)] {
            let (_dir, path) = file(text);
            assert!(
                matches!(Token::read(path), Err(TokenError::NotAToken { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            Token::read("/no/such/token".into()),
            Err(TokenError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_not_at_all() {
        let (_dir, path) = file("old");
        let token = Token::read(path.clone()).unwrap();
        let change = |text: &str, age| {
            fs::write(&path, text).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(at)
                .unwrap();
        };

        change("new", 60);
        assert!(token.admits(Some(b"Bearer new")));
        assert!(!token.admits(Some(b"Bearer old")));
        change("", 30);
        assert!(token.admits(Some(b"Bearer new")));
        assert!(!token.admits(Some(b"Bearer ")));
    }
}
