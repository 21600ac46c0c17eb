//! A reading laid over the picture before it. What is new or different comes in at once; what was not seen goes only where its list
//! was read to its end, and only when removals are asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use portolan_config::model::AwsReach;

use super::picture::{
    AcceleratorFacts, ListenerFacts, Picture, Reading, Resource, Scope, SeenAccelerator,
    SeenListener, TaggedFacts, resource_key,
};

/// Whether what was not seen goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removals {
    /// It stays.
    Kept,
    /// It goes where the list was whole.
    Taken,
}

/// The picture behind a reading.
pub(crate) fn merge(
    before: &Picture,
    reading: &Reading,
    reach: AwsReach,
    removals: Removals,
) -> Picture {
    let Some(account) = &reading.account else {
        return before.clone();
    };
    let mut after = Picture {
        account: Some(account.clone()),
        accelerators: scope(
            &before.accelerators,
            &reading.accelerators,
            removals,
            accelerator,
        ),
        tagged: tagged(before, reading, removals),
        resources: resources(before, reading, reach, removals),
        custom_routing: reading
            .custom_routing
            .clone()
            .unwrap_or_else(|| before.custom_routing.clone()),
    };
    let used = references(&after);
    after.resources.retain(|key, _| used.contains(key));
    after
}

fn scope<O: Clone, N>(
    before: &BTreeMap<String, O>,
    read: &Scope<N>,
    removals: Removals,
    combine: impl Fn(Option<&O>, &N, Removals) -> O,
) -> BTreeMap<String, O> {
    let goes = read.whole && removals == Removals::Taken;
    let mut after = if goes {
        BTreeMap::new()
    } else {
        before.clone()
    };
    for (arn, seen) in &read.seen {
        after.insert(arn.clone(), combine(before.get(arn), seen, removals));
    }
    after
}

fn accelerator(
    before: Option<&AcceleratorFacts>,
    seen: &SeenAccelerator,
    removals: Removals,
) -> AcceleratorFacts {
    // While AWS is changing it, what is not seen may be about to come back.
    let removals = if seen.facts.in_progress {
        Removals::Kept
    } else {
        removals
    };
    let none = BTreeMap::new();
    let listeners = before.map_or(&none, |before| &before.listeners);
    AcceleratorFacts {
        listeners: scope(listeners, &seen.listeners, removals, listener),
        ..seen.facts.clone()
    }
}

fn listener(
    before: Option<&ListenerFacts>,
    seen: &SeenListener,
    removals: Removals,
) -> ListenerFacts {
    let none = BTreeMap::new();
    let groups = before.map_or(&none, |before| &before.groups);
    let groups = scope(groups, &seen.groups, removals, |before, seen, removals| {
        let mut group = seen.clone();
        if removals == Removals::Kept
            && let Some(before) = before
        {
            for (key, endpoint) in &before.endpoints {
                group
                    .endpoints
                    .entry(key.clone())
                    .or_insert_with(|| endpoint.clone());
            }
        }
        group
    });
    ListenerFacts {
        groups,
        ..seen.facts.clone()
    }
}

fn tagged(
    before: &Picture,
    reading: &Reading,
    removals: Removals,
) -> BTreeMap<String, TaggedFacts> {
    let mut after = before.tagged.clone();
    if removals == Removals::Taken {
        // Regions that are no longer asked for are the operator's word, not something unseen.
        after.retain(|arn, facts| match reading.tagged.get(&facts.region) {
            Some(scope) => !scope.whole || scope.seen.contains_key(arn),
            None => false,
        });
    }
    for scope in reading.tagged.values() {
        for (arn, facts) in &scope.seen {
            // A load balancer that moves to another accelerator leaves its old one, which is a removal.
            let moves = before
                .tagged
                .get(arn)
                .is_some_and(|old| old.accelerator != facts.accelerator);
            if !moves || removals == Removals::Taken {
                after.insert(arn.clone(), facts.clone());
            }
        }
    }
    after
}

fn resources(
    before: &Picture,
    reading: &Reading,
    reach: AwsReach,
    removals: Removals,
) -> BTreeMap<String, Resource> {
    let mut after = before.resources.clone();
    for (key, read) in &reading.resources {
        let loses = before
            .resources
            .get(key)
            .is_some_and(|old| old.way(reach).is_ok())
            && read.as_ref().is_none_or(|new| new.way(reach).is_err());
        if loses && removals == Removals::Kept {
            continue;
        }
        match read {
            Some(resource) => {
                after.insert(key.clone(), resource.clone());
            }
            // A load balancer that is asked for in the wrong place is not found, either; its name says by itself when it is gone.
            None if key.starts_with("arn:") => {}
            None => {
                after.remove(key);
            }
        }
    }
    after
}

/// Keys of the resources that something in the picture is made of.
pub(crate) fn references(picture: &Picture) -> BTreeSet<String> {
    let groups = picture
        .accelerators
        .values()
        .flat_map(|accelerator| accelerator.listeners.values());
    let groups = groups.flat_map(|listener| listener.groups.values());
    let endpoints = groups.flat_map(|group| {
        let region = &group.region;
        group
            .endpoints
            .values()
            .map(move |endpoint| resource_key(region, &endpoint.id))
    });
    endpoints.chain(picture.tagged.keys().cloned()).collect()
}
