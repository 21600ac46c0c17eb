//! Pages of lists. A token says behind which item the next page begins, signed, so that nobody makes one up or takes it from
//! one list to another. Order is that of creation; what comes or goes between two pages disturbs nothing else.

use ring::hmac;

use super::errors::{ApiError, Exception};

/// Items of a page when the caller says nothing.
const DEFAULT_PAGE: u32 = 10;

/// Bytes of the signature that a token carries: enough against guessing, short enough for a URL.
const MARK: usize = 8;

/// What is asked of one list.
pub(crate) struct Asked<'a> {
    /// The operation and what else tells this list from others.
    pub(crate) list: &'a str,
    pub(crate) max_results: Option<u32>,
    pub(crate) next_token: Option<&'a str>,
}

/// One page of items, which come in ascending order of their number, and the token of the next one.
pub(crate) fn page<T>(
    key: &str,
    asked: &Asked<'_>,
    items: impl IntoIterator<Item = (u64, T)>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let behind = asked
        .next_token
        .map(|token| read(key, asked.list, token))
        .transpose()?;
    let size = asked.max_results.unwrap_or(DEFAULT_PAGE) as usize;
    let mut rest = items
        .into_iter()
        .filter(|(number, _)| behind.is_none_or(|behind| *number > behind));
    let mut page = Vec::new();
    let mut last = 0;
    for (number, item) in rest.by_ref().take(size) {
        last = number;
        page.push(item);
    }
    let more = rest.next().is_some();
    Ok((page, more.then(|| write(key, asked.list, last))))
}

fn write(key: &str, list: &str, last: u64) -> String {
    let mark = mark(key, list, last);
    format!("{last:016x}{}", hex(&mark[..MARK]))
}

fn read(key: &str, list: &str, token: &str) -> Result<u64, ApiError> {
    let last = token
        .get(..16)
        .and_then(|text| u64::from_str_radix(text, 16).ok());
    let last = last.filter(|last| write(key, list, *last) == token);
    last.ok_or_else(|| Exception::InvalidNextToken.because("There isn't another item to return."))
}

fn mark(key: &str, list: &str, last: u64) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::sign(&key, format!("{list}\n{last}").as_bytes())
        .as_ref()
        .to_vec()
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(max_results: u32, count: u64) -> Vec<Vec<u64>> {
        let mut token = None;
        let mut pages = Vec::new();
        loop {
            let asked = Asked {
                list: "l",
                max_results: Some(max_results),
                next_token: token.as_deref(),
            };
            let (items, next) = page("key", &asked, (1..=count).map(|n| (n, n))).expect("a page");
            pages.push(items);
            match next {
                Some(next) => token = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_hold_every_item_once_and_the_last_has_no_token() {
        assert_eq!(
            pages(10, 25).iter().map(Vec::len).collect::<Vec<_>>(),
            [10, 10, 5]
        );
        assert_eq!(
            pages(10, 20).iter().map(Vec::len).collect::<Vec<_>>(),
            [10, 10]
        );
        assert_eq!(pages(3, 0), [vec![0u64; 0]]);
        assert_eq!(pages(7, 100).concat(), (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_token_of_another_list_or_of_nobody_is_refused() {
        let token = write("key", "l", 3);
        for (key, list, token) in [
            ("key", "m", token.as_str()),
            ("kex", "l", &token),
            ("key", "l", ""),
            ("key", "l", "ü"),
            ("key", "l", &token[1..]),
            ("key", "l", &format!("{token}0")),
        ] {
            assert_eq!(
                read(key, list, token).unwrap_err().exception,
                Exception::InvalidNextToken,
                "{token}"
            );
        }
        assert_eq!(read("key", "l", &token), Ok(3));
    }
}
