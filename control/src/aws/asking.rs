//! Reading lists of AWS whole: page after page with a bound, and many ids at once with the bad ones found by halving. What was read
//! before an error is kept, and the error says that it is not all.

use std::future::Future;
use std::time::Instant;

use tokio::time::timeout_at;

use super::session::{Call, CallError, ErrorClass, Fault, Session};

/// More pages than any account has things for: a token that leads in circles ends here.
const MOST_PAGES: usize = 1000;

/// One walk's way of asking: everything ends at its deadline.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) session: Session,
    pub(super) deadline: Instant,
}

/// What a list gave, and why it gave no more.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    pub(super) error: Option<CallError>,
}

impl Asking {
    /// One call, tried again as the session does.
    pub(super) async fn call<T, F>(
        &self,
        call: &Call<'_>,
        ask: impl Fn() -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match timeout_at(self.deadline.into(), self.session.call(call, ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::of(
                call,
                Fault::new(ErrorClass::Timeout, "the whole reading took too long"),
                0,
            )),
        }
    }

    /// All pages of a list. `ask` takes a token and gives a page and the next token.
    pub(super) async fn pages<T, F>(
        &self,
        call: &Call<'_>,
        ask: impl Fn(Option<String>) -> F,
    ) -> Listed<T>
    where
        F: Future<Output = Result<(Vec<T>, Option<String>), Fault>>,
    {
        let mut items = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            match self.call(call, || ask(token.clone())).await {
                Err(error) => {
                    return Listed {
                        items,
                        error: Some(error),
                    };
                }
                Ok((page, next)) => {
                    items.extend(page);
                    let next = next.filter(|next| !next.is_empty());
                    if next.is_none() {
                        return Listed { items, error: None };
                    }
                    if next == token {
                        break;
                    }
                    token = next;
                }
            }
        }
        let fault = Fault::new(ErrorClass::Malformed, "its pages never end");
        Listed {
            items,
            error: Some(CallError::of(call, fault, 1)),
        }
    }
}

/// What came of asking for many ids.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    /// Ids that are not there, or not there for us.
    pub(super) missing: Vec<String>,
    /// Ids that nothing was learnt about, and why.
    pub(super) failed: Vec<(Vec<String>, CallError)>,
}

/// Asks for `ids`, `most` at once. An id that makes the whole call fail as not found is found by halving.
pub(super) async fn bisect<T, F>(
    ids: &[String],
    most: usize,
    ask: impl Fn(Vec<String>) -> F,
) -> Found<T>
where
    F: Future<Output = Result<Vec<T>, CallError>>,
{
    let mut found = Found {
        items: Vec::new(),
        missing: Vec::new(),
        failed: Vec::new(),
    };
    let mut waiting: Vec<Vec<String>> = ids
        .chunks(most.max(1))
        .rev()
        .map(<[String]>::to_vec)
        .collect();
    while let Some(mut ids) = waiting.pop() {
        match ask(ids.clone()).await {
            Ok(items) => found.items.extend(items),
            Err(error) => match error.class() {
                // A refusal may be about one id of many, too: one that is no ARN.
                ErrorClass::NotFound | ErrorClass::Refused if ids.len() > 1 => {
                    let second = ids.split_off(ids.len() / 2);
                    waiting.push(second);
                    waiting.push(ids);
                }
                ErrorClass::NotFound => found.missing.extend(ids),
                ErrorClass::Refused
                | ErrorClass::Throttled
                | ErrorClass::Unavailable
                | ErrorClass::Timeout
                | ErrorClass::Unreachable
                | ErrorClass::Malformed
                | ErrorClass::Denied
                | ErrorClass::Credentials
                | ErrorClass::WrongAccount => found.failed.push((ids, error)),
            },
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::session::{Account, Service};
    use super::*;

    fn error(class: ErrorClass) -> CallError {
        let call = Call {
            service: Service::Elb,
            operation: "DescribeLoadBalancers",
            account: &Account::Own,
            region: "us-east-1",
        };
        CallError::of(&call, Fault::new(class, "no"), 1)
    }

    #[tokio::test]
    async fn bad_ids_are_found_by_halving_and_hide_no_good_one() {
        let ids: Vec<String> = (0..45).map(|n| format!("{n:02}")).collect();
        for bad in [vec![], vec!["13"], vec!["00", "44"], vec!["19", "20", "21"]] {
            let asked = Cell::new(0);
            let found = bisect(&ids, 20, |ids| {
                asked.set(asked.get() + 1);
                let is_bad = ids.iter().any(|id| bad.contains(&id.as_str()));
                let answer = if is_bad {
                    Err(error(ErrorClass::NotFound))
                } else {
                    Ok(ids)
                };
                std::future::ready(answer)
            })
            .await;
            assert_eq!(found.missing, bad);
            assert_eq!(found.items.len(), ids.len() - bad.len());
            assert!(found.failed.is_empty());
            // Twenty are halved five times at most.
            assert!(asked.get() <= 3 + 2 * 5 * bad.len(), "{bad:?}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_about_ids_is_not_halved() {
        let ids: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        for class in [ErrorClass::Denied, ErrorClass::Throttled] {
            let asked = Cell::new(0);
            let found = bisect(&ids, 20, |_| {
                asked.set(asked.get() + 1);
                std::future::ready(Err::<Vec<String>, _>(error(class)))
            })
            .await;
            assert_eq!((asked.get(), found.missing.len()), (2, 0), "{class}");
            assert_eq!(found.failed.len(), 2);
        }
    }
}
