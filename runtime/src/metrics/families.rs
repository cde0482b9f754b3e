//! The metrics: from a snapshot to families of samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use af_packet::LinkInfo;
use dataplane::counters::{InterfaceCounters, NodeCounters};
use http_static::{LATENCY_EDGES, Latency};
use ipstack::tcp::TcpCounters;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::access_log;
use crate::log::Limit;
use crate::snapshot::{PortSnapshot, Snapshot, WorkerSnapshot};

/// Metrics of one name.
pub type Family = MetricFamily;

/// What metrics are made from, besides the snapshot.
#[derive(Clone, Debug)]
pub struct Sources {
    /// When the process started.
    pub started: SystemTime,
    /// The access log, if there is one.
    pub access_log: Option<Arc<access_log::Queue>>,
    /// What leaves log messages out when there are too many.
    pub limit: Limit,
}

type Labels<'a> = &'a [(&'static str, &'a str)];

/// Collects families in the order they are first mentioned.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
    places: BTreeMap<String, usize>,
}

impl Page {
    fn sample(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        labels: Labels<'_>,
    ) -> &mut Metric {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            let mut family = Family::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            self.families.push(family);
            self.families.len() - 1
        });
        let labels = labels.iter().map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        });
        let samples = self.families[place].mut_metric();
        samples.push(Metric::from_label(labels.collect()));
        let last = samples.len() - 1;
        &mut samples[last]
    }

    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        let mut counter = Counter::default();
        counter.set_value(float(value));
        self.sample(MetricType::COUNTER, name, help, labels)
            .set_counter(counter);
    }

    fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.sample(MetricType::GAUGE, name, help, labels)
            .set_gauge(gauge);
    }

    fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, latency: &Latency) {
        let mut count = 0;
        let buckets = LATENCY_EDGES.into_iter().zip(latency.buckets);
        let buckets = buckets.map(|(edge, here)| {
            count += here;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(float(edge) / 1e9);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(latency.count());
        histogram.set_sample_sum(latency.sum.as_secs_f64());
        self.sample(MetricType::HISTOGRAM, name, help, labels)
            .set_histogram(histogram);
    }
}

/// Prometheus has floating point only; counts beyond 2^53 lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "said above")]
fn float(count: u64) -> f64 {
    count as f64
}

fn size(count: usize) -> f64 {
    float(count as u64)
}

impl Sources {
    /// Everything there is to tell of `snapshot`. A port of which a worker did not answer is told
    /// of by `dataplane_workers` alone: without that worker its counters would seem to fall.
    pub fn families(&self, snapshot: &Snapshot) -> Vec<Family> {
        let mut page = Page::default();
        self.process(&mut page);
        for port in &snapshot.ports {
            let name = port.plan.port.name.as_str();
            let answered = port.workers.len();
            for (state, count) in [
                ("answered", answered),
                ("silent", port.worker_count - answered),
            ] {
                page.gauge(
                    "dataplane_workers",
                    "Workers of a port, by whether they answered within a second.",
                    &[("port", name), ("state", state)],
                    size(count),
                );
            }
            page.gauge(
                "dataplane_port_link_up",
                "Whether the kernel's interface exists, is up and in operation.",
                &[("port", name)],
                f64::from(port.link.as_ref().is_some_and(LinkInfo::is_running)),
            );
        }
        for port in snapshot
            .ports
            .iter()
            .filter(|port| port.workers.len() == port.worker_count)
        {
            interfaces(&mut page, port);
            nodes(&mut page, port);
            rings(&mut page, port);
            tcp(&mut page, port);
        }
        http(&mut page, snapshot);
        page.families
    }

    /// The same in Prometheus' text format, version 0.0.4.
    pub fn text(&self, snapshot: &Snapshot) -> String {
        let families = self.families(snapshot);
        // It refuses families without samples, of which there are none.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }

    fn process(&self, page: &mut Page) {
        page.gauge(
            "dataplane_build_info",
            "Always 1; the label is the program's version.",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        );
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            &[],
            since.as_secs_f64(),
        );
        page.counter(
            "dataplane_log_messages_left_out_total",
            "Log messages left out because one place had too many.",
            &[],
            self.limit.left_out(),
        );
        if let Some(log) = &self.access_log {
            let (written, lost) = log.counts();
            for (name, help, count) in [
                ("lines", "Lines written to the access log.", written),
                (
                    "lost_lines",
                    "Access log lines lost: the queue was full, or writing failed.",
                    lost,
                ),
            ] {
                let name = format!("dataplane_access_log_{name}_total");
                page.counter(&name, help, &[], count);
            }
        }
    }
}

fn sum<T>(port: &PortSnapshot, one: impl Fn(&WorkerSnapshot) -> T) -> T
where
    T: std::iter::Sum,
{
    port.workers.iter().map(one).sum()
}

fn interfaces(page: &mut Page, port: &PortSnapshot) {
    for interface in port.plan.interfaces() {
        let at = usize::from(interface.index.0);
        let of = |field: fn(&InterfaceCounters) -> u64| {
            sum(port, |worker| {
                worker.counters.interfaces.get(at).map_or(0, field)
            })
        };
        let labels: Labels<'_> = &[("interface", &interface.name)];
        let up = port.workers.iter().any(|worker| {
            let mut known = worker.interfaces.iter();
            known.any(|(index, known)| *index == interface.index && known.up)
        });
        page.gauge(
            "dataplane_interface_up",
            "Whether the interface or sub-interface is up, the kernel's below it included.",
            labels,
            f64::from(up),
        );
        for (name, help, count) in [
            (
                "receive_packets",
                "Frames received.",
                of(|one| one.rx_packets),
            ),
            (
                "receive_bytes",
                "Octets received, Ethernet headers and tags included.",
                of(|one| one.rx_bytes),
            ),
            (
                "transmit_packets",
                "Frames transmitted; a super-segment counts as one.",
                of(|one| one.tx_packets),
            ),
            (
                "transmit_bytes",
                "Octets transmitted, Ethernet headers and tags included.",
                of(|one| one.tx_bytes),
            ),
            (
                "drops",
                "Frames dropped: at the port while their VLAN was not known, else at the sub-interface.",
                of(|one| one.drops),
            ),
        ] {
            page.counter(
                &format!("dataplane_interface_{name}_total"),
                help,
                labels,
                count,
            );
        }
    }
}

fn nodes(page: &mut Page, port: &PortSnapshot) {
    let Some(first) = port.workers.first() else {
        return;
    };
    for (at, node) in first.nodes.iter().enumerate() {
        let of = |field: &dyn Fn(&NodeCounters) -> u64| {
            sum(port, |worker| {
                worker.counters.nodes.get(at).map_or(0, field)
            })
        };
        let port = port.plan.port.name.as_str();
        let labels: Labels<'_> = &[("port", port), ("node", node.name)];
        for (name, help, count) in [
            (
                "calls",
                "Times the node was given frames or its timer ran.",
                of(&|one| one.calls),
            ),
            (
                "vectors",
                "Frames that came to the node.",
                of(&|one| one.received),
            ),
            ("made", "Frames the node made itself.", of(&|one| one.made)),
            (
                "sent",
                "Frames the node sent to another.",
                of(&|one| one.sent),
            ),
            (
                "transmitted",
                "Frames the node handed to the port.",
                of(&|one| one.transmitted),
            ),
            (
                "consumed",
                "Frames the node took over.",
                of(&|one| one.consumed),
            ),
        ] {
            page.counter(&format!("dataplane_node_{name}_total"), help, labels, count);
        }
        for (reason_at, reason) in node.drops.iter().enumerate() {
            page.counter(
                "dataplane_node_drops_total",
                "Frames the node dropped, by reason.",
                &[("port", port), ("node", node.name), ("reason", reason)],
                of(&|one| one.drops.get(reason_at).copied().unwrap_or(0)),
            );
        }
    }
}

fn rings(page: &mut Page, port: &PortSnapshot) {
    let name = port.plan.port.name.as_str();
    let labels: Labels<'_> = &[("port", name)];
    for (name, help, count) in [
        (
            "kernel_packets",
            "Frames that reached the sockets, dropped ones included.",
            sum(port, |worker| worker.kernel.packets),
        ),
        (
            "kernel_drops",
            "Frames the kernel dropped because a receive ring was full.",
            sum(port, |worker| worker.kernel.drops),
        ),
        (
            "kernel_ring_full",
            "Times a receive ring filled up (TPACKET_V3).",
            sum(port, |worker| worker.kernel.freezes),
        ),
        (
            "ring_receive_frames",
            "Frames taken from the receive rings.",
            sum(port, |worker| worker.rx.frames),
        ),
        (
            "ring_receive_lost",
            "Frames in a receive ring that could not be read.",
            sum(port, |worker| worker.rx.holes + worker.rx.malformed),
        ),
        (
            "ring_transmit_frames",
            "Frames committed to the kernel.",
            sum(port, |worker| worker.tx.frames),
        ),
        (
            "ring_transmit_full",
            "Frames refused because no transmit slot was free.",
            sum(port, |worker| worker.tx.ring_full),
        ),
        (
            "ring_transmit_wrong",
            "Frames refused for their length or metadata, or by the kernel.",
            sum(port, |worker| worker.tx.wrong()),
        ),
        (
            "ring_transmit_kicks",
            "Times the kernel was told to send.",
            sum(port, |worker| worker.tx.kicks),
        ),
        (
            "ring_transmit_back_pressure",
            "Kicks that ended because the device's queue was full.",
            sum(port, |worker| worker.tx.back_pressure),
        ),
        (
            "ring_transmit_kick_errors",
            "Kicks that failed for another reason than room or a link that is down.",
            sum(port, |worker| worker.tx.kick_errors),
        ),
    ] {
        page.counter(&format!("dataplane_{name}_total"), help, labels, count);
    }
    let Some(rings) = port.workers.first().map(|worker| &worker.rings) else {
        return;
    };
    for (ring, blocks, octets) in [
        ("rx", rings.rx_blocks, rings.rx_block_len),
        ("tx", rings.tx_blocks, rings.tx_block_len),
    ] {
        let labels: Labels<'_> = &[("port", name), ("ring", ring)];
        page.gauge(
            "dataplane_ring_blocks",
            "Blocks of each worker's ring.",
            labels,
            size(blocks),
        );
        page.gauge(
            "dataplane_ring_block_bytes",
            "Octets of such a block.",
            labels,
            size(octets),
        );
    }
}

fn tcp(page: &mut Page, port: &PortSnapshot) {
    let name = port.plan.port.name.as_str();
    let total = |of: fn(&WorkerSnapshot) -> usize| size(sum(port, of));
    for (state, now, max) in [
        (
            "open",
            total(|worker| worker.limits.connections.0),
            total(|worker| worker.limits.connections.1),
        ),
        (
            "half-open",
            total(|worker| worker.limits.half_open.0),
            total(|worker| worker.limits.half_open.1),
        ),
        (
            "time-wait",
            total(|worker| worker.limits.time_wait.0),
            total(|worker| worker.limits.time_wait.1),
        ),
    ] {
        let labels: Labels<'_> = &[("port", name), ("state", state)];
        page.gauge(
            "dataplane_tcp_connections",
            "TCP connections, by state.",
            labels,
            now,
        );
        page.gauge(
            "dataplane_tcp_connections_limit",
            "TCP connections there may be, by state.",
            labels,
            max,
        );
    }
    let labels: Labels<'_> = &[("port", name)];
    page.gauge(
        "dataplane_tcp_buffer_bytes",
        "Octets of TCP's buffers in use.",
        labels,
        total(|worker| worker.limits.buffers.0),
    );
    page.gauge(
        "dataplane_tcp_buffer_limit_bytes",
        "Octets TCP's buffers may take.",
        labels,
        total(|worker| worker.limits.buffers.1),
    );
    let mut counters = TcpCounters::default();
    for worker in &port.workers {
        counters.add(&worker.tcp);
    }
    for ((name, count), (_, help)) in counters.iter().zip(TcpCounters::meanings()) {
        let name = format!("dataplane_tcp_{}_total", name.replace('-', "_"));
        page.counter(&name, help, labels, count);
    }
}

fn http(page: &mut Page, snapshot: &Snapshot) {
    for one in &snapshot.http {
        let server = format!("{}:{}", one.server.address, one.server.port);
        let stats = &one.stats;
        let labels: Labels<'_> = &[("server", &server)];
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(stats.responses)
        {
            page.counter(
                "dataplane_http_responses_total",
                "Responses, by class of their status.",
                &[("server", &server), ("class", class)],
                count,
            );
        }
        for (name, help, count) in [
            (
                "malformed_requests",
                "Requests that could not be parsed.",
                stats.malformed,
            ),
            ("timeouts", "Times a peer was too slow.", stats.timeouts),
            ("connections", "Connections opened.", stats.connections),
            (
                "receive_bytes",
                "Octets read from clients.",
                stats.octets_received,
            ),
            (
                "transmit_bytes",
                "Octets written to clients.",
                stats.octets_sent,
            ),
            (
                "cache_hits",
                "Requests answered without reading a file.",
                stats.cache.hits,
            ),
            (
                "cache_misses",
                "Requests that waited for a file.",
                stats.cache.misses,
            ),
            (
                "cache_evictions",
                "Files given up for others.",
                stats.cache.evictions,
            ),
            (
                "cache_checks",
                "Times a cached file was compared with the file system's.",
                stats.cache.checks,
            ),
        ] {
            page.counter(&format!("dataplane_http_{name}_total"), help, labels, count);
        }
        for (name, help, value) in [
            ("open_connections", "Connections now.", float(stats.active)),
            (
                "cache_bytes",
                "Octets in the cache.",
                size(stats.cache.used),
            ),
            (
                "cache_limit_bytes",
                "Octets the cache may take.",
                size(stats.cache.limit),
            ),
            (
                "cache_files",
                "Files in the cache.",
                size(stats.cache.files),
            ),
            (
                "stream_bytes",
                "Octets of streamed files in memory.",
                size(stats.stream_memory),
            ),
        ] {
            page.gauge(&format!("dataplane_http_{name}"), help, labels, value);
        }
        page.histogram(
            "dataplane_http_first_octet_seconds",
            "From a request's head to the first octet of its response handed to TCP.",
            labels,
            &stats.first_octet,
        );
        page.histogram(
            "dataplane_http_request_duration_seconds",
            "From a request's head to the last octet of its response handed to TCP.",
            labels,
            &stats.whole,
        );
    }
}
