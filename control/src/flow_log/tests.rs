//! What is written is read back; rotation, sampling, full queues and broken files lose nothing silently.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use portolan_config::address::{ClientAddr, EndpointAddr, ListenerAddr};
use portolan_config::flow::{EndCause, FlowRecord, PickReason, RecordSink, RecordedEndpoint};
use portolan_config::model::Protocol;
use portolan_config::units::{AcceleratorName, EndpointId, Region};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn record(id: u64) -> FlowRecord {
    FlowRecord {
        id,
        protocol: Protocol::Tcp,
        accelerator: AcceleratorName::new("shop"),
        client: ClientAddr(addr("[::ffff:198.51.100.7]:40001")),
        listener: ListenerAddr(addr("203.0.113.10:443")),
        endpoint: Some(RecordedEndpoint {
            id: EndpointId::new("web-1"),
            region: Region::new("us-east-1"),
            address: EndpointAddr(addr("10.0.1.10:8443")),
            edge_address: Some(addr("10.0.0.1:51000")),
            reason: PickReason::Failover,
        }),
        bytes_in: 100,
        bytes_out: 2000,
        packets_in: 3,
        packets_out: 4,
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_900),
        lasted: Duration::from_millis(1_250),
        connect_took: Some(Duration::from_micros(1_500)),
        attempts: 2,
        cause: EndCause::ClientFin,
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn written(log: &FlowLog) -> u64 {
    log.stats().written.load(Ordering::Relaxed)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_record_carries_every_field_of_global_accelerator_and_ours() {
    let mut out = Vec::new();
    line::append(&mut out, "fra1", &record(7));

    let read: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        read,
        json!({
            "version": "2.0", "aws_account_id": null, "accelerator_id": "shop",
            "client_ip": "198.51.100.7", "client_port": 40001,
            "accelerator_ip": "203.0.113.10", "accelerator_port": 443,
            "endpoint_ip": "10.0.1.10", "endpoint_port": 8443,
            "protocol": "TCP", "ip_address_type": "IPV4",
            "packets": 3, "bytes": 100, "start_time": 1_700_000_000, "end_time": 1_700_000_002,
            "action": "ACCEPT", "log_status": "OK",
            "globalaccelerator_source_ip": "10.0.0.1", "globalaccelerator_source_port": 51000,
            "endpoint_region": "us-east-1", "globalaccelerator_region": "fra1",
            "direction": "INGRESS", "vpc_id": null, "reject_reason": null,
            "flow_id": 7, "endpoint_id": "web-1", "reason": "failover", "cause": "client_fin",
            "duration_ms": 1250.0, "connect_ms": 1.5, "attempts": 2,
            "bytes_in": 100, "bytes_out": 2000, "packets_in": 3, "packets_out": 4,
        })
    );
}

#[test]
fn a_refused_flow_names_no_endpoint_and_says_why() {
    let mut refused = record(1);
    refused.endpoint = None;
    refused.cause = EndCause::Limit;
    let mut out = Vec::new();
    line::append(&mut out, "fra1", &refused);

    let read: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(read["action"], "REJECT");
    assert_eq!(read["reject_reason"], "LIMIT");
    assert_eq!(read["endpoint_ip"], Value::Null);
    assert_eq!(read["reason"], Value::Null);
}

#[test]
fn nothing_is_wanted_until_a_path_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let log = FlowLog::start("fra1").unwrap();
    assert!(!log.wants());

    log.configure(Some(&dir.path().join("flows.jsonl")), 1.0)
        .unwrap();
    assert!(log.wants());
    log.configure(None, 1.0).unwrap();
    assert!(!log.wants());
}

