//! The table of keys against the reader: every default is the one that the model gets, and every key is read.

use std::collections::HashSet;

use super::super::keys::{KEYS, Key, KeyDefault, Table, reference_table};
use super::*;

/// What stands where a key is required.
fn required(key: &Key) -> &'static str {
    match (key.table, key.name) {
        (Table::Readiness, "listen") => "\"127.0.0.1:8088\"",
        (Table::Listener, "protocol") => "\"TCP\"",
        (Table::Listener, "ports") => "[80]",
        (Table::Announce, "mode") => "[\"interface\"]",
        (Table::AwsRole, "arn") => "\"arn:aws:iam::222222222222:role/x\"",
        (Table::PortOverride, "listener_port") => "80",
        (Table::PortOverride, "endpoint_port") => "8080",
        (Table::Endpoint, "address") => "\"web.internal\"",
        (_, _) => "\"x\"",
    }
}

/// One of every table, each key as `value` says; `None` leaves it out.
fn file(value: impl Fn(&Key) -> Option<String>) -> String {
    let lines = |table: Table, separator: &str| -> String {
        let keys = KEYS.iter().filter(|key| key.table == table);
        let given = keys.filter_map(|key| Some(format!("{} = {}", key.name, value(key)?)));
        given.collect::<Vec<_>>().join(separator)
    };
    let mut text = String::new();
    for table in Table::ALL {
        let (name, heading) = (table.name(), table.heading());
        let block = match table {
            Table::Root => String::new(),
            Table::AcceptProxy | Table::HealthCheck | Table::DnsPolicy | Table::DnsHealthCheck => {
                format!("{name} = {{ {} }}", lines(table, ", "))
            }
            Table::Credential | Table::AwsRole | Table::PortOverride | Table::Endpoint => {
                format!("{name} = [{{ {} }}]", lines(table, ", "))
            }
            Table::Pop
            | Table::Admin
            | Table::Readiness
            | Table::Shutdown
            | Table::Log
            | Table::Limits
            | Table::Resolver
            | Table::Api
            | Table::Aws
            | Table::AwsAddresses
            | Table::Store
            | Table::EndpointAlias
            | Table::Dns
            | Table::DnsRecord
            | Table::Announce
            | Table::Accelerator
            | Table::Listener
            | Table::EndpointGroup => format!("{heading}\n{}", lines(table, "\n")),
        };
        text.push_str(&block);
        text.push('\n');
    }
    text
}

/// What must be given although the key has a default: one of several, and an address to publish and check.
fn wanted(key: &Key) -> Option<&'static str> {
    match (key.table, key.name) {
        (Table::Pop, "addresses") => Some("[\"192.0.2.1\"]"),
        (Table::DnsRecord, "accelerator") => Some("\"x\""),
        (_, _) => None,
    }
}

fn minimal(key: &Key) -> Option<String> {
    if let Some(wanted) = wanted(key) {
        return Some(wanted.to_string());
    }
    match key.default {
        KeyDefault::Required => Some(required(key).to_string()),
        KeyDefault::Value(_) | KeyDefault::Absent(_) => None,
    }
}

#[test]
fn writing_every_default_out_changes_nothing() {
    let spelled_out = file(|key| match key.default {
        KeyDefault::Value(toml) if wanted(key).is_none() => Some(toml.to_string()),
        KeyDefault::Value(_) | KeyDefault::Required | KeyDefault::Absent(_) => minimal(key),
    });
    assert_eq!(load(&spelled_out).config, load(&file(minimal)).config);
}

#[test]
fn every_key_of_the_table_is_read() {
    for key in KEYS {
        let text = file(|other| {
            let same = (other.table, other.name) == (key.table, key.name);
            if same {
                Some("1979-05-27".to_string())
            } else {
                minimal(other)
            }
        });
        let expected = key.path().replace("[]", "[0]");
        let found = errors(&text);
        assert!(
            found.iter().any(|error| error.key == expected),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn keys_are_unique_and_in_the_order_of_the_tables() {
    let paths: HashSet<String> = KEYS.iter().map(Key::path).collect();
    assert_eq!(paths.len(), KEYS.len());
    let order = |key: &Key| Table::ALL.iter().position(|table| *table == key.table);
    assert!(KEYS.is_sorted_by_key(order));
    assert!(paths.contains("accelerator[].listener[].endpoint_group[].endpoints[].weight"));
}

#[test]
fn the_reference_has_every_key_once_and_whole_cells() {
    let table = reference_table();
    for key in KEYS {
        let cell = format!("\n| `{}` | {} |", key.name, key.kind);
        assert!(table.contains(&cell), "{cell}");
        for text in [key.kind, key.description] {
            assert!(!text.contains('|') && !text.contains('\n'), "{text}");
        }
    }
}
