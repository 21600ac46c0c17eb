//! No text makes the reader panic, and whatever it says has a place in that text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::keys::{KEYS, Key};
use super::*;

const VALID: &str = include_str!("valid/whole.toml");

/// Reads, and checks what every answer must hold.
fn reads(text: &str) {
    match parse(text) {
        Ok(loaded) => assert!(!loaded.config.pop.name.is_empty()),
        Err(errors) => {
            let lines = text.split('\n').count();
            assert!(
                !errors.problems().is_empty(),
                "refused without a reason: {text:?}"
            );
            for problem in errors.problems() {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1);
                assert!(
                    !problem.key.is_empty()
                        && !problem.what.is_empty()
                        && !problem.remedy.is_empty()
                );
                assert!(!problem.to_string().contains(char::is_control), "{problem}");
            }
        }
    }
}

/// TOML values of every type, near the bounds and far from them.
fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-1..=70_000i64).prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|f| format!("{f:?}").to_lowercase().replace("nan", "-nan")),
        any::<bool>().prop_map(|b| b.to_string()),
        Just("1979-05-27T07:32:00Z".to_string()),
        "[0-9a-z.:\\[\\]/-]{0,12}".prop_map(|s| format!("{s:?}")),
        "\\PC{0,12}".prop_map(|s| format!("'''{}'''", s.replace('\'', ""))),
        "\"[0-9]{1,3}(ms|s|m|h|KiB|MiB)\"",
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            (key(), inner).prop_map(|(key, value)| format!("{{ {} = {value} }}", key.name)),
        ]
    })
}

fn key() -> impl Strategy<Value = &'static Key> {
    (0..KEYS.len()).prop_map(|index| &KEYS[index])
}

/// The lines of the valid file with one key's value replaced wherever the key stands.
fn replaced(key: &Key, value: &str) -> String {
    let prefix = format!("{} = ", key.name);
    let lines = VALID.lines().map(|line| match line.split_once(&prefix) {
        Some(("", _)) => format!("{prefix}{value}"),
        Some((before, after)) if before.ends_with("{ ") || before.ends_with(", ") => {
            let rest = after
                .split_once([',', '}'])
                .map_or("", |(given, _)| &after[given.len()..]);
            format!("{before}{prefix}{value}{rest}")
        }
        Some(_) | None => line.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes(bytes in vec(any::<u8>(), 0..400)) {
        reads(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn toml_like_text(text in "[\\[\\]{}=\"',.#a-z0-9_ \\n-]{0,200}") {
        reads(&text);
    }

    #[test]
    fn mutations_of_a_valid_file(edits in vec((any::<Index>(), 0..6usize, "\\PC|[\\[\\]{}=\"',.\\n0-9]"), 1..8)) {
        let mut chars: Vec<char> = VALID.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(chars.len());
            let end = (at + remove).min(chars.len());
            chars.splice(at..end, insert.chars());
        }
        reads(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_at_any_key(key in key(), value in value()) {
        reads(&replaced(key, &value));
    }

    #[test]
    fn a_file_without_some_of_its_lines(kept in vec(any::<bool>(), 80)) {
        let lines = VALID.lines().zip(kept.iter().chain(std::iter::repeat(&true)));
        let kept: Vec<&str> = lines.filter(|(_, kept)| **kept).map(|(line, _)| line).collect();
        reads(&kept.join("\n"));
    }
}