#[test]
fn what_is_queued_at_the_end_is_written_and_an_existing_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    std::fs::write(&path, "{\"flow_id\":0}\n").unwrap();
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();

    for id in 1..=1000 {
        log.record(record(id));
    }
    drop(log);

    let ids: Vec<_> = lines(&path)
        .iter()
        .map(|l| l["flow_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (0..=1000).collect::<Vec<_>>());
}

#[test]
fn after_its_end_everything_is_on_disk_and_further_records_are_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();
    for id in 0..500 {
        log.record(record(id));
    }

    log.end();
    assert_eq!(lines(&path).len(), 500);
    log.record(record(500));
    log.end();
    assert_eq!(log.stats().dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn what_was_queued_when_it_is_switched_off_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();
    // The writer has the file: a switch that is taken back before anything is written is none.
    log.record(record(0));
    wait_for("the first", || written(&log) == 1);
    // More than a batch, which gather.
    for id in 1..1500 {
        log.record(record(id));
    }

    log.configure(None, 1.0).unwrap();
    wait_for("all of them", || written(&log) == 1500);
    assert_eq!(lines(&path).len(), 1500);
}

#[test]
fn nothing_is_dropped_while_there_is_room_and_what_is_queued_counts_back_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&dir.path().join("flows.jsonl")), 1.0)
        .unwrap();
    let queued = || log.shared.queued.load(Ordering::Relaxed);
    for id in 0..3 * QUEUED_RECORDS as u64 {
        wait_for("room", || queued() < QUEUED_RECORDS);
        log.record(record(id));
    }
    wait_for("all of them", || queued() == 0);
    assert_eq!(log.stats().dropped.load(Ordering::Relaxed), 0);
}

#[test]
fn a_file_that_was_rotated_away_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (
        dir.path().join("flows.jsonl"),
        dir.path().join("flows.jsonl.1"),
    );
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();
    log.record(record(1));
    wait_for("the first line", || written(&log) == 1);

    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    wait_for("the new file", || path.exists());
    log.record(record(2));
    drop(log);

    assert_eq!(lines(&old).len(), 1);
    assert_eq!(lines(&path)[0]["flow_id"], 2);
}

#[test]
fn a_rotation_is_noticed_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();
    log.record(record(1));
    wait_for("the first line", || written(&log) == 1);

    std::fs::remove_file(&path).unwrap();
    wait_for("the path to be opened again", || path.exists());
}

#[test]
fn a_path_that_cannot_be_opened_is_refused_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 1.0).unwrap();

    let error = log
        .configure(Some(&dir.path().join("no/such/flows.jsonl")), 1.0)
        .unwrap_err();
    assert!(error.to_string().contains("no/such/flows.jsonl"), "{error}");
    log.record(record(1));
    drop(log);
    assert_eq!(lines(&path).len(), 1);
}

#[test]
fn a_full_disk_is_counted_and_does_not_stop_the_writer() {
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(Path::new("/dev/full")), 1.0).unwrap();

    log.record(record(1));
    wait_for("the failure", || {
        log.stats().failed.load(Ordering::Relaxed) == 1
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    log.configure(Some(&path), 1.0).unwrap();
    log.record(record(2));
    drop(log);
    assert_eq!(lines(&path)[0]["flow_id"], 2);
}

#[test]
fn every_record_is_counted_once_whatever_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.jsonl");
    let log = FlowLog::start("fra1").unwrap();
    log.configure(Some(&path), 0.25).unwrap();

    for id in 0..40_000 {
        log.record(record(id));
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let stats = log.stats();
    wait_for("the queue to empty", || {
        count(&stats.written) + count(&stats.dropped) + count(&stats.sampled_out) == 40_000
    });
    let kept = 40_000 - count(&stats.sampled_out);
    assert!(
        (9_500..10_500).contains(&kept),
        "{kept} of 40000 in a sample of a quarter"
    );
    let written = count(&stats.written);
    drop(log);
    let ids: BTreeSet<_> = lines(&path)
        .iter()
        .map(|l| l["flow_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len() as u64, written);
}

proptest! {
    #[test]
    fn a_larger_sample_holds_the_smaller_one(id: u64, a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
        let (small, large) = (a.min(b), a.max(b));
        prop_assert!(!sampled(id, threshold(small)) || sampled(id, threshold(large)));
        prop_assert!(sampled(id, threshold(1.0)));
        prop_assert!(!sampled(id, threshold(0.0)));
    }

    #[test]
    fn any_record_is_one_line_of_json(id: u64, name in ".*", endpoint in ".*", bytes: u64, lasted: u64, attempts: u8) {
        let mut any = record(id);
        any.accelerator = AcceleratorName::new(name.clone());
        any.bytes_in = bytes;
        any.attempts = attempts;
        any.lasted = Duration::from_millis(lasted);
        if let Some(e) = &mut any.endpoint {
            e.id = EndpointId::new(endpoint.clone());
        }
        let mut out = Vec::new();
        line::append(&mut out, &name, &any);

        prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        let read: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read["accelerator_id"].as_str(), Some(name.as_str()));
        prop_assert_eq!(read["endpoint_id"].as_str(), Some(endpoint.as_str()));
        prop_assert_eq!(read["bytes"].as_u64(), Some(bytes));
    }
}
