//! Builds Prometheus families from series with bounded labels. Knows every name of the page with its help text; pure.

use std::collections::HashMap;

use portolan_config::stats::Histogram;
use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramValue, LabelPair, Metric, MetricFamily,
    MetricType,
};

/// Series of one family; the rest is summed. What a scrape of a few megabytes and a Prometheus of ordinary size bear.
pub(super) const SERIES_LIMIT: usize = 20_000;

/// The value of every label of the series that holds the rest.
const OTHER: &str = "_other";

const PREFIX: &str = "portolan_";

/// Every family: name without prefix, type, help.
pub(super) const FAMILIES: [(&str, MetricType, &str); 43] = {
    use MetricType::{COUNTER, GAUGE, HISTOGRAM};
    [
        ("flows_total", COUNTER, "Flows that have ended, by cause."),
        (
            "flows_active",
            GAUGE,
            "Flows now; _other are those of listeners that have left the configuration.",
        ),
        (
            "flow_bytes_total",
            COUNTER,
            "Payload bytes; in is from clients, out is to clients.",
        ),
        (
            "connect_seconds",
            HISTOGRAM,
            "Time from accepting a flow to a connected endpoint.",
        ),
        (
            "connect_failures_total",
            COUNTER,
            "Connects to endpoints that failed, by cause.",
        ),
        (
            "retries_total",
            COUNTER,
            "Connects to a further candidate after a failed one.",
        ),
        (
            "hedges_total",
            COUNTER,
            "Second endpoints that were raced, by what came of it.",
        ),
        (
            "datagrams_total",
            COUNTER,
            "Datagrams that were sent on; in is from clients, out is to clients.",
        ),
        (
            "datagrams_dropped_total",
            COUNTER,
            "Datagrams that came and were not sent on, by cause.",
        ),
        (
            "endpoint_up",
            GAUGE,
            "Whether the endpoint is up; _other counts the rest that is.",
        ),
        (
            "endpoint_latency_seconds",
            GAUGE,
            "Smoothed round trip to the endpoint; 0 while unknown; _other is the sum of the rest.",
        ),
        (
            "endpoint_transitions_total",
            COUNTER,
            "Changes of the endpoint's health.",
        ),
        ("endpoint_flows_active", GAUGE, "Flows now, by endpoint."),
        ("endpoint_flows_total", COUNTER, "Flows ever, by endpoint."),
        (
            "endpoint_bytes_total",
            COUNTER,
            "Payload bytes by endpoint; in is from clients, out is to clients.",
        ),
        (
            "endpoint_connect_failures_total",
            COUNTER,
            "Connects that failed, by endpoint.",
        ),
        (
            "detection_seconds",
            HISTOGRAM,
            "Time from the first evidence of a fault to the decision that an endpoint is down.",
        ),
        (
            "client_address_fallbacks_total",
            COUNTER,
            "Connects from the edge's address in groups that want their clients', by cause.",
        ),
        (
            "client_address_refused",
            GAUGE,
            "Endpoint addresses toward which transparent client addresses are asked for and not in force.",
        ),
        ("probe_results_total", COUNTER, "Health probes by result."),
        (
            "suspicions_total",
            COUNTER,
            "Suspicions that live flows raised and that were looked into, by what came of them.",
        ),
        (
            "snapshot_generation",
            GAUGE,
            "Generation of the snapshot that the data path runs on.",
        ),
        ("compile_seconds", HISTOGRAM, "Time to compile a snapshot."),
        (
            "config_reload_success",
            GAUGE,
            "1 when the newest configuration is in force, 0 when it was refused.",
        ),
        (
            "limit_hits_total",
            COUNTER,
            "Flows refused, by the limit that refused them.",
        ),
        (
            "accept_errors_total",
            COUNTER,
            "Accepts that failed for want of descriptors, memory or network.",
        ),
        (
            "io_uring_flows_total",
            COUNTER,
            "Flows that were received by io_uring for a while, as `io_engine` has it.",
        ),
        (
            "spliced_bytes_total",
            COUNTER,
            "Bytes that passed through the kernel alone, as `splice` has it.",
        ),
        (
            "splice_fallbacks_total",
            COUNTER,
            "Readings that were to be spliced and were copied, for want of a kernel pipe.",
        ),
        (
            "proxy_header_errors_total",
            COUNTER,
            "Connections closed for a PROXY header that was missing, late or malformed.",
        ),
        (
            "signals_dropped_total",
            COUNTER,
            "Signals of live flows that found the health side's queue full.",
        ),
        (
            "flow_records_total",
            COUNTER,
            "Flow records by what became of them.",
        ),
        (
            "aws_sync_age_seconds",
            GAUGE,
            "Seconds since AWS was last read to its end; 0 where nothing is imported.",
        ),
        (
            "aws_sync_errors_total",
            COUNTER,
            "Calls to AWS that failed for good, by class.",
        ),
        (
            "aws_api_calls_total",
            COUNTER,
            "Calls to AWS, each attempt, by service and by what came of it.",
        ),
        (
            "dns_plan_changes",
            GAUGE,
            "Record sets of this PoP that the zone does not hold as it should, by what would be done.",
        ),
        (
            "announced_prefixes",
            GAUGE,
            "Prefixes that this PoP announces; 0 without [announce].",
        ),
        ("ready", GAUGE, "1 when new flows should come to this PoP."),
        ("flows_limit", GAUGE, "The most flows at once."),
        (
            "open_descriptors",
            GAUGE,
            "Descriptors that this process holds.",
        ),
        ("tasks", GAUGE, "Tasks of the control way."),
        (
            "relay_mode",
            GAUGE,
            "1 for the way in which flows are relayed.",
        ),
        ("build_info", GAUGE, "1, with the version."),
    ]
};

