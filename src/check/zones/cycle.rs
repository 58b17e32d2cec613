//! The search for cycles: the orders of all keys and of real time, joined by the calls that are
//! about several keys.
//!
//! Nodes are calls, and marks between them: instants, births and ends of chains. An edge says that
//! one must come before the other in whatever order makes the history linearizable. Each edge holds
//! by itself, so a cycle is a violation; some that hold are left out, so its absence proves nothing.
//!
//! Of one key: what excludes each other's stretches (chains, and calls that found or left the key
//! absent) is ordered wherever a call of one returned before a call of the other was made. To write
//! that down in O(n log n) edges, stretches are sorted by their first return, and marks stand
//! between them: "everything up to here has ended".
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeSet, VecDeque};

use super::chains::Chain;
use super::facts::{At, Facts, KeyFacts};
use crate::check::violation::{CALLS_MAX, Violation};
use crate::mutant::mutant;

/// Looks for a cycle.
pub(super) fn check(facts: &Facts<'_>, chains: &[Vec<Chain>]) -> Result<(), Violation> {
    if mutant!("cycles are not looked for") {
        return Ok(());
    }
    let mut graph = Graph::new(facts.history.calls.len());
    graph.add_real_time(facts);
    for (number, (key, chains)) in facts.keys.iter().zip(chains).enumerate() {
        graph.add_key(facts, number, key, chains);
    }
    let graph = graph.freeze();
    let components = graph.components();
    match graph.shortest_cycle(&components) {
        Some(cycle) => Err(explain(facts, &cycle)),
        None => Ok(()),
    }
}

/// Why one node comes before another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// It had returned before the other was made.
    Time,
    /// By the state of the key of this number.
    Key(u32),
}

type Node = u32;

/// The first nodes are the calls of the history.
struct Graph {
    calls: u32,
    nodes: u32,
    edges: Vec<(Node, Node, Reason)>,
}

/// A stretch of a key's time: where it begins and ends, its first return and its last call.
struct Stretch {
    begin: Node,
    end: Node,
    from: u64,
    to: u64,
}

impl Graph {
    fn new(calls: usize) -> Self {
        let calls = u32::try_from(calls).expect("positions are 32 bits");
        Self { calls, nodes: calls, edges: Vec::new() }
    }

