//! Presence and absence need a reason: who finds a key absent that was there needs a delete or a
//! time to live; who finds it present needs a write that was not undone.
//!
//! Invariant: a call that may have happened counts as a reason for whatever it could explain, at any
//! time after it was made; it is never a reason against anything.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::chains::Zone;
use super::facts::{At, Facts, KeyFacts};
use crate::check::history::Short;
use crate::check::violation::Violation;
use crate::mutant::mutant;

/// Checks the absences and presences of a key.
pub(super) fn check(facts: &Facts<'_>, key: &KeyFacts<'_>) -> Result<(), Violation> {
    let births: Vec<Birth> = births(facts, key);
    check_absences(facts, key, &births)?;
    if mutant!("presence needs no write") {
        return Ok(());
    }
    check_presences(facts, key, &births)?;
    check_removals(facts, key)
}

/// A version, or a put that may have happened.
struct Birth {
    number: Option<usize>,
    /// It was made after this instant.
    after: u64,
    /// It had been made at this instant.
    by: u64,
    /// Its maker had returned at this instant.
    maker_end: u64,
    has_ttl: bool,
}

fn births(facts: &Facts<'_>, key: &KeyFacts<'_>) -> Vec<Birth> {
    let versions = key.clusters.iter().enumerate().map(|(number, cluster)| Birth {
        number: Some(number),
        after: cluster.made_after,
        by: Zone::of(facts, cluster).from,
        maker_end: cluster.maker.and_then(|at| facts.at(at).ended_at()).unwrap_or(u64::MAX),
        has_ttl: cluster.has_ttl,
    });
    let open = key.open_puts.iter().map(|put| Birth {
        number: None,
        after: facts.at(put.call).called_at,
        by: u64::MAX,
        maker_end: u64::MAX,
        has_ttl: put.has_ttl,
    });
    versions.chain(open).collect()
}

/// An absence after a presence: something between the two must have removed the entry.
fn check_absences(
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    births: &[Birth],
) -> Result<(), Violation> {
    // For each instant: of the versions made by then, the one that was made after the latest one.
    let mut made: Vec<&Birth> = births.iter().filter(|birth| birth.number.is_some()).collect();
    made.sort_by_key(|birth| birth.by);
    let mut latest: Vec<(u64, &Birth)> = Vec::with_capacity(made.len());
    for birth in made {
        let best = latest.last().map_or(birth, |(_, best)| *best);
        latest.push((birth.by, if birth.after >= best.after { birth } else { best }));
    }
    // For each instant: of what may have removed an entry and was called by then, the latest end.
    let mut removers: Vec<(u64, u64)> = Vec::new();
    for at in key.removals.iter().chain(&key.open_deletes) {
        let call = facts.at(*at);
        removers.push((call.called_at, call.ended_at().unwrap_or(u64::MAX)));
    }
    if !mutant!("expiry is no reason for absence") {
        let expiring = births.iter().filter(|birth| birth.has_ttl);
        removers.extend(expiring.map(|birth| (birth.after, birth.maker_end)));
    }
    removers.sort_unstable();
    let mut end = 0;
    for remover in &mut removers {
        end = end.max(remover.1);
        remover.1 = end;
    }
    for at in &key.absents {
        let call = facts.at(*at);
        let made = latest.partition_point(|(by, _)| *by < call.called_at);
        let Some((_, birth)) = made.checked_sub(1).map(|number| latest[number]) else { continue };
        let ended_at = call.ended_at().unwrap_or(u64::MAX);
        let called = removers.partition_point(|(called_at, _)| *called_at <= ended_at);
        let is_explained =
            called.checked_sub(1).is_some_and(|number| removers[number].1 >= birth.after);
        if !is_explained && !mutant!("absence never conflicts") {
            return Err(unexplained_absence(facts, key, *at, birth));
        }
    }
    Ok(())
}

