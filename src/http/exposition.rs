//! The metrics of a node in the OpenMetrics text format, which Prometheus reads.
//!
//! `docs/metrics.md` lists them; a test keeps the page and what is served together. What the node's
//! driver tells is left out while it does not answer.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::node::{
    Counter, CrdtFigures, Ended, Figures, Histogram, MemberStatus, NodeHandle, Operation, Phase,
    Rejection, Side, SpaceFigures,
};
use crate::raft::{RaftId, Role};

/// The type of the format.
pub(super) const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a node tells at a moment.
#[derive(Debug)]
pub(super) struct Exposition {
    pub node: NodeHandle,
    /// None if its driver does not answer.
    pub figures: Option<Figures>,
    /// The length of its files; none if it has no folder, or it can't be read.
    pub folder_bytes: Option<u64>,
}

impl Exposition {
    pub fn encode(self) -> String {
        let mut registry = Registry::with_prefix("plimsoll");
        registry.register_collector(Box::new(self));
        let mut told = String::new();
        text::encode(&mut told, &registry).expect("a string takes what is written to it");
        told
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let is_running = i64::from(self.figures.is_some());
        families.gauge("running", "Whether the driver of the node answers", None, is_running)?;
        if let Some(figures) = &self.figures {
            of_node(figures, &mut families)?;
            if let Phase::Member(status) = &figures.status.phase {
                of_member(status, &mut families)?;
                of_clocks(status, figures, &mut families)?;
                let help = "Entries of the log in memory, in bytes";
                families.gauge("log", help, Some(Unit::Bytes), of_size(figures.log_bytes))?;
            }
            if let Some(crdt) = &figures.status.crdt {
                of_replicas(crdt, &mut families)?;
                of_gossip(crdt, &mut families)?;
            }
        }
        if let Some(bytes) = self.folder_bytes {
            let (help, bytes) = ("Length of the files of the node", of_u64(bytes));
            families.gauge("data_directory", help, Some(Unit::Bytes), bytes)?;
        }
        self.machine(&mut families)?;
        self.traffic(&mut families)?;
        self.requests(&mut families)?;
        self.work(&mut families)
    }
}

/// A label and its value.
type Label<'a> = (&'static str, &'a str);

fn of_node(figures: &Figures, families: &mut Families<'_>) -> fmt::Result {
    let status = &figures.status;
    let (id, cluster) = match &status.phase {
        Phase::Member(member) => (member.raft.id.to_string(), member.cluster.to_string()),
        Phase::Founding(_) => (String::new(), String::new()),
    };
    let labels: [Label<'_>; 4] = [
        ("name", &status.name),
        ("id", &id),
        ("cluster", &cluster),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    let help = "Who the node is: always 1";
    families.gauges("node_info", help, None, [(labels, 1)])?;
    let in_cluster = i64::from(matches!(status.phase, Phase::Member(_)));
    families.gauge("in_cluster", "Whether the node belongs to a cluster", None, in_cluster)
}

fn of_member(status: &MemberStatus, families: &mut Families<'_>) -> fmt::Result {
    let raft = &status.raft;
    let roles = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader];
    let is_it = roles.map(|role| ([("role", role_name(role))], i64::from(role == raft.role)));
    families.gauges("raft_role", "1 for the role of the node in its term, else 0", None, is_it)?;
    let leader = raft.leader.map(|leader| {
        let name = status.members.get(&leader).map_or("", |member| member.name.as_str());
        (leader.to_string(), name)
    });
    let leader = leader.iter().map(|(id, name)| ([("id", id.as_str()), ("name", *name)], 1));
    families.gauges("raft_leader", "Who leads, as far as the node knows: 1", None, leader)?;
    for (name, help, value) in [
        ("raft_term", "The term", raft.term),
        ("raft_commit_index", "The last index known to be committed", raft.commit),
        ("raft_applied_index", "The last index that the machine has applied", raft.applied),
        ("raft_last_index", "The last index of the log", raft.last_index),
        ("log_entries", "Entries of the log in memory", raft.last_index + 1 - raft.first_index),
    ] {
        families.gauge(name, help, None, of_u64(value))?;
    }
    let (waiting, unsynced) = (of_size(raft.waiting), of_size(raft.unsynced));
    families.gauge("requests_waiting", "Requests that wait in the engine", None, waiting)?;
    families.gauge("writes_unsynced", "Steps that wait to be durable", None, unsynced)?;
    let members = status.members.iter().map(|(id, member)| {
        let standing = status.standings.get(id);
        let role = standing.map_or("learner", |standing| standing.part.as_str());
        let away = standing.and_then(|standing| standing.away_ms).unwrap_or(0) as f64 / 1_000.0;
        (id.to_string(), member.name.as_str(), role, away)
    });
    let members: Vec<_> = members.collect();
    let roles = members
        .iter()
        .map(|(id, name, role, _)| ([("id", id.as_str()), ("name", *name), ("role", *role)], 1));
    families.gauges("member", "The members of the cluster: 1 each", None, roles)?;
    let away =
        members.iter().map(|(id, name, _, away)| ([("id", id.as_str()), ("name", *name)], *away));
    let help = "For how long a member has been out of reach; 0 of one that is reached";
    families.gauges("member_away", help, Some(Unit::Seconds), away)
}

