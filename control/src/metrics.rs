//! `/metrics`: reads the counters of both ways and lays them out as Prometheus families. Called by the admin server once a
//! scrape; holds no numbers of its own. Every name is there from the start, with 0. Labels are what the operator configured,
//! never a client; where that is too much, the rest is summed as `_other`.

mod page;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use portolan_config::flow::EndCause;
use portolan_config::snapshot::{EndpointSnapshot, ListenerSnapshot, Snapshot};
use portolan_config::stats::{
    AddressFallback, ConnectFailure, DropCause, EdgeStats, EndpointStats, HedgeResult, Limit,
    ListenerStats,
};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::aws;
use crate::aws::session::{Calls, ErrorClass, Service};
use crate::flow_log::FlowLog;
use crate::handle::{ControlHandle, MetricsView};
use crate::publish::{self, route53::plan::Action};

use self::page::{Label, Page, Scopes};

/// The page.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Reads from these at every scrape.
    pub fn new(control: ControlHandle, flow_log: Arc<FlowLog>) -> Self {
        let registry = Registry::new();
        let source = Source {
            control,
            flow_log,
            descriptions: page::descriptions(),
        };
        registry
            .register(Box::new(source))
            .expect("it is the first collector of a new registry");
        Self { registry }
    }

    /// Prometheus' text format 0.0.4. Takes tens of milliseconds with tens of thousands of endpoints: not for a thread that others wait for.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// What a scrape reads.
struct Source {
    control: ControlHandle,
    flow_log: Arc<FlowLog>,
    descriptions: Vec<Desc>,
}

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let data_plane = self.control.data_plane();
        let mut page = Page::new(page::SERIES_LIMIT);
        let snapshot = self.control.snapshot();
        listeners(&mut page, &snapshot, &data_plane.stats());
        endpoint_flows(&mut page, &snapshot);
        control(&mut page, &self.control.metrics_view());
        edge(&mut page, &data_plane.stats());
        aws(&mut page, self.control.aws());
        dns(&mut page, self.control.dns_door());
        let announced = self.control.announce_door().announced();
        page.single("announced_prefixes", announced as f64);
        flow_records(&mut page, &self.flow_log);
        let readiness = self.control.readiness();
        process(
            &mut page,
            readiness.ready,
            data_plane.relay_mode(),
            data_plane.max_flows(),
        );
        page.finish()
    }
}

fn listeners(page: &mut Page, snapshot: &Snapshot, edge: &EdgeStats) {
    let names: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|l| listener_name(l))
        .collect();
    let named = snapshot.listeners.iter().zip(&names);
    let scopes = Scopes::listeners(
        named.map(|(listener, name)| [listener.accelerator.as_str(), name.as_str()]),
    );
    let stats = |i: usize| -> &ListenerStats { &snapshot.listeners[i].stats };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;

    let causes = EndCause::ALL.map(EndCause::as_str);
    page.scoped(
        "flows_total",
        &scopes,
        Label("cause", &causes),
        |i, cause| count(&stats(i).ended[cause]),
    );
    page.scoped("flow_bytes_total", &scopes, DIRECTIONS, |i, direction| {
        count(if direction == 0 {
            &stats(i).bytes_in
        } else {
            &stats(i).bytes_out
        })
    });
    let failures = ConnectFailure::ALL.map(ConnectFailure::as_str);
    page.scoped(
        "connect_failures_total",
        &scopes,
        Label("cause", &failures),
        |i, cause| count(&stats(i).connect_failures[cause]),
    );
    page.scoped("retries_total", &scopes, Label::NONE, |i, _| {
        count(&stats(i).retries)
    });
    let results = HedgeResult::ALL.map(HedgeResult::as_str);
    page.scoped(
        "hedges_total",
        &scopes,
        Label("result", &results),
        |i, result| count(&stats(i).hedges[result]),
    );
    let causes = AddressFallback::ALL.map(AddressFallback::as_str);
    page.scoped(
        "client_address_fallbacks_total",
        &scopes,
        Label("cause", &causes),
        |i, cause| count(&stats(i).address_fallbacks[cause]),
    );
    page.histograms("connect_seconds", &scopes, |i| &stats(i).connect);
    page.scoped("datagrams_total", &scopes, DIRECTIONS, |i, direction| {
        count(if direction == 0 {
            &stats(i).datagrams_in
        } else {
            &stats(i).datagrams_out
        })
    });
    let causes = DropCause::ALL.map(DropCause::as_str);
    page.scoped(
        "datagrams_dropped_total",
        &scopes,
        Label("cause", &causes),
        |i, cause| count(&stats(i).datagrams_dropped[cause]),
    );

    // Flows of a listener that has left the configuration still run; they are the rest.
    let active: Vec<u32> = snapshot
        .listeners
        .iter()
        .map(|l| load(&l.stats.active_flows))
        .collect();
    let all = u64::from(load(&edge.active_flows));
    let rest = all.saturating_sub(active.iter().map(|n| u64::from(*n)).sum());
    page.scoped_and_rest(
        "flows_active",
        &scopes,
        Label::NONE,
        Some(rest as f64),
        |i, _| f64::from(active[i]),
    );
}

