//! `[[accelerator]]`: reads each with its listeners, and checks what must hold among the listeners of one.

use std::collections::HashMap;

use super::keys::Table;
use super::listener::{self, Head};
use super::rules::Claims;
use super::section::Section;
use super::typed;
use crate::model::{Accelerator, Protocol, Source};
use crate::units::{AcceleratorName, PortRange};

pub(super) fn accelerators(root: &Section<'_>, claims: &mut Claims) -> Option<Vec<Accelerator>> {
    let sections = root.children(Table::Accelerator)?;
    let others_make_some = root.gives(Table::Api.name()) || root.gives(Table::Aws.name());
    if sections.is_empty() && !root.gives(Table::Accelerator.name()) && !others_make_some {
        root.warn(
            Table::Accelerator.name(),
            "there is none, so nothing is served",
            "add an [[accelerator]] with a listener",
        );
    }
    let mut names = HashMap::new();
    let read: Vec<Option<Accelerator>> = sections
        .iter()
        .enumerate()
        .map(|(index, section)| accelerator(index, section, &mut names, claims))
        .collect();
    read.into_iter().collect()
}

fn accelerator(
    index: usize,
    section: &Section<'_>,
    names: &mut HashMap<String, usize>,
    claims: &mut Claims,
) -> Option<Accelerator> {
    let name = section.get("name", typed::name);
    if let Some(name) = &name
        && let Some(first) = names.insert(name.clone(), index)
    {
        section.error(
            "name",
            format!("\"{name}\" is the name of accelerator[{first}], too"),
            "give every accelerator a name of its own",
        );
    }
    let enabled = section.get("enabled", typed::boolean);
    let addresses = section.distinct("addresses", typed::ip);
    claims.accelerator(index, addresses.as_deref());

    let sections = section.children(Table::Listener);
    let heads: Vec<Head<'_, '_>> = sections.iter().flatten().map(Head::read).collect();
    if sections.as_ref().is_some_and(Vec::is_empty) {
        section.warn(
            Table::Listener.name(),
            "the accelerator has no listener, so it takes nothing",
            "add an [[accelerator.listener]]",
        );
    }
    ports_apart(&heads);
    let listeners: Vec<_> = heads
        .iter()
        .map(|head| listener::listener(index, head, &heads, claims))
        .collect();
    sections?;
    Some(Accelerator {
        name: AcceleratorName::new(name?),
        source: Source::File,
        enabled: enabled?,
        addresses: addresses?,
        listeners: listeners.into_iter().collect::<Option<_>>()?,
    })
}

/// Listeners of one accelerator share its addresses, so within a protocol their ports must not meet.
fn ports_apart(heads: &[Head<'_, '_>]) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of_protocol = |head: &&Head<'_, '_>| head.protocol == Some(protocol);
        let mut taken = Vec::new();
        for head in heads.iter().filter(of_protocol) {
            let Some(ports) = &head.ports else { continue };
            let ranges = ports.ranges().iter();
            taken.extend(ranges.map(|range| (*range, head)));
        }
        taken.sort_by_key(|(range, _)| *range);
        let mut widest = taken.first();
        for next in taken.iter().skip(1) {
            let Some(before) = widest else { break };
            if next.0.first() <= before.0.last() && !std::ptr::eq(next.1, before.1) {
                report_meeting(protocol, *before, *next);
            }
            if next.0.last() > before.0.last() {
                widest = Some(next);
            }
        }
    }
}

type Taken<'h, 'r, 'a> = (PortRange, &'h Head<'r, 'a>);

/// At the one that comes later in the file.
fn report_meeting(protocol: Protocol, one: Taken<'_, '_, '_>, other: Taken<'_, '_, '_>) {
    let at = |taken: Taken<'_, '_, '_>| taken.1.section.offset_of("ports");
    let (earlier, later) = if at(one) < at(other) {
        (one, other)
    } else {
        (other, one)
    };
    let (meets, of) = (earlier.0, earlier.1.section.path());
    later.1.section.error(
        "ports",
        format!("{} meets {protocol} {meets} of {of}", later.0),
        "give each port of an accelerator to one listener",
    );
}
