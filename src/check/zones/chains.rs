//! Chains of versions, each of which took the place of the one before at once, and their zones.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::facts::{At, Cluster, Facts, KeyFacts};
use crate::check::history::{Call, Short};
use crate::check::violation::Violation;
use crate::mutant::mutant;

/// Versions of a key without a gap between them.
pub(super) struct Chain {
    /// The numbers of the clusters, in the order in which they were made.
    pub clusters: Vec<usize>,
    /// From when to when the key certainly was at one of these versions, if `from < to`.
    pub zone: Zone,
}

/// The first return and the last call among calls.
#[derive(Clone, Copy)]
pub(super) struct Zone {
    pub from: u64,
    pub from_by: Option<At>,
    pub to: u64,
    pub to_by: Option<At>,
}

impl Zone {
    const EMPTY: Self = Self { from: u64::MAX, from_by: None, to: 0, to_by: None };

    fn add(&mut self, at: At, call: &Call) {
        let ended_at = call.ended_at().unwrap_or(u64::MAX);
        if self.from_by.is_none() || ended_at < self.from {
            (self.from, self.from_by) = (ended_at, Some(at));
        }
        if self.to_by.is_none() || call.called_at > self.to {
            (self.to, self.to_by) = (call.called_at, Some(at));
        }
    }

    /// The zone of a cluster alone.
    pub fn of(facts: &Facts<'_>, cluster: &Cluster<'_>) -> Self {
        let mut zone = Self::EMPTY;
        for at in cluster.maker.into_iter().chain(cluster.seen_by.iter().copied()) {
            zone.add(at, facts.at(at));
        }
        zone
    }

    const fn is_forward(&self) -> bool {
        self.from < self.to
    }
}

/// The chains of a key.
///
/// # Errors
/// A violation of the order within a chain.
pub(super) fn of(facts: &Facts<'_>, key: &KeyFacts<'_>) -> Result<Vec<Chain>, Violation> {
    let is_linked = !mutant!("chain links are ignored");
    let mut chains = Vec::new();
    let mut walked = 0;
    for (first, cluster) in key.clusters.iter().enumerate() {
        if cluster.has_previous && is_linked {
            continue;
        }
        let mut clusters = vec![first];
        let mut next = cluster.next.filter(|_| is_linked);
        while let Some(number) = next {
            clusters.push(number);
            next = key.clusters[number].next;
        }
        walked += clusters.len();
        chains.push(Chain { zone: walk(facts, key, &clusters)?, clusters });
    }
    if walked < key.clusters.len() {
        return Err(circle(facts, key));
    }
    Ok(chains)
}

/// Sees to the order of the calls along a chain, and gives its zone.
fn walk(facts: &Facts<'_>, key: &KeyFacts<'_>, chain: &[usize]) -> Result<Zone, Violation> {
    let mut zone = Zone::EMPTY;
    for number in chain {
        let cluster = &key.clusters[*number];
        if let Some(maker) = cluster.maker {
            check_next(facts, key, chain, &zone, maker)?;
            zone.add(maker, facts.at(maker));
        }
        let before = zone;
        for at in &cluster.seen_by {
            check_next(facts, key, chain, &before, *at)?;
            zone.add(*at, facts.at(*at));
        }
        if cluster.maker.is_none()
            && let Some(early) = cluster.seen_by.iter().find(|at| {
                facts.at(**at).ended_at().is_some_and(|ended_at| ended_at < cluster.made_after)
            })
        {
            let version = Short(cluster.version);
            let explanation =
                format!("{version} of {:?} was seen before it can have been made", key.key);
            return Err(Violation::new(explanation, [facts.at(*early)]));
        }
        if let (Some(taker), None) = (cluster.taken_by, cluster.next) {
            check_next(facts, key, chain, &zone, taker)?;
            zone.add(taker, facts.at(taker));
        }
    }
    Ok(zone)
}

/// The call that comes next in a chain did not return before one was made that comes before it.
fn check_next(
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    chain: &[usize],
    before: &Zone,
    next_at: At,
) -> Result<(), Violation> {
    let Some(last_at) = before.to_by.filter(|_| !mutant!("order along a chain is not checked"))
    else {
        return Ok(());
    };
    let [next, last] = [next_at, last_at].map(|at| facts.at(at));
    let Some(ended_at) = next.ended_at().filter(|ended_at| *ended_at < last.called_at) else {
        return Ok(());
    };
    let [next_did, last_did] = [next_at, last_at].map(|at| deed(key, chain, at));
    let explanation = format!(
        "call {} of client {} {next_did} of {:?} and had returned at {ended_at}, before call {} of \
         client {} was made at {}, which {last_did}",
        next.id, next.client, key.key, last.id, last.client, last.called_at,
    );
    Err(Violation::new(explanation, [next, last]))
}