fn of_clocks(status: &MemberStatus, figures: &Figures, families: &mut Families<'_>) -> fmt::Result {
    let name_of = |id: &RaftId| status.members.get(id).map_or("", |member| member.name.as_str());
    let clocks = figures.clock_offsets_ms.iter();
    let clocks: Vec<_> =
        clocks.map(|(id, ms)| (id.to_string(), name_of(id), *ms as f64 / 1_000.0)).collect();
    let offsets =
        clocks.iter().map(|(id, name, offset)| ([("id", id.as_str()), ("name", *name)], *offset));
    let help = "By how much the clock of a member is ahead of that of the node";
    families.gauges("clock_offset", help, Some(Unit::Seconds), offsets)?;
    let is_refused = i64::from(figures.is_clock_refused);
    let help = "Whether the node does not lead because its clock is far from a majority's";
    families.gauge("clock_refused", help, None, is_refused)
}

fn of_replicas(figures: &CrdtFigures, families: &mut Families<'_>) -> fmt::Result {
    type Value = fn(&SpaceFigures) -> u64;
    let of = |value: Value| {
        let spaces = figures.spaces.iter();
        spaces.map(move |(space, it)| ([("space", space.as_str())], value(it)))
    };
    let gauges: [(&str, &str, Value); 7] = [
        ("crdt_joined", "Whether the replica serves", |it| it.status.has_joined.into()),
        ("crdt_whole", "Whether it has met every other member", |it| it.status.is_whole.into()),
        ("crdt_registers", "Keys that the replica knows, deleted ones included", |it| {
            it.status.registers as u64
        }),
        ("crdt_tombstones", "Deleted and expired keys that wait to be forgotten", |it| {
            it.status.tombstones as u64
        }),
        ("crdt_blocking_members", "Members that forgetting waits for", |it| {
            it.status.blocking.len() as u64
        }),
        ("crdt_coverage_runs", "Runs of writes that the replica covers", |it| {
            it.coverage_runs as u64
        }),
        ("crdt_epoch", "Which list of members the replica has", |it| it.status.epoch),
    ];
    for (name, help, value) in gauges {
        let values = of(value).map(|(label, value)| (label, of_u64(value)));
        families.gauges(name, help, None, values)?;
    }
    let blocking = figures.spaces.iter().flat_map(|(space, it)| {
        let ids = it.status.blocking.iter().map(|id| format!("{:016x}", id.0));
        ids.map(|id| (space.as_str(), id))
    });
    let blocking: Vec<_> = blocking.collect();
    let blocking = blocking.iter().map(|(space, id)| ([("space", *space), ("id", id.as_str())], 1));
    families.gauges("crdt_blocking", "A member that forgetting waits for: 1", None, blocking)?;
    let totals: [(&str, &str, Value); 4] = [
        ("crdt_tombstones_dropped", "Deletes that were forgotten", |it| it.status.dropped),
        ("crdt_faults", "Writes of one stamp that differ", |it| it.status.faults),
        ("crdt_from_future", "Writes refused as too far ahead", |it| it.status.from_future),
        ("crdt_divergences", "Replicas that differ and must not", |it| it.status.divergences),
    ];
    for (name, help, value) in totals {
        families.totals(name, help, of(value))?;
    }
    let (help, none) = ("Writes that were refused because of clocks", [[("", ""); 0]]);
    let refusals = none.map(|labels| (labels, figures.clock_refusals));
    families.totals("crdt_clock_refusals", help, refusals)?;
    let help = "The instant below which writes may be stamped, since the Unix epoch";
    families.gauge("crdt_reserved", help, Some(Unit::Seconds), figures.reserved.as_seconds())
}

fn of_gossip(figures: &CrdtFigures, families: &mut Families<'_>) -> fmt::Result {
    let sights = figures.sights.iter();
    let sights: Vec<_> =
        sights.map(|it| (format!("{:016x}", it.member.0), &it.address, it)).collect();
    let label = |id, address| [("id", id), ("address", address)];
    let up =
        sights.iter().map(|(id, at, it)| (label(id.as_str(), at.as_str()), i64::from(it.is_up)));
    families.gauges("gossip_up", "Whether a node that was seen answers", None, up)?;
    for (name, help, count) in [
        ("gossip_malformed", "Messages that could not be read", figures.malformed),
        ("gossip_lost", "Messages that were dropped because too much waited", figures.lost),
    ] {
        let none = [[("", ""); 0]];
        families.totals(name, help, none.map(|labels| (labels, count)))?;
    }
    Ok(())
}

