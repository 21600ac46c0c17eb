//! The page can be parsed line by line, has every name from the start, and stays bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portolan_config::stats::Histogram;

use super::*;
use crate::admin::idle;

/// Name, labels, value.
type Series = (String, Vec<(String, String)>, f64);

/// Parses a line of the text format 0.0.4 as its grammar says; `None` is a comment.
fn parse(line: &str) -> Option<Series> {
    if line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
        return None;
    }
    let name_end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(name_end);
    assert!(
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
        "{line}"
    );
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, after) = rest
                .split_once("=\"")
                .unwrap_or_else(|| panic!("no label: {line}"));
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap_or_else(|| panic!("open label: {line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next() {
                        Some((_, 'n')) => '\n',
                        Some((_, c @ ('\\' | '"'))) => c,
                        other => panic!("escape {other:?}: {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((key.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest
            .strip_prefix('}')
            .unwrap_or_else(|| panic!("open labels: {line}"));
    }
    let value = rest
        .trim_start()
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line}"));
    Some((name.to_owned(), labels, value))
}

fn metrics(toml: &str) -> Metrics {
    Metrics::new(
        idle::controller(toml),
        Arc::new(FlowLog::start("fra1").unwrap()),
    )
}

fn text(page: Page) -> String {
    TextEncoder::new().encode_to_string(&page.finish()).unwrap()
}

#[tokio::test]
async fn every_name_is_there_from_the_start_and_every_line_parses() {
    for toml in ["", idle::FILE] {
        let text = metrics(toml).render().unwrap();

        let names: BTreeSet<String> = text
            .lines()
            .filter_map(parse)
            .map(|(name, ..)| name)
            .collect();
        for (name, ..) in page::FAMILIES {
            let name = format!("portolan_{name}");
            let there = names.contains(&name) || names.contains(&format!("{name}_count"));
            assert!(there, "no {name} in\n{text}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
}

#[tokio::test]
async fn every_closed_label_has_its_series_from_the_start() {
    let text = metrics(idle::FILE).render().unwrap();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels, _) in text.lines().filter_map(parse) {
        for (key, value) in labels {
            values
                .entry(format!("{name} {key}"))
                .or_default()
                .insert(value);
        }
    }
    assert_eq!(
        values["portolan_flows_total cause"].len(),
        EndCause::ALL.len()
    );
    assert_eq!(
        values["portolan_connect_failures_total cause"].len(),
        ConnectFailure::ALL.len()
    );
    assert_eq!(
        values["portolan_hedges_total result"].len(),
        HedgeResult::ALL.len()
    );
    assert_eq!(
        values["portolan_limit_hits_total limit"].len(),
        Limit::ALL.len()
    );
    assert_eq!(values["portolan_flow_bytes_total direction"].len(), 2);
    assert!(values["portolan_probe_results_total result"].len() >= 2);
    assert_eq!(values["portolan_suspicions_total result"].len(), 3);
    assert_eq!(values["portolan_endpoint_up region"].len(), 2, "{text}");
    assert!(
        values["portolan_endpoint_up listener"].contains("80,8000-8100/TCP"),
        "{text}"
    );
}

#[test]
fn what_is_beyond_the_limit_is_summed_as_the_rest() {
    let mut page = Page::new(4);
    let names = ["a", "b", "c", "d", "e"];
    let scopes = Scopes::endpoints(names.iter().map(|name| ["shop", "80/TCP", "r", *name]));
    page.scoped(
        "endpoint_bytes_total",
        &scopes,
        DIRECTIONS,
        |i, direction| (10 * i + direction) as f64,
    );

    let text = text(page);
    let series: Vec<_> = text.lines().filter_map(parse).collect();
    assert_eq!(series.len(), 6, "{text}");
    let rest: Vec<f64> = series
        .iter()
        .filter(|(_, labels, _)| labels.iter().filter(|(_, value)| value == "_other").count() == 4)
        .map(|(.., value)| *value)
        .collect();
    assert_eq!(rest, [90.0, 93.0]);
}

#[test]
fn flows_of_listeners_that_left_are_not_lost() {
    let edge = EdgeStats::default();
    edge.active_flows.store(3, Ordering::Relaxed);
    let mut page = Page::new(100);
    listeners(&mut page, &Snapshot::default(), &edge);

    let text = text(page);
    assert!(
        text.contains("portolan_flows_active{accelerator=\"_other\",listener=\"_other\"} 3\n"),
        "{text}"
    );
}

#[test]
fn histograms_count_upwards_and_end_with_everything() {
    let histogram = Histogram::default();
    for millis in [1, 3, 40, 9000] {
        histogram.observe(Duration::from_millis(millis));
    }
    let mut page = Page::new(100);
    page.histogram("compile_seconds", &histogram);

    let text = text(page);
    let series: Vec<_> = text.lines().filter_map(parse).collect();
    let buckets: Vec<f64> = series
        .iter()
        .filter(|(name, ..)| name.ends_with("_bucket"))
        .map(|s| s.2)
        .collect();
    assert!(buckets.is_sorted(), "{text}");
    assert_eq!(buckets.last(), Some(&4.0));
    assert!(
        text.contains("portolan_compile_seconds_count 4\n"),
        "{text}"
    );
    assert!(
        text.contains("portolan_compile_seconds_sum 9.044\n"),
        "{text}"
    );
}

#[test]
fn names_of_the_operator_are_escaped() {
    let mut page = Page::new(100);
    let nasty = "a\"b\\c\nd{}=,";
    let scopes = Scopes::listeners([["shop", nasty]].into_iter());
    page.scoped("retries_total", &scopes, Label::NONE, |_, _| 1.0);

    let text = text(page);
    let series: Vec<_> = text.lines().filter_map(parse).collect();
    assert_eq!(series[0].1[1].1, nasty);
}

#[test]
fn descriptors_are_counted() {
    assert!(open_descriptors() >= 3);
}

#[test]
fn no_name_is_in_the_table_twice() {
    let names: BTreeSet<&str> = page::FAMILIES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), page::FAMILIES.len());
}