    fn mark(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    fn edge(&mut self, from: Node, to: Node, reason: Reason) {
        if from != to {
            self.edges.push((from, to, reason));
        }
    }

    /// A mark for each instant at which calls returned; calls made later come after it.
    fn add_real_time(&mut self, facts: &Facts<'_>) {
        let calls = &facts.history.calls;
        let mut ends: Vec<(u64, At)> =
            (0..).zip(calls).filter_map(|(at, call)| Some((call.ended_at()?, at))).collect();
        ends.sort_unstable();
        let mut instants: Vec<(u64, Node)> = Vec::new();
        for (end, at) in ends {
            if instants.last().is_none_or(|(last, _)| *last != end) {
                let mark = self.mark();
                if let Some((_, last)) = instants.last() {
                    self.edge(*last, mark, Reason::Time);
                }
                instants.push((end, mark));
            }
            let (_, mark) = instants[instants.len() - 1];
            self.edge(at, mark, Reason::Time);
        }
        for (at, call) in (0..).zip(calls) {
            let before = instants.partition_point(|(end, _)| *end < call.called_at);
            if let Some(last) = before.checked_sub(1) {
                self.edge(instants[last].1, at, Reason::Time);
            }
        }
    }

    fn add_key(&mut self, facts: &Facts<'_>, number: usize, key: &KeyFacts<'_>, chains: &[Chain]) {
        let reason = Reason::Key(u32::try_from(number).expect("fewer keys than calls"));
        let mut stretches: Vec<Stretch> = Vec::new();
        for chain in chains {
            stretches.push(self.add_chain(key, chain, reason));
        }
        // Makers and takers stand in their chains already.
        let clusters = key.clusters.iter();
        let in_chains: BTreeSet<At> = clusters
            .flat_map(|cluster| cluster.maker.into_iter().chain(cluster.taken_by))
            .collect();
        let outside = key.absents.iter().chain(&key.deletes).filter(|at| !in_chains.contains(at));
        for at in outside {
            let call = facts.at(*at);
            let from = call.ended_at().unwrap_or(u64::MAX);
            stretches.push(Stretch { begin: *at, end: *at, from, to: call.called_at });
        }
        self.order(&mut stretches, reason);
    }

    /// Along a chain: a version's maker, then all that saw it, then the next maker.
    fn add_chain(&mut self, key: &KeyFacts<'_>, chain: &Chain, reason: Reason) -> Stretch {
        let begin = self.mark();
        let mut last = begin;
        for number in &chain.clusters {
            let cluster = &key.clusters[*number];
            let born = cluster.maker.unwrap_or_else(|| self.mark());
            self.edge(last, born, reason);
            last = self.mark();
            self.edge(born, last, reason);
            for at in &cluster.seen_by {
                // Who replaces the version stands behind all others that saw it.
                if cluster.taken_by != Some(*at) {
                    self.edge(born, *at, reason);
                    self.edge(*at, last, reason);
                }
            }
            if let (Some(taker), None) = (cluster.taken_by, cluster.next) {
                self.edge(last, taker, reason);
                last = taker;
            }
        }
        Stretch { begin, end: last, from: chain.zone.from, to: chain.zone.to }
    }

    /// Orders stretches wherever one's first return lies before the other's last call.
    fn order(&mut self, stretches: &mut [Stretch], reason: Reason) {
        stretches.sort_by_key(|stretch| stretch.from);
        let mut ended: Vec<Node> = Vec::with_capacity(stretches.len());
        for stretch in &*stretches {
            let mark = self.mark();
            if let Some(last) = ended.last() {
                self.edge(*last, mark, reason);
            }
            self.edge(stretch.end, mark, reason);
            ended.push(mark);
        }
        for (number, stretch) in stretches.iter().enumerate() {
            let before = stretches.partition_point(|other| other.from < stretch.to);
            if let Some(last) = before.min(number).checked_sub(1) {
                self.edge(ended[last], stretch.begin, reason);
            }
            for other in stretches.iter().take(before).skip(number + 1).take(NEIGHBOURS_MAX) {
                self.edge(other.end, stretch.begin, reason);
            }
        }
    }

    /// The edges, sorted by where they start.
    fn freeze(mut self) -> Frozen {
        self.edges.sort_unstable();
        self.edges.dedup_by_key(|(from, to, _)| (*from, *to));
        let mut starts = vec![0; self.nodes as usize + 1];
        for (from, ..) in &self.edges {
            starts[*from as usize + 1] += 1;
        }
        for node in 1..starts.len() {
            starts[node] += starts[node - 1];
        }
        let targets = self.edges.into_iter().map(|(_, to, reason)| (to, reason)).collect();
        Frozen { calls: self.calls, starts, targets }
    }
}

struct Frozen {
    calls: u32,
    starts: Vec<usize>,
    targets: Vec<(Node, Reason)>,
}

impl Frozen {
    const fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn after(&self, node: Node) -> &[(Node, Reason)] {
        &self.targets[self.starts[node as usize]..self.starts[node as usize + 1]]
    }