impl Exposition {
    /// What the machine holds that was published last.
    fn machine(&self, families: &mut Families<'_>) -> fmt::Result {
        let (entries, sessions) = {
            let published = self.node.published();
            let published = published.borrow();
            (of_size(published.machine.len()), of_size(published.machine.sessions_len()))
        };
        families.gauge("entries", "Entries of all stores of the cluster", None, entries)?;
        families.gauge("sessions", "Client sessions that the machine knows", None, sessions)?;
        let watches = self.node.metrics().watches.value();
        families.gauge("watches", "Watches of clients and of this process", None, watches)
    }

    fn traffic(&self, families: &mut Families<'_>) -> fmt::Result {
        let metrics = self.node.metrics();
        let label = |side: Side| [("side", side.as_str())];
        let standing = Side::ALL.map(|side| (label(side), metrics.connections(side).value()));
        families.gauges("connections", "Connections that stand", None, standing)?;
        let refused = Rejection::ALL.map(|it| ([("reason", it.as_str())], metrics.rejections(it)));
        let help = "Connections that were not kept";
        families.counters("connections_refused", help, None, refused)?;
        let help = "Connections to members that could not be made";
        families.counter("connects_failed", help, &metrics.connects_failed)?;
        let sent = [Side::ToMember, Side::FromClient];
        let sent = sent.map(|side| (label(side), metrics.sent(side)));
        families.counters("sent", "Bytes of frames sent", Some(Unit::Bytes), sent)?;
        let received = [Side::FromMember, Side::FromClient];
        let received = received.map(|side| (label(side), metrics.received(side)));
        families.counters("received", "Bytes of frames received", Some(Unit::Bytes), received)
    }

    fn requests(&self, families: &mut Families<'_>) -> fmt::Result {
        let metrics = self.node.metrics();
        let ended = Operation::ALL.into_iter().flat_map(|operation| {
            Ended::ALL.map(|ended| {
                let labels = [("operation", operation.as_str()), ("outcome", ended.as_str())];
                (labels, metrics.requests(operation, ended))
            })
        });
        families.counters("requests", "Requests that have ended", None, ended)?;
        let times = Operation::ALL.map(|operation| {
            ([("operation", operation.as_str())], metrics.request_times(operation))
        });
        families.histograms("request", "How long requests took", times)
    }

    fn work(&self, families: &mut Families<'_>) -> fmt::Result {
        let metrics = self.node.metrics();
        for (name, help, counter) in [
            ("commands_applied", "Commands that the machine has applied", &metrics.applied),
            ("elections_started", "Elections in which it stood", &metrics.elections_started),
            ("elections_won", "Elections that it won", &metrics.elections_won),
            ("leader_changes", "Leaders that became known", &metrics.leader_changes),
            ("snapshots_taken", "Snapshots that were saved", &metrics.snapshots_taken),
            ("snapshots_sent", "Snapshots that a member received", &metrics.snapshots_sent),
            ("snapshots_installed", "Snapshots taken over", &metrics.snapshots_installed),
        ] {
            families.counter(name, help, counter)?;
        }
        for (name, help, times) in [
            ("durable_write", "How long a batch took to be durable", &metrics.durable_times),
            ("apply", "How long steps took that applied commands", &metrics.apply_times),
        ] {
            families.histogram(name, help, Some(Unit::Seconds), times)?;
        }
        let help = "Entries of the log that were made durable as one batch";
        families.histogram("batch_entries", help, None, &metrics.batch_entries)
    }
}

/// Writes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = ([Label<'l>; N], impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&counter.value(), None)
    }

    fn counters<'l, 'c, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        counters: impl IntoIterator<Item = ([Label<'l>; N], &'c Counter)>,
    ) -> fmt::Result {
        let mut family =
            self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, counter) in counters {
            let mut family = family.encode_family(&labels)?;
            family.encode_counter::<NoLabelSet, _, u64>(&counter.value(), None)?;
        }
        Ok(())
    }

    /// Counters that are kept elsewhere.
    fn totals<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counters: impl IntoIterator<Item = ([Label<'l>; N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in counters {
            if N == 0 {
                return family.encode_counter::<NoLabelSet, _, u64>(&value, None);
            }
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        histogram: &Histogram,
    ) -> fmt::Result {
        let (sum, count, buckets) = buckets_of(histogram, unit.is_some());
        let mut family =
            self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// Of times.
    fn histograms<'l, 'h, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl IntoIterator<Item = ([Label<'l>; N], &'h Histogram)>,
    ) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut family =
            self.0.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for (labels, histogram) in histograms {
            let (sum, count, buckets) = buckets_of(histogram, true);
            let mut family = family.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Sum, number and buckets of a histogram; of times in seconds.
fn buckets_of(histogram: &Histogram, is_time: bool) -> (f64, u64, Vec<(f64, u64)>) {
    let scale = if is_time { 1e9 } else { 1.0 };
    let measured = histogram.measured();
    let bounds = measured.bounds.iter().map(|bound| *bound as f64 / scale);
    let bounds = bounds.chain([f64::INFINITY]);
    // The number is that of the buckets, also while something is being measured.
    let count = measured.counts.iter().sum();
    (measured.sum as f64 / scale, count, bounds.zip(measured.counts).collect())
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre_candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn of_u64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn of_size(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
