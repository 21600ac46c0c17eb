//! `[announce]`: which ways, and what each of them needs.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Table;
use super::section::Section;
use super::typed::{self, duration, integer, one_of, parsed};
use super::values::{self, ValueError, fault};
use crate::model::{Announce, Bird};

const HOUR: Duration = Duration::from_secs(3600);
/// The kernel's `IFNAMSIZ`, without the zero at the end.
const MAX_INTERFACE: usize = 15;

/// A way to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Interface,
    Bird,
    Exec,
}

const WAYS: &[(&str, Way)] = &[
    ("interface", Way::Interface),
    ("bird", Way::Bird),
    ("exec", Way::Exec),
];

/// `Some(None)` is a file without `[announce]`.
pub(super) fn announce(root: &Section<'_>, folder: &Path) -> Option<Option<Announce>> {
    let section = root.child(Table::Announce)?;
    if !section.is_present() {
        return Some(None);
    }
    let ways = section.list("mode", one_of(WAYS));
    let interface = section.get("interface", interface);
    let socket = section.get("bird_socket", typed::path);
    let include = section.get("bird_include", typed::path);
    let command = section.list("command", |value| typed::text(value).map(str::to_string));
    let asn = section.optional("asn", integer::<u32>(1..=i64::from(u32::MAX)));
    let prepend = section.get("prepend", integer::<u8>(0..=16));
    let drain = section.get("drain", duration(Duration::ZERO..=HOUR));
    let hold = section.get("hold", duration(Duration::ZERO..=HOUR));
    let self_check = section.get("self_check", parsed(self_check));
    let ways: Vec<Way> = ways?.into_iter().map(|item| item.value).collect();
    let command: Vec<String> = command?.into_iter().map(|item| item.value).collect();
    if ways.is_empty() {
        section.error(
            "mode",
            "there is no way to announce",
            "give at least one of \"interface\", \"bird\", \"exec\", or remove [announce]",
        );
    }
    if ways.contains(&Way::Exec) && command.is_empty() {
        section.error(
            "command",
            "mode \"exec\" runs a program, and none is given",
            "give the program and its arguments, such as command = [\"/usr/local/bin/announce\"]",
        );
    }
    if !ways.is_empty() && !ways.contains(&Way::Interface) {
        section.warn(
            "mode",
            "what is announced stays announced when this process is killed",
            "add \"interface\", and let BIRD announce only what stands on that interface as well",
        );
    }
    let has = |way| ways.contains(&way);
    Some(Some(Announce {
        interface: Some(interface?).filter(|_| has(Way::Interface)),
        bird: Some(Bird {
            socket: folder.join(socket?),
            include: folder.join(include?),
        })
        .filter(|_| has(Way::Bird)),
        exec: Some(command).filter(|_| has(Way::Exec)),
        asn: asn?,
        prepend: prepend?,
        drain: drain?,
        hold: hold?,
        self_check: self_check?,
    }))
}

/// A name that the kernel takes for an interface.
fn interface(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=MAX_INTERFACE).contains(&given.len())
        && given.bytes().all(is_plain)
        && !given.starts_with('.')
    {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is no name for an interface"),
        "give 1 to 15 letters, digits, dashes and underscores, such as \"vip0\"",
    )
}

fn self_check(text: &str) -> Result<Option<Duration>, ValueError> {
    if text == "off" {
        return Ok(None);
    }
    let given = values::duration(text)?;
    if (Duration::from_millis(200)..=HOUR).contains(&given) {
        return Ok(Some(given));
    }
    fault(
        format!("{} is out of range", values::show_duration(given)),
        "give \"200ms\" to \"1h\", or \"off\"",
    )
}
