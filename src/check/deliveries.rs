//! What watches handed out, against the revisions that were made.
//!
//! A watch is told whole revisions, in order, without gap or repeat, and none before it was made. A
//! revision counts for a watch if one of its events has a key that the watch is about. That a watch
//! is slow, or ends, is no violation.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use super::certificate::Step;
use super::history::{Delivery, History, Short};
use super::spec::Revision;
use super::violation::Violation;
use crate::entry::{Event, Version};
use crate::mutant::mutant;

/// A revision that was made.
pub(super) struct Made {
    /// In which epoch.
    pub epoch: u64,
    /// The revision.
    pub revision: Revision,
    /// What made it.
    pub step: Step,
    /// When the latest call was made of those up to this step: before then the revision was not.
    pub latest_call: u64,
}

/// Checks all deliveries of a history against all revisions, first to last.
pub(super) fn check(history: &History, revisions: &[Made]) -> Result<(), Violation> {
    let positions: BTreeMap<(u64, u64), usize> = revisions
        .iter()
        .enumerate()
        .map(|(i, made)| ((made.epoch, made.revision.number), i))
        .collect();
    let mut last_of_watch: BTreeMap<u64, Version> = BTreeMap::new();
    for delivery in &history.deliveries {
        let position = match delivery.change.revision {
            Version::Numbered { epoch, revision } => positions.get(&(epoch, revision)).copied(),
            Version::Unversioned | Version::Stamped { .. } => None,
        };
        let position = position.ok_or_else(|| {
            explain(history, delivery, "although no such revision was made", None)
        })?;
        check_one(history, delivery, &revisions[..=position])?;
        let last = last_of_watch.insert(delivery.watch, delivery.change.revision);
        if let Some(last) = last
            && delivery.after != Some(last)
        {
            let why = format!("although it had stood at {}", Short(last));
            return Err(explain(history, delivery, &why, Some(&revisions[position])));
        }
    }
    Ok(())
}

/// Checks a delivery against the revisions up to the one that it is about.
fn check_one(history: &History, delivery: &Delivery, revisions: &[Made]) -> Result<(), Violation> {
    let (made, earlier) = revisions.split_last().expect("the one that the delivery is about");
    let wrong = |why: &str, made: &Made| Err(explain(history, delivery, why, Some(made)));
    let wanted = wanted_events(delivery, &made.revision);
    if !wanted.iter().copied().eq(&delivery.change.events) {
        let wanted = in_words(wanted.iter().copied());
        return wrong(&format!("although its events are [{wanted}]"), made);
    }
    if made.latest_call > delivery.delivered_at {
        return wrong("although it was made only later", made);
    }
    let Some(after) = delivery.after else { return Ok(()) };
    let Version::Numbered { epoch, revision: after } = after else {
        return wrong("although it stood nowhere", made);
    };
    if epoch != made.epoch || after >= made.revision.number {
        return wrong("although it stood beyond or in another epoch", made);
    }
    if mutant!("watch may miss a revision") {
        return Ok(());
    }
    let passed = earlier.iter().rev();
    let mut passed = passed.take_while(|m| m.epoch == epoch && m.revision.number > after);
    match passed.find(|made| !wanted_events(delivery, &made.revision).is_empty()) {
        Some(missed) => {
            wrong(&format!("and was not told revision {}", missed.revision.number), missed)
        }
        None => Ok(()),
    }
}

/// The events of a revision that a watch is about.
fn wanted_events<'a>(delivery: &Delivery, revision: &'a Revision) -> Vec<&'a Event> {
    let is_wanted = |event: &Event| event.key.as_str().as_bytes().starts_with(&delivery.prefix);
    let events = revision.events.iter().filter(|(keyspace, _)| *keyspace == delivery.keyspace);
    events.map(|(_, event)| event).filter(|event| is_wanted(event)).collect()
}

fn explain(history: &History, delivery: &Delivery, why: &str, made: Option<&Made>) -> Violation {
    let Delivery { watch, client, node, keyspace, prefix, after, delivered_at, change } = delivery;
    let stood = after.map_or(String::new(), |after| format!(", standing at {},", Short(after)));
    let explanation = format!(
        "watch {watch} of client {client} at node {node} on \"{}\" in {keyspace}{stood} was told {} \
         with [{}] at {delivered_at}, {why}",
        prefix.escape_ascii(),
        Short(change.revision),
        in_words(&change.events),
    );
    let call = match made.map(|made| made.step) {
        Some(Step::Call(position)) => Some(&history.calls[position as usize]),
        Some(Step::Upkeep(_)) | None => None,
    };
    Violation::new(explanation, call)
}

fn in_words<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let one = |event: &Event| {
        let entry = event.entry.as_ref();
        let entry = entry.map(|entry| format!(" = {:?} at {}", entry.value, Short(entry.version)));
        format!("{} {:?}{}", event.kind.as_str(), event.key, entry.unwrap_or_default())
    };
    events.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
