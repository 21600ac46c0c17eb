//! Finding endpoints by the id that an operator types, and the ids that were probably meant.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::handle::Place;
use crate::layout::Layout;

/// Ids told to who mistyped one.
const NEAR: usize = 3;

/// From this likeness on (Jaro-Winkler) an id may have been meant.
const LIKENESS: f64 = 0.8;

/// Where an id stands.
pub(crate) struct Found {
    pub(crate) places: Vec<Place>,
    /// Flows that it has there.
    pub(crate) active_flows: u64,
}

/// Where an endpoint stands, in one region or anywhere.
pub(crate) fn find(layout: &Layout, endpoint: &str, region: Option<&str>) -> Found {
    let mut found = Found {
        places: Vec::new(),
        active_flows: 0,
    };
    for (listener, group, known) in layout.endpoints() {
        if known.id.as_str() == endpoint
            && region.is_none_or(|region| group.region.as_str() == region)
        {
            found.active_flows += u64::from(known.stats.active_flows.load(Ordering::Relaxed));
            found.places.push(Place {
                accelerator: listener.accelerator.to_string(),
                listener: listener.label.to_string(),
                region: group.region.to_string(),
            });
        }
    }
    found
}

/// Ids that look like `endpoint`, the likest first; when the id is right and the region is not, the places it stands at.
pub(crate) fn near(layout: &Layout, endpoint: &str, region: Option<&str>) -> Vec<String> {
    let elsewhere: BTreeSet<String> = layout
        .endpoints()
        .filter(|(_, group, known)| {
            known.id.as_str() == endpoint && region != Some(group.region.as_str())
        })
        .map(|(_, group, known)| format!("{} in {}", known.id, group.region))
        .collect();
    if region.is_some() && !elsewhere.is_empty() {
        return elsewhere.into_iter().take(NEAR).collect();
    }
    let asked = endpoint.to_lowercase();
    let ids: BTreeSet<&str> = layout
        .endpoints()
        .map(|(_, _, known)| known.id.as_str())
        .collect();
    let mut like: Vec<(f64, &str)> = ids
        .into_iter()
        .map(|id| (strsim::jaro_winkler(&asked, &id.to_lowercase()), id))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    like.into_iter()
        .take(NEAR)
        .map(|(_, id)| id.to_owned())
        .collect()
}