const DIRECTIONS: Label<'static> = Label("direction", &["in", "out"]);

/// `PORTS/PROTOCOL`, as the rest of control spells it.
fn listener_name(listener: &ListenerSnapshot) -> String {
    format!("{}/{}", listener.ports, listener.protocol)
}

fn load(counter: &AtomicU32) -> u32 {
    counter.load(Ordering::Relaxed)
}

/// The data path's counters of endpoints.
fn endpoint_flows(page: &mut Page, snapshot: &Snapshot) {
    let names: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|l| listener_name(l))
        .collect();
    let mut rows = Vec::new();
    let mut endpoints: Vec<&EndpointSnapshot> = Vec::new();
    for (listener, name) in snapshot.listeners.iter().zip(&names) {
        for group in &listener.groups {
            for endpoint in &group.endpoints {
                rows.push([
                    listener.accelerator.as_str(),
                    name,
                    group.region.as_str(),
                    endpoint.id.as_str(),
                ]);
                endpoints.push(endpoint);
            }
        }
    }
    let scopes = Scopes::endpoints(rows.into_iter());
    let stats = |i: usize| -> &EndpointStats { &endpoints[i].stats };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    page.scoped("endpoint_flows_active", &scopes, Label::NONE, |i, _| {
        f64::from(load(&stats(i).active_flows))
    });
    page.scoped("endpoint_flows_total", &scopes, Label::NONE, |i, _| {
        count(&stats(i).total_flows)
    });
    page.scoped(
        "endpoint_bytes_total",
        &scopes,
        DIRECTIONS,
        |i, direction| {
            count(if direction == 0 {
                &stats(i).bytes_in
            } else {
                &stats(i).bytes_out
            })
        },
    );
    page.scoped(
        "endpoint_connect_failures_total",
        &scopes,
        Label::NONE,
        |i, _| count(&stats(i).connect_failures),
    );
}

/// What the health side and the controller count.
fn control(page: &mut Page, view: &MetricsView) {
    let MetricsView {
        generation,
        config_reload_success,
        compile_seconds,
        detection_seconds,
        endpoints,
        probe_results,
        suspicions,
        ways_back_closed,
    } = view;
    page.single("client_address_refused", *ways_back_closed as f64);
    page.single("snapshot_generation", *generation as f64);
    page.single(
        "config_reload_success",
        f64::from(u8::from(*config_reload_success)),
    );
    page.histogram("compile_seconds", compile_seconds);
    page.histogram("detection_seconds", detection_seconds);

    let scopes = Scopes::endpoints(endpoints.iter().map(|e| {
        [
            e.accelerator.as_str(),
            &e.listener,
            e.region.as_str(),
            e.endpoint.as_str(),
        ]
    }));
    page.scoped("endpoint_up", &scopes, Label::NONE, |i, _| {
        f64::from(u8::from(endpoints[i].up))
    });
    page.scoped(
        "endpoint_transitions_total",
        &scopes,
        Label::NONE,
        |i, _| endpoints[i].transitions as f64,
    );
    page.scoped("endpoint_latency_seconds", &scopes, Label::NONE, |i, _| {
        endpoints[i]
            .latency
            .map_or(0.0, |latency| latency.as_secs_f64())
    });

    let results: Vec<&str> = probe_results.iter().map(|(result, _)| *result).collect();
    page.labelled("probe_results_total", Label("result", &results), |i| {
        probe_results[i].1 as f64
    });
    let results: Vec<&str> = suspicions.iter().map(|(result, _)| *result).collect();
    page.labelled("suspicions_total", Label("result", &results), |i| {
        suspicions[i].1 as f64
    });
}