/// Descriptions of all families, for the registry.
pub(super) fn descriptions() -> Vec<Desc> {
    FAMILIES
        .iter()
        .map(|(name, _, help)| {
            Desc::new(
                format!("{PREFIX}{name}"),
                (*help).to_owned(),
                Vec::new(),
                HashMap::new(),
            )
            .expect("the table holds valid names")
        })
        .collect()
}

/// What the series of a family are about: listeners or endpoints, each by its labels.
pub(super) struct Scopes<'a> {
    keys: &'static [&'static str],
    /// As many of each row count as there are keys.
    rows: Vec<[&'a str; 4]>,
}

impl<'a> Scopes<'a> {
    /// Accelerator and listener.
    pub(super) fn listeners(rows: impl Iterator<Item = [&'a str; 2]>) -> Self {
        Scopes {
            keys: &["accelerator", "listener"],
            rows: rows
                .map(|[accelerator, listener]| [accelerator, listener, "", ""])
                .collect(),
        }
    }

    /// Services of AWS.
    pub(super) fn services(rows: impl Iterator<Item = &'a str>) -> Self {
        Scopes {
            keys: &["service"],
            rows: rows.map(|service| [service, "", "", ""]).collect(),
        }
    }

    /// Accelerator, listener, region and endpoint.
    pub(super) fn endpoints(rows: impl Iterator<Item = [&'a str; 4]>) -> Self {
        Scopes {
            keys: &["accelerator", "listener", "region", "endpoint"],
            rows: rows.collect(),
        }
    }

    fn labels(&self, row: usize) -> Vec<LabelPair> {
        self.keys
            .iter()
            .zip(self.rows[row])
            .map(|(key, value)| pair(key, value))
            .collect()
    }

    fn other_labels(&self) -> Vec<LabelPair> {
        self.keys.iter().map(|key| pair(key, OTHER)).collect()
    }
}

/// One more label with a closed set of values.
#[derive(Clone, Copy)]
pub(super) struct Label<'a>(pub(super) &'static str, pub(super) &'a [&'a str]);

impl Label<'static> {
    /// No further label.
    pub(super) const NONE: Label<'static> = Label("", &[""]);
}

impl Label<'_> {
    fn add(self, value: usize, mut labels: Vec<LabelPair>) -> Vec<LabelPair> {
        if !self.0.is_empty() {
            labels.push(pair(self.0, self.1[value]));
        }
        labels
    }
}

/// The page while it is being built.
pub(super) struct Page {
    limit: usize,
    families: Vec<MetricFamily>,
}

impl Page {
    /// A family gets about `limit` series at most.
    pub(super) fn new(limit: usize) -> Self {
        Page {
            limit,
            families: Vec::with_capacity(FAMILIES.len()),
        }
    }

