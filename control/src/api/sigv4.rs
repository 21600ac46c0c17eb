//! AWS Signature Version 4, from the verifier's side (AWS General Reference, "Signing AWS API requests"). The path is always `/`
//! and there is no query, so neither is canonicalised.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use portolan_config::model::Credential;
use ring::{digest, hmac};

use super::errors::{ApiError, Exception};
use super::paging::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "globalaccelerator";
const DATE: &str = "x-amz-date";
const SECURITY_TOKEN: &str = "x-amz-security-token";

/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// A secret longer than this is a mistaken file.
const LONGEST_SECRET: usize = 1024;

/// A session token longer than this is a mistaken file. AWS's own are a few hundred characters to a few thousand.
const LONGEST_TOKEN: usize = 16 * 1024;

/// AWS signs every header that begins so: whoever could add one, or change one, would change what was asked for.
const SIGNED_PREFIX: &str = "x-amz-";

/// Headers that a request may sign; clients sign five or six.
const MOST_SIGNED: usize = 64;

/// Whose signatures are taken.
pub(crate) struct Keys(Vec<Key>);

struct Key {
    id: String,
    secret: String,
    /// What must come with it.
    session_token: Option<String>,
}

/// A secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("{key} {}: {source}", path.display())]
    Unreadable {
        /// The file's key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds nothing that could be a secret.
    #[error("{key} {}: it must hold one line of 8 to {longest} visible ASCII characters", path.display())]
    NotASecret {
        /// The file's key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The most that it may hold.
        longest: usize,
    },
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The access key, verified or, without keys of ours, as it was given; `None` when the request was not signed.
    pub(crate) access_key_id: Option<String>,
}

impl Keys {
    /// Reads the secrets.
    pub(crate) fn read(credentials: &[Credential]) -> Result<Keys, KeyError> {
        let read = |credential: &Credential| {
            let Credential {
                access_key_id,
                secret_access_key_file,
                session_token_file,
            } = credential;
            let read_token = |path: &PathBuf| read_line("session_token_file", path, LONGEST_TOKEN);
            Ok(Key {
                id: access_key_id.clone(),
                secret: read_line(
                    "secret_access_key_file",
                    secret_access_key_file,
                    LONGEST_SECRET,
                )?,
                session_token: session_token_file.as_ref().map(read_token).transpose()?,
            })
        };
        credentials
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Keys)
    }

    /// Whether anybody may ask.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asks, if they may. Must be called with every header of the request.
    pub(crate) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Caller, ApiError> {
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if self.is_open() {
            let access_key_id = given
                .and_then(|text| Authorization::parse(text).ok())
                .map(|a| a.access_key_id.to_owned());
            return Ok(Caller { access_key_id });
        }
        let given = given.ok_or_else(|| {
            Exception::MissingAuthenticationToken.because("Missing Authentication Token")
        })?;
        let authorization = Authorization::parse(given)?;
        let key = self
            .0
            .iter()
            .find(|key| key.id == authorization.access_key_id)
            .filter(|key| key.comes_with(headers.get(SECURITY_TOKEN)));
        let Some(key) = key else {
            return Err(Exception::UnrecognizedClient
                .because("The security token included in the request is invalid."));
        };
        authorization.check(headers, body, &key.secret, now)?;
        Ok(Caller {
            access_key_id: Some(key.id.clone()),
        })
    }
}

