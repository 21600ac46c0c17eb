//! `[aws]` as it is written, and what is wrong with what is not.

use super::*;
use crate::model::{Aws, AwsReach};

fn aws(text: &str) -> Aws {
    load(text).config.aws.expect("[aws] is there")
}

#[test]
fn everything_of_it_is_read() {
    assert_eq!(load("").config.aws, None);
    let read = aws(
        "[aws]\nimport = false\nregions = [\"us-east-1\"]\nendpoint_url = \"http://127.0.0.1:5000\"\naccount_id = \"123456789012\"\n\
         interval = \"1s\"\ncalls_per_second = 3\nburst = 5\nreach = \"private\"\n\
         roles = [{ arn = \"arn:aws:iam::222222222222:role/read\", external_id = \"x\" }]\n\
         [aws.addresses]\nshop = [\"203.0.113.10\", \"2001:db8::1\"]\n\"arn:aws:globalaccelerator::1:accelerator/a\" = [\"203.0.113.11\"]\n",
    );
    assert_eq!(
        (read.import, read.reach, read.calls_per_second, read.burst),
        (false, AwsReach::Private, 3, 5)
    );
    assert_eq!(read.account_id.as_deref(), Some("123456789012"));
    assert_eq!(read.endpoint_url.as_deref(), Some("http://127.0.0.1:5000"));
    assert_eq!(
        (
            read.roles[0].account_id.as_str(),
            read.roles[0].external_id.as_deref()
        ),
        ("222222222222", Some("x"))
    );
    let names: Vec<&str> = read
        .addresses
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["shop", "arn:aws:globalaccelerator::1:accelerator/a"]
    );
    let least = aws("[aws]\n");
    assert_eq!(
        (least.endpoint_url, least.account_id, least.reach),
        (None, None, AwsReach::Public)
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let cases = [
        (
            "endpoint_url = \"127.0.0.1:5000\"",
            "aws.endpoint_url",
            "not a URL",
        ),
        ("account_id = \"12\"", "aws.account_id", "not an account id"),
        ("interval = \"500ms\"", "aws.interval", "out of range"),
        ("reach = \"everything\"", "aws.reach", "none of the words"),
        (
            "roles = [{ arn = \"arn:aws:iam::2:role/x\" }]",
            "aws.roles[0].arn",
            "not the ARN of a role",
        ),
        ("region = [\"us-east-1\"]", "aws.region", "unknown key"),
        (
            "[aws.addresses]\nshop = [\"x\"]",
            "aws.addresses.shop[0]",
            "not",
        ),
        (
            "[aws.addresses]\na = [\"192.0.2.1\"]\nb = [\"192.0.2.1\"]",
            "aws.addresses.b",
            "another accelerator",
        ),
    ];
    for (text, key, what) in cases {
        let found = errors(&format!("[aws]\n{text}\n"));
        let error = found.iter().find(|error| error.key == key);
        let error = error.unwrap_or_else(|| panic!("{text}: {found:?}"));
        assert!(error.what.contains(what), "{text}: {}", error.what);
    }
    let twice = "arn:aws:iam::222222222222:role";
    let found = errors(&format!(
        "[aws]\nroles = [{{ arn = \"{twice}/a\" }}, {{ arn = \"{twice}/b\" }}]\n"
    ));
    assert_eq!(found[0].key, "aws.roles[1].arn");
}