    /// The families.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.families
    }

    /// One series without labels.
    pub(super) fn single(&mut self, name: &str, value: f64) {
        self.push(name, |kind| vec![number(kind, Vec::new(), value)]);
    }

    /// A series for each value of one label; `read` takes its index.
    pub(super) fn labelled(&mut self, name: &str, label: Label<'_>, read: impl Fn(usize) -> f64) {
        self.push(name, |kind| {
            let series = |value| number(kind, label.add(value, Vec::new()), read(value));
            (0..label.1.len()).map(series).collect()
        });
    }

    /// A series for each scope and value of `label`; `read` takes the indices of both.
    pub(super) fn scoped(
        &mut self,
        name: &str,
        scopes: &Scopes<'_>,
        label: Label<'_>,
        read: impl Fn(usize, usize) -> f64,
    ) {
        self.scoped_and_rest(name, scopes, label, None, read);
    }

    /// The same, and `rest` is added to `_other`, which then is always there.
    pub(super) fn scoped_and_rest(
        &mut self,
        name: &str,
        scopes: &Scopes<'_>,
        label: Label<'_>,
        rest: Option<f64>,
        read: impl Fn(usize, usize) -> f64,
    ) {
        let kept = self.kept(scopes, label.1.len());
        self.push(name, |kind| {
            let mut series = Vec::with_capacity((kept + 1) * label.1.len());
            for row in 0..kept {
                for value in 0..label.1.len() {
                    series.push(number(
                        kind,
                        label.add(value, scopes.labels(row)),
                        read(row, value),
                    ));
                }
            }
            if kept < scopes.rows.len() || kept == 0 || rest.is_some() {
                for value in 0..label.1.len() {
                    let sum = (kept..scopes.rows.len())
                        .map(|row| read(row, value))
                        .sum::<f64>();
                    let sum = sum + rest.unwrap_or(0.0);
                    series.push(number(kind, label.add(value, scopes.other_labels()), sum));
                }
            }
            series
        });
    }

    /// One histogram without labels.
    pub(super) fn histogram(&mut self, name: &str, histogram: &Histogram) {
        self.push(name, |_| vec![Cumulative::of(histogram).metric(Vec::new())]);
    }

    /// A histogram for each scope.
    pub(super) fn histograms<'h>(
        &mut self,
        name: &str,
        scopes: &Scopes<'_>,
        read: impl Fn(usize) -> &'h Histogram,
    ) {
        let kept = self.kept(scopes, Histogram::BOUNDS.len() + 3);
        self.push(name, |_| {
            let one = |row| Cumulative::of(read(row)).metric(scopes.labels(row));
            let mut series: Vec<Metric> = (0..kept).map(one).collect();
            if kept < scopes.rows.len() || kept == 0 {
                let mut rest = Cumulative::default();
                (kept..scopes.rows.len()).for_each(|row| rest.add(read(row)));
                series.push(rest.metric(scopes.other_labels()));
            }
            series
        });
    }

    /// How many scopes get series of their own.
    fn kept(&self, scopes: &Scopes<'_>, series_each: usize) -> usize {
        scopes.rows.len().min(self.limit / series_each.max(1))
    }

    fn push(&mut self, name: &str, series: impl FnOnce(MetricType) -> Vec<Metric>) {
        let known = FAMILIES.iter().find(|(known, ..)| *known == name);
        debug_assert!(known.is_some(), "{name} is not in the table");
        let Some((name, kind, help)) = known else {
            return;
        };
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help((*help).to_owned());
        family.set_field_type(*kind);
        family.set_metric(series(*kind));
        self.families.push(family);
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// The value goes to the field that the family's type reads.
fn number(kind: MetricType, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// A histogram as Prometheus wants it.
#[derive(Default)]
struct Cumulative {
    counts: [u64; Histogram::BOUNDS.len() + 1],
    sum: f64,
}

impl Cumulative {
    fn of(histogram: &Histogram) -> Self {
        let (counts, sum) = histogram.read();
        Cumulative { counts, sum }
    }

    fn add(&mut self, histogram: &Histogram) {
        let (counts, sum) = histogram.read();
        self.counts
            .iter_mut()
            .zip(counts)
            .for_each(|(all, one)| *all += one);
        self.sum += sum;
    }

    fn metric(&self, labels: Vec<LabelPair>) -> Metric {
        let mut below = 0;
        let buckets = Histogram::BOUNDS
            .iter()
            .zip(self.counts)
            .map(|(bound, count)| {
                below += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(below);
                bucket
            });
        let mut histogram = HistogramValue::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.counts.iter().sum());
        histogram.set_sample_sum(self.sum);
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        metric
    }
}