/// What a call did in a chain.
fn deed(key: &KeyFacts<'_>, chain: &[usize], at: At) -> String {
    let clusters = || chain.iter().map(|number| &key.clusters[*number]);
    let version = |cluster: Option<&Cluster<'_>>| cluster.map(|cluster| Short(cluster.version));
    let made = version(clusters().find(|cluster| cluster.maker == Some(at)));
    let taken = version(clusters().find(|cluster| cluster.taken_by == Some(at)));
    let seen = version(clusters().find(|cluster| cluster.seen_by.contains(&at)));
    match (made, taken, seen) {
        (Some(made), Some(taken), _) => format!("put {made} in the place of {taken}"),
        (Some(made), None, _) => format!("made {made}"),
        (None, Some(taken), _) => format!("deleted {taken}"),
        (None, None, Some(seen)) => format!("saw {seen}"),
        (None, None, None) => "had to do with it".to_owned(),
    }
}

/// Versions each of which was made of the one before, all around.
fn circle(facts: &Facts<'_>, key: &KeyFacts<'_>) -> Violation {
    let linked =
        key.clusters.iter().filter(|cluster| cluster.has_previous && cluster.next.is_some());
    let calls = linked.filter_map(|cluster| cluster.maker).map(|at| facts.at(at));
    Violation::new(format!("versions of {:?} were made of each other in a circle", key.key), calls)
}

/// No two zones of a key overlap, and nothing that excludes a version lies within its zone.
pub(super) fn check_zones(
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    chains: &[Chain],
) -> Result<(), Violation> {
    let mut forward: Vec<&Chain> = chains.iter().filter(|chain| chain.zone.is_forward()).collect();
    forward.sort_by_key(|chain| (chain.zone.from, chain.zone.to));
    for pair in forward.windows(2) {
        if pair[1].zone.from < pair[0].zone.to && !mutant!("zones may overlap") {
            return Err(overlap(facts, key, pair[0], pair[1]));
        }
    }
    // The zones are disjoint now: only one can contain an instant.
    let containing = |from: u64, to: u64| {
        let after = forward.partition_point(|chain| chain.zone.from < from);
        let candidate = after.checked_sub(1).map(|number| forward[number]);
        candidate.filter(|chain| to < chain.zone.to)
    };
    for chain in chains.iter().filter(|chain| !chain.zone.is_forward()) {
        if let Some(other) = containing(chain.zone.to, chain.zone.from)
            && !mutant!("zones may overlap")
        {
            return Err(overlap(facts, key, other, chain));
        }
    }
    if mutant!("absence never conflicts") {
        return Ok(());
    }
    for at in key.absents.iter().chain(&key.deletes) {
        let call = facts.at(*at);
        let Some(ended_at) = call.ended_at() else { continue };
        if let Some(chain) = containing(call.called_at, ended_at) {
            let does = if call.request.is_command() { "left or found" } else { "found" };
            let explanation = format!(
                "call {} of client {} {does} {:?} absent between {} and {ended_at}, although {}",
                call.id,
                call.client,
                key.key,
                call.called_at,
                zone_in_words(facts, key, chain),
            );
            return Err(Violation::new(explanation, [call].into_iter().chain(ends(facts, chain))));
        }
    }
    Ok(())
}

fn overlap(facts: &Facts<'_>, key: &KeyFacts<'_>, one: &Chain, other: &Chain) -> Violation {
    let words = [one, other].map(|chain| zone_in_words(facts, key, chain));
    let explanation = format!("{}, but {}", words[0], words[1]);
    Violation::new(explanation, ends(facts, one).into_iter().chain(ends(facts, other)))
}

/// The calls that fix where a chain's zone begins and ends.
fn ends<'a>(facts: &Facts<'a>, chain: &Chain) -> Vec<&'a Call> {
    let ends = [chain.zone.from_by, chain.zone.to_by];
    ends.into_iter().flatten().map(|at| facts.at(at)).collect()
}

fn zone_in_words(facts: &Facts<'_>, key: &KeyFacts<'_>, chain: &Chain) -> String {
    let version = |number: Option<&usize>| number.map(|number| key.clusters[*number].version);
    let (first, last) = (version(chain.clusters.first()), version(chain.clusters.last()));
    let versions = match (first, last) {
        (Some(first), Some(last)) if first != last => {
            format!("{} to {}, without a gap,", Short(first), Short(last))
        }
        (first, _) => first.map_or(String::new(), |first| Short(first).to_string()),
    };
    let id = |at: Option<At>| at.map_or(0, |at| facts.at(at).id);
    let Zone { from, from_by, to, to_by } = chain.zone;
    if chain.zone.is_forward() {
        let (from_by, to_by) = (id(from_by), id(to_by));
        return format!(
            "{:?} was at {versions} at the latest from {from} (call {from_by} had returned) to {to} at \
             least (call {to_by} was made)",
            key.key
        );
    }
    format!("{:?} was at {versions} at some time between {to} and {from}", key.key)
}
