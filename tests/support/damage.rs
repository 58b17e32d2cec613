//! Damage to histories: each changes one thing that a store, or what recorded it, could get wrong.
#![allow(dead_code)]

use std::sync::Arc;

use plimsoll::check::history::{Answer, Call, History, Observation, Outcome, Request};
use plimsoll::check::spec::Refusal;
use plimsoll::entry::{Key, OperationResult};
use plimsoll::error::ErrorKind;

use crate::histories::{Dice, versions};

/// Changes one thing; tells what, or nothing if it found nothing to change.
pub fn damage(history: &mut History, dice: &mut Dice) -> Option<&'static str> {
    for _ in 0..20 {
        let position = dice.below(history.calls.len());
        let done = match dice.below(8) {
            0 | 1 => see_something_else(history, position, dice),
            2 => flip_presence(history, position),
            3 => lose_an_item(history, position, dice),
            4 => forget_a_write(history, position),
            5 => swap_times(history, position, dice),
            6 => move_in_time(history, position, dice),
            _ => change_a_version(history, position, dice),
        };
        if done.is_some() {
            return done;
        }
    }
    None
}

/// Changes one label, delivery or step of upkeep.
pub fn mislabel(history: &mut History, dice: &mut Dice) -> Option<&'static str> {
    let position = dice.below(history.calls.len());
    match dice.below(6) {
        0 => {
            let label = history.calls[position].label.as_mut()?;
            label.index = (label.index + dice.below(5) as u64).saturating_sub(2);
            Some("an index was moved")
        }
        1 => {
            let label = history.calls[position].label.as_mut()?;
            label.log_time.0 = (label.log_time.0 + dice.below(9) as u64).saturating_sub(4);
            Some("a log time was moved")
        }
        2 => {
            history.calls[position].label.as_mut()?.epoch += 1;
            Some("an epoch was changed")
        }
        3 if !history.upkeep.is_empty() => {
            history.upkeep.remove(dice.below(history.upkeep.len()));
            Some("a step of upkeep was lost")
        }
        4 if !history.deliveries.is_empty() => {
            history.deliveries.remove(dice.below(history.deliveries.len()));
            Some("a delivery was lost")
        }
        5 if !history.deliveries.is_empty() => {
            let which = dice.below(history.deliveries.len());
            history.deliveries[which].delivered_at = dice.below(60) as u64;
            Some("a delivery was moved in time")
        }
        _ => None,
    }
}

/// A read answers what another call saw of the same key, or absence.
fn see_something_else(
    history: &mut History,
    position: usize,
    dice: &mut Dice,
) -> Option<&'static str> {
    let (Request::Get(key) | Request::Entry(key)) = &history.calls[position].request else {
        return None;
    };
    let mut seen: Vec<Outcome> = vec![Outcome::failed(not_found())];
    seen.extend(history.calls.iter().filter_map(|call| entry_seen(call, key)));
    seen.retain(|outcome| *outcome != history.calls[position].outcome);
    if seen.is_empty() || !history.calls[position].is_observation() {
        return None;
    }
    history.calls[position].outcome = seen[dice.below(seen.len())].clone();
    Some("a read saw something else")
}

fn entry_seen(call: &Call, key: &Key) -> Option<Outcome> {
    match (&call.request, &call.outcome) {
        (Request::Get(of) | Request::Entry(of), Outcome::Ok(Answer::Entry(_))) if of == key => {
            Some(call.outcome.clone())
        }
        (Request::Put(put), Outcome::Ok(Answer::Entry(_))) if put.key == *key => {
            Some(call.outcome.clone())
        }
        (Request::List(_), Outcome::Ok(Answer::Page(page))) => {
            let item = page.items.iter().find(|item| item.key == *key)?;
            Some(Outcome::Ok(Answer::entry(Observation {
                value: Arc::new(item.value.clone()),
                version: item.version,
                expires_at: item.expires_at,
            })))
        }
        _ => None,
    }
}

fn flip_presence(history: &mut History, position: usize) -> Option<&'static str> {
    match &mut history.calls[position].outcome {
        Outcome::Ok(Answer::Present(is_present)) => *is_present = !*is_present,
        Outcome::Ok(Answer::Transacted(results)) => {
            let found = results.iter_mut().find_map(|result| match result {
                OperationResult::Deleted(found) => Some(found),
                _ => None,
            })?;
            *found = !*found;
        }
        _ => return None,
    }
    Some("a presence was flipped")
}

fn lose_an_item(history: &mut History, position: usize, dice: &mut Dice) -> Option<&'static str> {
    let Outcome::Ok(Answer::Page(page)) = &mut history.calls[position].outcome else { return None };
    if page.items.is_empty() {
        return None;
    }
    page.items.remove(dice.below(page.items.len()));
    page.cursor = page.items.last().map_or(String::new(), |item| item.key.to_string());
    Some("a page lost an item")
}

fn forget_a_write(history: &mut History, position: usize) -> Option<&'static str> {
    let call = &history.calls[position];
    if !call.request.is_command() || !matches!(call.outcome, Outcome::Ok(_)) {
        return None;
    }
    history.calls.remove(position);
    Some("a write was forgotten")
}

fn swap_times(history: &mut History, position: usize, dice: &mut Dice) -> Option<&'static str> {
    let other = dice.below(history.calls.len());
    let [a, b] = history.calls.get_disjoint_mut([position, other]).ok()?;
    std::mem::swap(&mut a.called_at, &mut b.called_at);
    std::mem::swap(&mut a.returned_at, &mut b.returned_at);
    Some("two calls swapped their times")
}

fn move_in_time(history: &mut History, position: usize, dice: &mut Dice) -> Option<&'static str> {
    let call = &mut history.calls[position];
    let returned_at = call.returned_at?;
    let by = 1 + dice.below(12) as u64;
    if dice.percent(50) {
        call.called_at += by;
        call.returned_at = Some(returned_at + by);
    } else {
        call.called_at = call.called_at.saturating_sub(by);
        call.returned_at = Some(returned_at.saturating_sub(by).max(call.called_at));
    }
    Some("a call moved in time")
}

fn change_a_version(
    history: &mut History,
    position: usize,
    dice: &mut Dice,
) -> Option<&'static str> {
    let versions = versions(history);
    if versions.is_empty() {
        return None;
    }
    let version = versions[dice.below(versions.len())];
    match &mut history.calls[position].outcome {
        Outcome::Ok(Answer::Entry(seen)) if seen.version != version => {
            let seen = seen.as_ref().clone();
            let changed = Answer::entry(Observation { version, ..seen });
            history.calls[position].outcome = Outcome::Ok(changed);
        }
        Outcome::Failed(refusal) if refusal.current.is_some_and(|current| current != version) => {
            refusal.current = Some(version);
        }
        _ => return None,
    }
    Some("a version was changed")
}

const fn not_found() -> Refusal {
    Refusal { kind: ErrorKind::NotFound, current: None, index: None }
}