impl Key {
    /// Whether a request brings the key's token, or none when it has none.
    fn comes_with(&self, given: Option<&HeaderValue>) -> bool {
        match (&self.session_token, given) {
            (None, None) => true,
            (Some(token), Some(given)) => is_same(token.as_bytes(), given.as_bytes()),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// Takes as long whatever the bytes are: their digests are compared by a key that nobody knows.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

fn read_line(key: &'static str, path: &Path, longest: usize) -> Result<String, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    })?;
    let line = text.trim();
    let fits = (8..=longest).contains(&line.len()) && line.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| line.to_owned())
        .ok_or_else(|| KeyError::NotASecret {
            key,
            path: path.to_owned(),
            longest,
        })
}

/// The `Authorization` header, taken apart.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, ApiError> {
        let incomplete = |what: &str| {
            Exception::IncompleteSignature.because(format!("Authorization header {what}"))
        };
        let Some(rest) = text.strip_prefix(ALGORITHM) else {
            return Err(incomplete(&format!("does not begin with {ALGORITHM}.")));
        };
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| incomplete(&format!("requires '{name}' parameter.")))
        };
        let (credential, signed_headers, signature) = (
            part("Credential")?,
            part("SignedHeaders")?,
            part("Signature")?,
        );
        let mut scope = credential.rsplitn(5, '/');
        let mut next = || {
            scope
                .next()
                .ok_or_else(|| incomplete("has a Credential that is no scope."))
        };
        let (end, service, region, date, access_key_id) =
            (next()?, next()?, next()?, next()?, next()?);
        if end != "aws4_request" || date.len() != 8 {
            return Err(incomplete("has a Credential that is no scope."));
        }
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers,
            signature,
        })
    }

    fn check(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        secret: &str,
        now: SystemTime,
    ) -> Result<(), ApiError> {
        let wrong = |what: String| Exception::InvalidSignature.because(what);
        if self.service != SERVICE {
            return Err(wrong(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            )));
        }
        let time = headers
            .get(DATE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let Some(signed_at) = parse_time(time) else {
            return Err(Exception::IncompleteSignature
                .because("Authorization header requires existence of an 'X-Amz-Date' header."));
        };
        if !time.starts_with(self.date) {
            return Err(wrong("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.".to_owned()));
        }
        let off = now
            .duration_since(signed_at)
            .unwrap_or_else(|ahead| ahead.duration());
        if off > SKEW {
            return Err(wrong(format!(
                "Signature expired: {time} is more than 5 minutes away from this host's time."
            )));
        }
        let canonical = self.canonical_request(headers, body)?;
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let scope = format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        );
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{hashed}");
        let key = [self.date, self.region, self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
                sign(&key, part.as_bytes())
            });
        let given = unhex(self.signature).unwrap_or_default();
        // In constant time.
        let same = hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            to_sign.as_bytes(),
            &given,
        );
        same.map_err(|_| {
            let message = "The request signature we calculated does not match the signature you provided. \
                Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
            wrong(message.to_owned())
        })
    }

    fn canonical_request(&self, headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
        let incomplete = |what: String| Exception::IncompleteSignature.because(what);
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        let of_aws = headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| name.starts_with(SIGNED_PREFIX));
        for needed in ["host", DATE].into_iter().chain(of_aws) {
            if !names.contains(&needed) {
                return Err(incomplete(format!(
                    "'{needed}' must be a 'SignedHeader' in the AWS Authorization."
                )));
            }
        }
        if names.len() > MOST_SIGNED {
            return Err(incomplete(format!(
                "More than {MOST_SIGNED} headers are signed."
            )));
        }
        let mut lines = String::new();
        for name in &names {
            let values: Vec<String> = headers
                .get_all(*name)
                .iter()
                .map(|value| {
                    String::from_utf8_lossy(value.as_bytes())
                        .split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect();
            if values.is_empty() {
                return Err(incomplete(format!(
                    "'{}' is signed and not there.",
                    name.escape_debug()
                )));
            }
            lines.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let body = hex(digest::digest(&digest::SHA256, body).as_ref());
        Ok(format!(
            "POST\n/\n\n{lines}\n{}\n{body}",
            self.signed_headers
        ))
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
        .as_ref()
        .to_vec()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

/// `20181127T230053Z`.
fn parse_time(text: &str) -> Option<SystemTime> {
    let plain = text.len() == 16
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 => b == b'T',
            15 => b == b'Z',
            _ => b.is_ascii_digit(),
        });
    if !plain {
        return None;
    }
    let (d, t) = (&text[..8], &text[9..15]);
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &d[..4],
        &d[4..6],
        &d[6..],
        &t[..2],
        &t[2..4],
        &t[4..]
    );
    humantime::parse_rfc3339(&rfc3339).ok()
}

#[cfg(test)]
mod tests;
