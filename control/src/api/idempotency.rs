//! Creates that come twice. An SDK that lost an answer sends the same body again, token included, and must get the same
//! answer; the same token over another body is a mistake of the caller's.

use std::time::Duration;

use ring::digest;
use serde_json::Value;

use super::errors::{ApiError, Exception};
use super::paging::hex;
use super::records::{Edit, TokenRecord};
use super::time::Timestamp;
use super::world::World;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Answers that are kept at most; the oldest go first. At a few kilobytes each this bounds memory and file.
const MOST: usize = 20_000;

/// Old answers thrown away with one create: keeps a create cheap after a day of many.
const SWEPT_AT_ONCE: usize = 16;

/// A create that carries a token.
pub(crate) struct Attempt {
    key: String,
    digest: String,
}

impl Attempt {
    /// Of an operation's checked input; `None` when it carries no token.
    pub(crate) fn of(operation: &str, input: &Value) -> Option<Attempt> {
        let token = input.get("IdempotencyToken")?.as_str()?;
        let parent = ["AcceleratorArn", "ListenerArn"]
            .iter()
            .find_map(|member| input.get(member)?.as_str());
        let key = format!("{operation}|{}|{token}", parent.unwrap_or_default());
        // Members are sorted, so equal requests have equal texts.
        let text = input.to_string();
        Some(Attempt {
            key,
            digest: hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
        })
    }

    /// The answer that the same request got before.
    pub(crate) fn answered(
        &self,
        world: &World,
        now: Timestamp,
    ) -> Result<Option<Value>, ApiError> {
        let Some(record) = world
            .tokens
            .get(&self.key)
            .filter(|record| now.since(record.at) < KEPT)
        else {
            return Ok(None);
        };
        if record.digest == self.digest {
            return Ok(Some(record.answer.clone()));
        }
        let message = "This idempotency token was used with other parameters. Use a token of its own for each request.";
        Err(Exception::InvalidArgument.because(message))
    }

    /// Keeps the answer, and lets old ones go.
    pub(crate) fn keep(self, answer: Value, world: &World, now: Timestamp) -> Vec<Edit> {
        let mut edits = Vec::new();
        let is_old = |record: &TokenRecord| now.since(record.at) >= KEPT;
        let old = world.tokens.iter().filter(|(_, record)| is_old(record));
        edits.extend(
            old.take(SWEPT_AT_ONCE)
                .map(|(key, _)| Edit::Token(key.clone(), None)),
        );
        if world.tokens.len() >= MOST
            && edits.is_empty()
            && let Some((key, _)) = world.tokens.iter().min_by_key(|(_, record)| record.at)
        {
            edits.push(Edit::Token(key.clone(), None));
        }
        edits.push(Edit::Token(
            self.key,
            Some(TokenRecord {
                digest: self.digest,
                answer,
                at: now,
            }),
        ));
        edits
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attempt(name: &str) -> Attempt {
        Attempt::of(
            "CreateAccelerator",
            &json!({ "Name": name, "IdempotencyToken": "t" }),
        )
        .expect("a token")
    }

    #[test]
    fn the_same_request_gets_the_first_answer_for_a_day_and_another_one_none() {
        let mut world = World::default();
        let began = Timestamp::from_secs(1_000_000);
        assert_eq!(attempt("a").answered(&world, began), Ok(None));
        let edits = attempt("a").keep(json!({ "answer": 1 }), &world, began);
        world.apply(edits, None);
        assert_eq!(
            attempt("a").answered(&world, began),
            Ok(Some(json!({ "answer": 1 })))
        );
        let other = attempt("b").answered(&world, began).unwrap_err();
        assert_eq!(other.exception, Exception::InvalidArgument);
        let later = Timestamp::from_secs(1_000_000 + 24 * 3600);
        assert_eq!(attempt("b").answered(&world, later), Ok(None));
        let edits = attempt("b").keep(json!(2), &world, later);
        world.apply(edits, None);
        assert_eq!(world.tokens.len(), 1, "old answers are let go");
    }

    #[test]
    fn tokens_count_below_their_parent_and_for_their_operation() {
        let one = Attempt::of(
            "CreateListener",
            &json!({ "AcceleratorArn": "a", "IdempotencyToken": "t" }),
        );
        let two = Attempt::of(
            "CreateListener",
            &json!({ "AcceleratorArn": "b", "IdempotencyToken": "t" }),
        );
        assert_ne!(one.expect("a token").key, two.expect("a token").key);
        assert!(Attempt::of("DeleteListener", &json!({ "ListenerArn": "a" })).is_none());
    }
}