fn unexplained_absence(facts: &Facts<'_>, key: &KeyFacts<'_>, at: At, birth: &Birth) -> Violation {
    let call = facts.at(at);
    let cluster = &key.clusters[birth.number.expect("only versions are compared")];
    let explanation = format!(
        "call {} of client {} was made at {} and found {:?} absent, although it had been at {} by {}, \
         and nothing can have removed it since",
        call.id,
        call.client,
        call.called_at,
        key.key,
        Short(cluster.version),
        birth.by,
    );
    let seen_by = Zone::of(facts, cluster).from_by;
    let calls = cluster.maker.into_iter().chain(seen_by).chain([at]);
    Violation::new(explanation, calls.map(|at| facts.at(at)))
}

/// A presence: some write must have come before it, and no certain delete in between.
fn check_presences(
    facts: &Facts<'_>,
    key: &KeyFacts<'_>,
    births: &[Birth],
) -> Result<(), Violation> {
    if key.presents.is_empty() {
        return Ok(());
    }
    // What certainly happened and leaves no older version: puts and deletes, by when they were
    // called, with the earliest end among those called later.
    let makers = key.clusters.iter().filter_map(|cluster| cluster.maker);
    let mut killers: Vec<(u64, u64, At)> = makers
        .chain(key.deletes.iter().copied())
        .filter_map(|at| Some((facts.at(at).called_at, facts.at(at).ended_at()?, at)))
        .collect();
    killers.sort_unstable();
    let mut earliest = (u64::MAX, 0);
    for killer in killers.iter_mut().rev() {
        earliest = earliest.min((killer.1, killer.2));
        (killer.1, killer.2) = earliest;
    }
    let death = |birth: &Birth| {
        let later = killers.partition_point(|(called_at, ..)| *called_at <= birth.by);
        killers.get(later).map_or((u64::MAX, None), |(_, end, at)| (*end, Some(*at)))
    };
    let mut lives: Vec<(u64, u64, Option<At>)> = births
        .iter()
        .map(|birth| (birth.after, death(birth)))
        .map(|(after, (end, by))| (after, end, by))
        .collect();
    lives.sort_unstable();
    let mut last = (0, None);
    for life in &mut lives {
        last = last.max((life.1, life.2));
        (life.1, life.2) = last;
    }
    for at in &key.presents {
        let call = facts.at(*at);
        let ended_at = call.ended_at().unwrap_or(u64::MAX);
        let begun = lives.partition_point(|(after, ..)| *after <= ended_at);
        let (end, killer) =
            begun.checked_sub(1).map_or((0, None), |number| (lives[number].1, lives[number].2));
        if begun == 0 || end < call.called_at {
            let why = if begun == 0 { "nobody had written it" } else { "it had been deleted" };
            let explanation = format!(
                "call {} of client {} was made at {} and found {:?} present, although {why}",
                call.id, call.client, call.called_at, key.key,
            );
            let calls = killer.into_iter().chain([*at]);
            return Err(Violation::new(explanation, calls.map(|at| facts.at(at))));
        }
    }
    Ok(())
}

/// Each delete that found the key removed another version: there are no fewer puts than that.
fn check_removals(facts: &Facts<'_>, key: &KeyFacts<'_>) -> Result<(), Violation> {
    let mut ends: Vec<(u64, At)> =
        key.removals.iter().filter_map(|at| Some((facts.at(*at).ended_at()?, *at))).collect();
    ends.sort_unstable();
    let versions = key.clusters.iter().map(|cluster| (cluster.made_after, cluster.maker));
    let open = key.open_puts.iter().map(|put| (facts.at(put.call).called_at, None));
    let mut puts: Vec<(u64, Option<At>)> = versions.chain(open).collect();
    puts.sort_unstable();
    for (count, (end, at)) in (1..).zip(&ends) {
        let made = puts.partition_point(|(after, _)| after <= end);
        if made < count {
            let explanation = format!(
                "by {end} deletes had found {:?} {count} times, but it can have been written only \
                 {made} times",
                key.key
            );
            let other = ends[..count - 1].last().map(|(_, at)| *at);
            let calls = other.into_iter().chain([*at]).chain(puts.first().and_then(|put| put.1));
            return Err(Violation::new(explanation, calls.map(|at| facts.at(at))));
        }
    }
    Ok(())
}
