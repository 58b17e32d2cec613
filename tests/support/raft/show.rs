//! What happens in a cluster, an event a line.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use plimsoll::entry::EventKind;
use plimsoll::kv::{Action, KeyRef, LogEntry, Reply, SessionId, Write, Written};
use plimsoll::raft::{
    Answer, Applied, Failure, FailureReason, Node, Progress, RaftId, RequestId, Response, Role,
};
use raft::eraftpb::{Entry, EntryType};

use crate::cluster::Cluster;
use crate::script::{KEYSPACE, since};

/// Notices what has changed since it last looked.
#[derive(Default)]
pub struct Watcher {
    labels: BTreeMap<RequestId, String>,
    /// Who leads, and in which term.
    leaders: BTreeMap<RaftId, u64>,
    ended: BTreeSet<RaftId>,
    expired: BTreeSet<u64>,
}

impl Watcher {
    /// What a request is called; without a name its end is not told.
    pub fn label(&mut self, request: RequestId, label: &str) {
        self.labels.insert(request, label.to_owned());
    }

    /// Writes what has happened; answers the sessions that were opened.
    pub fn events(
        &mut self,
        cluster: &mut Cluster,
        output: &mut String,
    ) -> Vec<(RequestId, SessionId)> {
        let mut opened = Vec::new();
        for (id, host) in &mut cluster.hosts {
            let name = format!("n{}", id.0);
            let progress = std::mem::take(&mut host.progress);
            let responses = std::mem::take(&mut host.responses);
            let Some(node) = &host.node else {
                self.leaders.remove(id);
                continue;
            };
            self.role(*id, &name, node, output);
            progress.iter().for_each(|progress| self.progress(&name, progress, output));
            for response in responses {
                if let Ok(Answer::Applied { reply: Reply::SessionOpened(session), .. }) =
                    &response.result
                {
                    opened.push((response.request, *session));
                }
                self.response(&name, node, &response, output);
            }
        }
        opened
    }

    fn role(&mut self, id: RaftId, name: &str, node: &Node, output: &mut String) {
        let leads = (node.role() == Role::Leader && node.stopped().is_none()).then(|| node.term());
        let before = self.leaders.get(&id).copied();
        match leads {
            Some(term) if before != leads => {
                self.leaders.insert(id, term);
                writeln!(output, "{name} leads in term {term}").unwrap();
            }
            None if before.is_some() => {
                self.leaders.remove(&id);
                writeln!(output, "{name} leads no longer").unwrap();
            }
            _ => {}
        }
        let is_removed = node.status().is_removed;
        if (is_removed || node.stopped().is_some()) && self.ended.insert(id) {
            let why = node
                .stopped()
                .map_or("is no member any more".to_owned(), |why| format!("has stopped: {why}"));
            writeln!(output, "{name} {why}").unwrap();
        }
    }

    fn progress(&mut self, name: &str, progress: &Progress, output: &mut String) {
        match progress {
            Progress::Installed { index } => {
                writeln!(output, "{name} takes the snapshot of {index}").unwrap();
            }
            Progress::Applied(applied) => {
                let expired = expired_keys(applied);
                if !expired.is_empty() && self.expired.insert(applied.index) {
                    let (keys, time) = (expired.join(", "), since(applied.log_time));
                    writeln!(output, "{} at log time {time}: {keys} expired", place(applied))
                        .unwrap();
                }
            }
        }
    }

    fn response(&self, name: &str, node: &Node, response: &Response, output: &mut String) {
        let label = self.labels.get(&response.request).map_or("", String::as_str);
        if label.is_empty() && response.result.is_ok() {
            return;
        }
        let end = match &response.result {
            Ok(Answer::Applied { index, reply, .. }) => format!("{} at {index}", show_reply(reply)),
            Ok(Answer::Read { index }) => {
                let key = label.trim_start_matches("get ").as_bytes();
                let machine = node.machine();
                let record = machine.get(KeyRef { keyspace: KEYSPACE, key }, machine.log_time());
                let value =
                    record.map_or("absent".to_owned(), |r| format!("{:?}", r.value.decode()));
                format!("{value} as of {index}")
            }
            Ok(Answer::Changed { index }) => format!("changed at {index}"),
            Ok(Answer::TransferStarted) => "begun".to_owned(),
            Err(failure) => show_failure(failure),
        };
        writeln!(output, "{name} {label}: {end}").unwrap();
    }
}

