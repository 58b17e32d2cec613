//! Certificates: an order in which the calls of a history could have been made one by one, and the
//! small verifier that believes nobody.
//!
//! A history is linearizable if its calls can be put into an order such that
//! 1. every call that says something about the state is in it once, none that did not happen is,
//!    and one whose outcome is unknown is in it at most once;
//! 2. a call that returned before another was made stands before it;
//! 3. the [specification](super::spec), asked in this order, gives the answers of the history.
//!
//! (Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", 1990.)
//! [`verify`] checks these three sentences, and that what watches handed out are the revisions made
//! on the way. It uses nothing but the history and the specification, so whoever trusts it need not
//! trust whatever found the order. No hurry: a page costs a walk over all entries.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use super::deliveries::{self, Made};
use super::history::{Answer, Call, History, Label, Observation, Outcome, Request, Work};
use super::spec::{Name, Profile, Refusal, Spec};
use crate::entry::{Entry, Key, Operation, OperationResult, PutOptions, Version};
use crate::error::ErrorKind;
use crate::mutant::mutant;

/// One step of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The call at this position of [`History::calls`].
    Call(u32),
    /// The upkeep at this position of [`History::upkeep`].
    Upkeep(u32),
}

/// An order that makes a history linearizable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The steps, first to last.
    pub order: Vec<Step>,
}

/// Checks a certificate.
///
/// # Errors
/// What is wrong with it, in words.
pub fn verify(history: &History, certificate: &Certificate) -> Result<(), String> {
    if mutant!("certificate is not verified") {
        return Ok(());
    }
    check_members(history, certificate)?;
    let first = certificate.order.first().and_then(|step| label_of(history, *step));
    let mut spec = Spec::new(Profile::MACHINE, first.map_or(0, |label| label.epoch));
    let mut latest_call = 0;
    let mut revisions: Vec<Made> = Vec::new();
    for step in &certificate.order {
        let label = label_of(history, *step).ok_or_else(|| format!("{step:?} has no label"))?;
        if label.log_time < spec.time() {
            return Err(format!("log time goes back at {step:?}"));
        }
        let before = spec.revision();
        match *step {
            Step::Call(position) => {
                let call = &history.calls[position as usize];
                if call.ended_at().is_some_and(|ended_at| ended_at < latest_call) {
                    return Err(format!("stands behind a call made after it returned: {call}"));
                }
                latest_call = latest_call.max(call.called_at);
                let expected = ask(&mut spec, call, label);
                if call.outcome != Outcome::Unknown && call.outcome != expected {
                    return Err(format!("should be answered {expected}: {call}"));
                }
            }
            Step::Upkeep(position) => match history.upkeep[position as usize].work {
                Work::Advance => drop(spec.advance(label.log_time)),
                Work::Restore => spec.restore(label.epoch),
                Work::Execute(_) => return Err(format!("{step:?} is told by its call")),
            },
        }
        if label.epoch != spec.epoch() {
            return Err(format!("{step:?} is in an epoch that never began"));
        }
        spec.pass(label.log_time);
        if spec.revision() > before && !history.deliveries.is_empty() {
            let version = Version::Numbered { epoch: spec.epoch(), revision: before };
            let newest = spec.changes_after(version).expect("one revision is always kept");
            let made = |revision| Made { epoch: spec.epoch(), revision, step: *step, latest_call };
            revisions.extend(newest.into_iter().map(made));
        }
    }
    deliveries::check(history, &revisions).map_err(|violation| violation.to_string())
}

fn label_of(history: &History, step: Step) -> Option<Label> {
    match step {
        Step::Call(position) => history.calls.get(position as usize)?.label,
        Step::Upkeep(position) => Some(history.upkeep.get(position as usize)?.label),
    }
}

fn check_members(history: &History, certificate: &Certificate) -> Result<(), String> {
    let mut sorted = certificate.order.clone();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{:?} is there twice", pair[0]));
    }
    for (position, call) in (0..).zip(&history.calls) {
        let is_there = sorted.binary_search(&Step::Call(position)).is_ok();
        if is_there != call.is_observation() && call.outcome != Outcome::Unknown {
            return Err(format!("is {}: {call}", if is_there { "there" } else { "missing" }));
        }
    }
    Ok(())
}

/// What the specification answers to a call.
fn ask(spec: &mut Spec, call: &Call, label: Label) -> Outcome {
    let now = label.log_time;
    let name = |key: &Key| -> Name { (call.keyspace.clone(), key.clone()) };
    let operations = match &call.request {
        Request::Get(key) | Request::Entry(key) => {
            return match spec.entry(now, &name(key)) {
                Some(entry) => Outcome::Ok(observed(entry)),
                None => Outcome::failed(Refusal {
                    kind: ErrorKind::NotFound,
                    current: None,
                    index: None,
                }),
            };
        }
        Request::Has(key) => {
            return Outcome::Ok(Answer::Present(spec.entry(now, &name(key)).is_some()));
        }
        Request::List(query) => {
            return Outcome::Ok(Answer::page(spec.list(now, &call.keyspace, query)));
        }
        Request::Put(put) => {
            let options = PutOptions { ttl: put.ttl, condition: put.condition };
            let value = put.value.as_ref().clone();
            vec![Operation::Put { key: put.key.clone(), value, options }]
        }
        Request::Delete(delete) => {
            let (key, if_version) = (delete.key.clone(), delete.if_version);
            vec![Operation::Delete { key, if_version }]
        }
        Request::Transact(operations) => operations.to_vec(),
    };
    match (spec.commit(now, &call.keyspace, &operations, false), &call.request) {
        (Ok(results), Request::Transact(_)) => Outcome::Ok(Answer::transacted(results)),
        (Err(refusal), Request::Transact(_)) => Outcome::failed(refusal),
        (Err(refusal), _) => Outcome::failed(Refusal { index: None, ..refusal }),
        (Ok(mut results), _) => Outcome::Ok(match results.remove(0) {
            OperationResult::Put(entry) => observed(entry),
            OperationResult::Deleted(was_present) => Answer::Present(was_present),
            OperationResult::Checked => unreachable!("only transactions check"),
        }),
    }
}

fn observed(Entry { value, version, expires_at, .. }: Entry) -> Answer {
    Answer::entry(Observation { value: Arc::new(value), version, expires_at })
}
