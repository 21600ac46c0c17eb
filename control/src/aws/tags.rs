//! Finds load balancers that say by tags which accelerator they belong to. The load balancers themselves are listed and asked for
//! their tags: the tagging service lists what is gone and misses what is new.

use std::collections::{BTreeMap, BTreeSet};

use super::asking::Asking;
use super::elb;
use super::picture::{Scope, TaggedFacts};
use super::session::Account;
use super::walk::Gathered;

const ACCELERATOR: &str = "portolan:accelerator";
const WEIGHT: &str = "portolan:weight";
const DIAL: &str = "portolan:dial";
const PORT: &str = "portolan:port";

/// Reads one region.
pub(super) async fn discover(asking: &Asking, region: &str, gathered: &mut Gathered) {
    let scope = gathered
        .reading
        .tagged
        .entry(region.to_owned())
        .or_default();
    let reader = match elb::Reader::new(asking, &Account::Own, region).await {
        Ok(reader) => reader,
        Err(error) => return gathered.errors.push(error),
    };
    let listed = reader.all().await;
    let mut read = Scope {
        seen: BTreeMap::new(),
        whole: listed.error.is_none(),
    };
    gathered.errors.extend(listed.error);
    let balancers: BTreeMap<String, _> = listed
        .items
        .into_iter()
        .filter(|(arn, _)| elb::place(arn).is_some())
        .collect();
    let arns: Vec<String> = balancers.keys().cloned().collect();
    let tags = reader.tags(&arns).await;
    let told: BTreeSet<&String> = tags.items.iter().map(|(arn, _)| arn).collect();
    let untold = arns.iter().filter(|arn| !told.contains(arn)).count();
    // A load balancer without tags is told of, too: an answer that leaves some out says nothing about them.
    if untold > tags.missing.len() {
        read.whole = false;
    }
    for (arn, tags) in tags.items {
        let Some(balancer) = balancers.get(&arn) else {
            continue;
        };
        if let Some(facts) = facts(&arn, region, &tags, &mut gathered.remarks) {
            read.seen.insert(arn.clone(), facts);
            gathered
                .reading
                .resources
                .insert(arn, Some(balancer.clone()));
        }
    }
    for (_, error) in tags.failed {
        read.whole = false;
        gathered.errors.push(error);
    }
    *scope = read;
}

/// What the tags say; `None` where they name no accelerator.
pub(super) fn facts(
    arn: &str,
    region: &str,
    tags: &BTreeMap<String, String>,
    remarks: &mut Vec<String>,
) -> Option<TaggedFacts> {
    let accelerator = tags.get(ACCELERATOR)?.trim();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if accelerator.is_empty() || accelerator.len() > 64 || !accelerator.bytes().all(fits) {
        remarks.push(format!(
            "{arn}: {ACCELERATOR} = {accelerator:?} is no name of an accelerator"
        ));
        return None;
    }
    let mut strange = |key: &str, allowed: &str| {
        let value = tags.get(key).map_or("", String::as_str);
        remarks.push(format!(
            "{arn}: {key} = {value:?} is left out: it takes {allowed}"
        ));
    };
    let weight = match tags.get(WEIGHT).map(|text| text.trim().parse::<u8>()) {
        None => 128,
        Some(Ok(weight)) => weight,
        Some(Err(_)) => {
            strange(WEIGHT, "0 to 255");
            128
        }
    };
    let dial = tags.get(DIAL).map(|text| {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|dial| (0.0..=100.0).contains(dial))
    });
    let port = tags
        .get(PORT)
        .map(|text| text.trim().parse::<u16>().ok().filter(|port| *port > 0));
    if dial == Some(None) {
        strange(DIAL, "0 to 100");
    }
    if port == Some(None) {
        strange(PORT, "1 to 65535");
    }
    Some(TaggedFacts {
        accelerator: accelerator.to_owned(),
        region: region.to_owned(),
        weight,
        dial: dial.flatten(),
        port: port.flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_and_what_makes_no_sense_is_told() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let mut remarks = Vec::new();
        let mut read =
            |pairs: &[(&str, &str)]| facts("arn", "us-east-1", &tags(pairs), &mut remarks);
        assert_eq!(read(&[("Name", "x")]), None);
        let plain = read(&[(ACCELERATOR, "shop")]).expect("named");
        assert_eq!((plain.weight, plain.dial, plain.port), (128, None, None));
        let full = read(&[
            (ACCELERATOR, " shop "),
            (WEIGHT, "0"),
            (DIAL, "12.5"),
            (PORT, "8443"),
        ])
        .expect("named");
        assert_eq!(
            (full.accelerator.as_str(), full.weight, full.dial, full.port),
            ("shop", 0, Some(12.5), Some(8443))
        );
        let odd = read(&[
            (ACCELERATOR, "shop"),
            (WEIGHT, "256"),
            (DIAL, "NaN"),
            (PORT, "0"),
        ])
        .expect("named");
        assert_eq!((odd.weight, odd.dial, odd.port), (128, None, None));
        assert_eq!(read(&[(ACCELERATOR, "a b")]), None);
        assert_eq!(remarks.len(), 4, "{remarks:?}");
    }
}