/// A node in one line.
pub fn status(name: &str, node: Option<&Node>) -> String {
    let Some(node) = node else { return format!("{name} is down") };
    if node.stopped().is_some() {
        return format!("{name} has stopped");
    }
    let status = node.status();
    let ids = |ids: &BTreeSet<RaftId>| {
        let ids: Vec<_> = ids.iter().map(|id| format!("n{}", id.0)).collect();
        ids.join(" ")
    };
    let role = match status.role {
        Role::Leader => "leads".to_owned(),
        Role::PreCandidate | Role::Candidate => "campaigns".to_owned(),
        Role::Follower => match status.leader {
            Some(leader) => format!("follows n{}", leader.0),
            None => "knows no leader".to_owned(),
        },
    };
    let mut line = format!(
        "{name} {role}, term {}, commit {}, applied {}, log to {}, voters {}",
        status.term,
        status.commit,
        status.applied,
        status.last_index,
        ids(&status.voters)
    );
    for (is_shown, part) in [
        (!status.outgoing.is_empty(), format!(", joint with {}", ids(&status.outgoing))),
        (!status.learners.is_empty(), format!(", learners {}", ids(&status.learners))),
        (status.clock_unresolved, ", clock unresolved".to_owned()),
        (status.unsynced > 0, format!(", {} unsynced", status.unsynced)),
        (status.waiting > 0, format!(", {} waiting", status.waiting)),
        (status.is_removed, ", removed".to_owned()),
    ] {
        if is_shown {
            line += &part;
        }
    }
    line
}

/// An entry in one line.
pub fn entry(entry: &Entry) -> String {
    let what = match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => "empty".to_owned(),
        EntryType::EntryNormal => {
            let log_entry = LogEntry::decode(entry.data.clone().into()).unwrap();
            let action = match log_entry.command.action {
                Action::Write { write: Write::Put { key, .. }, .. } => format!("put {}", key.key()),
                Action::OpenSession => "open a session".to_owned(),
                Action::Advance => "advance".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{action}, stamp {}", since(log_entry.stamp))
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 if entry.data.is_empty() => {
            "leave the joint phase".to_owned()
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => "change of members".to_owned(),
    };
    format!("{}@{} {what}", entry.index, entry.term)
}

/// Whether the machines that applied the same are the same.
pub fn digests(cluster: &Cluster) -> String {
    let mut digests: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for node in cluster.hosts.values().filter_map(|host| host.node.as_ref()) {
        let digest = format!("{:?}", node.machine().digest());
        digests.entry(node.applied()).or_default().insert(digest);
    }
    let are_equal = digests.values().all(|digests| digests.len() == 1);
    let indices: Vec<_> = digests.keys().map(u64::to_string).collect();
    let verdict = if are_equal { "equal" } else { "different" };
    format!("{verdict} at {}", indices.join(", "))
}

fn place(applied: &Applied) -> String {
    format!("{}@{}", applied.index, applied.term)
}

fn expired_keys(applied: &Applied) -> Vec<String> {
    let events = applied.outcome.change.iter().flat_map(|change| change.events.iter());
    events
        .filter(|event| event.kind == EventKind::Expire)
        .map(|event| event.key.key().to_string())
        .collect()
}

fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Written(Written::Put { version, deadline }) => {
            let deadline = deadline.map_or(String::new(), |d| format!(" until {}", since(d)));
            format!("version {version}{deadline}")
        }
        Reply::SessionOpened(session) => format!("session {}", session.index),
        Reply::Refused(refusal) => format!("refused, {:?}", refusal.reason),
        other => format!("{other:?}"),
    }
}

fn show_failure(failure: &Failure) -> String {
    let reason = match &failure.reason {
        FailureReason::Timeout => "timed out",
        FailureReason::NoLeader => "no leader",
        FailureReason::Busy => "busy",
        FailureReason::Refused(why) => why,
        FailureReason::Stopped => "the node has stopped",
        FailureReason::NoNode(_) => unreachable!("a node is asked directly here"),
    };
    format!("failed, {reason}, outcome {}", failure.outcome.as_str())
}