    /// The strongly connected component of each node (Tarjan), without recursion: histories are
    /// longer than stacks.
    fn components(&self) -> Vec<u32> {
        let (mut index, mut low) = (vec![0_u32; self.len()], vec![0_u32; self.len()]);
        let mut component = vec![UNSEEN; self.len()];
        let (mut count, mut components) = (0, 0);
        let (mut open, mut path): (Vec<Node>, Vec<(Node, usize)>) = (Vec::new(), Vec::new());
        for root in 0..self.len() {
            if index[root] != 0 {
                continue;
            }
            path.push((root as Node, 0));
            while let Some((node, next)) = path.pop() {
                let at = node as usize;
                if next == 0 {
                    count += 1;
                    (index[at], low[at]) = (count, count);
                    open.push(node);
                }
                if let Some((target, _)) = self.after(node).get(next) {
                    path.push((node, next + 1));
                    let to = *target as usize;
                    if index[to] == 0 {
                        path.push((*target, 0));
                    } else if component[to] == UNSEEN {
                        low[at] = low[at].min(index[to]);
                    }
                    continue;
                }
                if low[at] == index[at] {
                    while let Some(member) = open.pop() {
                        component[member as usize] = components;
                        if member == node {
                            break;
                        }
                    }
                    components += 1;
                }
                if let Some((parent, _)) = path.last() {
                    low[*parent as usize] = low[*parent as usize].min(low[at]);
                }
            }
        }
        component
    }

    /// A cycle with few calls, starting at one of the first calls that are on any.
    fn shortest_cycle(&self, components: &[u32]) -> Option<Vec<(Node, Reason)>> {
        let mut sizes = vec![0_u32; self.len()];
        for component in components {
            sizes[*component as usize] += 1;
        }
        let is_on_cycle = |call: &Node| sizes[components[*call as usize] as usize] > 1;
        let starts = (0..self.calls).filter(is_on_cycle).take(STARTS_MAX);
        starts.filter_map(|start| self.cycle_through(start, components)).min_by_key(Vec::len)
    }

    /// The cycle through a call that passes the fewest calls: each with the reason for what follows.
    fn cycle_through(&self, start: Node, components: &[u32]) -> Option<Vec<(Node, Reason)>> {
        let mut came_from: Vec<Option<(Node, Reason)>> = vec![None; self.len()];
        let mut queue = VecDeque::from([start]);
        let mut last = None;
        while let Some(node) = queue.pop_front() {
            for (target, reason) in self.after(node) {
                let is_inside = components[*target as usize] == components[start as usize];
                if *target == start {
                    last = Some((node, *reason));
                    break;
                }
                if !is_inside || came_from[*target as usize].is_some() {
                    continue;
                }
                came_from[*target as usize] = Some((node, *reason));
                // Marks cost nothing.
                if *target < self.calls {
                    queue.push_back(*target)
                } else {
                    queue.push_front(*target)
                }
            }
            if last.is_some() {
                break;
            }
        }
        let (mut node, mut reason) = last?;
        let mut cycle = Vec::new();
        loop {
            if node < self.calls {
                cycle.push((node, reason));
            }
            if node == start {
                break;
            }
            (node, reason) = came_from[node as usize].expect("it was reached from somewhere");
        }
        cycle.reverse();
        Some(cycle)
    }
}

/// Says for each call of a cycle why the next must come later.
fn explain(facts: &Facts<'_>, cycle: &[(Node, Reason)]) -> Violation {
    let calls: Vec<_> = cycle.iter().map(|(node, _)| facts.at(*node)).collect();
    let mut explanation = String::from("these calls can be put in no order: ");
    for (position, (_, reason)) in cycle.iter().enumerate() {
        let (call, next) = (calls[position], calls[(position + 1) % calls.len()]);
        let why = match reason {
            Reason::Time => "it had returned when the other was made".to_owned(),
            Reason::Key(number) => {
                format!("by the state of {:?}", facts.keys[*number as usize].key)
            }
        };
        let separator = if position == 0 { "" } else { "; " };
        explanation += &format!("{separator}call {} before call {} ({why})", call.id, next.id);
        if position + 1 == CALLS_MAX && calls.len() > CALLS_MAX {
            explanation += "; and so on, back to the first";
            break;
        }
    }
    Violation::new(explanation, calls)
}

/// Most overlapping stretches of a key that are ordered one by one; more are left out.
const NEIGHBOURS_MAX: usize = 64;
/// Most calls from which a short cycle is looked for.
const STARTS_MAX: usize = 64;
const UNSEEN: u32 = u32::MAX;