/// The data path as a whole.
fn edge(page: &mut Page, stats: &EdgeStats) {
    let limits = Limit::ALL.map(Limit::as_str);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    page.labelled("limit_hits_total", Label("limit", &limits), |i| {
        count(&stats.limit_hits[i])
    });
    page.single("accept_errors_total", count(&stats.accept_errors));
    page.single("io_uring_flows_total", count(&stats.io_uring_flows));
    page.single("spliced_bytes_total", count(&stats.spliced_bytes));
    page.single("splice_fallbacks_total", count(&stats.splice_fallbacks));
    page.single(
        "proxy_header_errors_total",
        count(&stats.proxy_header_errors),
    );
    page.single("signals_dropped_total", count(&stats.signals_dropped));
}

fn aws(page: &mut Page, sync: &aws::Door) {
    page.single("aws_sync_age_seconds", sync.age());
    let (classes, errors) = (ErrorClass::ALL.map(ErrorClass::as_str), sync.errors());
    page.labelled("aws_sync_errors_total", Label("class", &classes), |i| {
        errors[i] as f64
    });
    let services = Scopes::services(Service::ALL.iter().map(|service| service.as_str()));
    let results = Calls::results();
    page.scoped(
        "aws_api_calls_total",
        &services,
        Label("result", &results),
        |service, result| sync.calls().get(service, result) as f64,
    );
}

fn dns(page: &mut Page, publication: &publish::Door) {
    let actions = Action::ALL.map(Action::as_str);
    let changes = publication.changes();
    page.labelled("dns_plan_changes", Label("action", &actions), |i| {
        changes[i] as f64
    });
}

fn flow_records(page: &mut Page, flow_log: &FlowLog) {
    let stats = flow_log.stats();
    let counters = [
        ("written", &stats.written),
        ("sampled_out", &stats.sampled_out),
        ("dropped", &stats.dropped),
        ("failed", &stats.failed),
    ];
    let results = counters.map(|(result, _)| result);
    page.labelled("flow_records_total", Label("result", &results), |i| {
        counters[i].1.load(Ordering::Relaxed) as f64
    });
}

fn process(page: &mut Page, ready: bool, relay_mode: &'static str, max_flows: usize) {
    page.single("ready", f64::from(u8::from(ready)));
    page.single("flows_limit", max_flows as f64);
    page.single("open_descriptors", open_descriptors() as f64);
    page.single("tasks", tasks() as f64);
    page.labelled("relay_mode", Label("mode", &[relay_mode]), |_| 1.0);
    page.labelled(
        "build_info",
        Label("version", &[env!("CARGO_PKG_VERSION")]),
        |_| 1.0,
    );
}

/// Tasks of the control way's runtime; 0 outside of one.
fn tasks() -> usize {
    tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
}

/// Descriptors of this process; 0 where /proc is not there.
fn open_descriptors() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is the count. Walking it would take long where a million flows are open.
    let counted = std::fs::metadata(FOLDER).map_or(0, |meta| meta.len());
    if counted > 0 {
        return counted;
    }
    std::fs::read_dir(FOLDER).map_or(0, |entries| entries.count() as u64)
}
