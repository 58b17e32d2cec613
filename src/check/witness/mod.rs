//! The witness check: does the order that the machine itself recorded make the history linearizable?
//!
//! Every call that happened carries a [label](super::history::Label). Sorted by index, a command
//! before the reads of the state that it made, they are an order; it remains to
//! 1. ask a replayed store in that order, and compare every answer (`replay`);
//! 2. see to it in the same pass that no call stands behind one that was made after it returned;
//! 3. compare what watches handed out (`deliveries`).
//!
//! O(n log n), pages and times to live included. Success is a [`Certificate`], which
//! [`verify`](super::certificate::verify) checks again with other code. Labels are evidence, not
//! truth: if the machine recorded a wrong order, or executed something twice, this finds it.
//!
//! No search: a history with a missing label is undecided here. The [zones](super::zones) do
//! without labels.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod replay;

use std::collections::BTreeMap;

use super::certificate::{Certificate, Step};
use super::deliveries;
use super::history::{Call, CommandId, History, Label, Outcome, Work};
use super::violation::Violation;
use crate::mutant::mutant;
use replay::{Mismatch, Replay};

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The recorded order does not make the history linearizable.
    Violation(Violation),
    /// A label is missing, so nothing can be said. A recorder that keeps its word never meets this.
    Unlabelled(Violation),
}

/// Checks the recorded order of a history.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(history: &History) -> Result<Certificate, Fault> {
    check_executions(history)?;
    let order = order(history)?;
    let mut pass = Pass::new(history);
    for step in &order {
        pass.step(*step)?;
    }
    let revisions = pass.replay.into_revisions();
    deliveries::check(history, &revisions).map_err(Fault::Violation)?;
    Ok(Certificate { order })
}

/// The recorded order: by index, commands first; reads of one state by the time at which they were
/// judged, then by call.
///
/// # Errors
/// [`Fault::Unlabelled`] if a label is missing; [`Fault::Violation`] if labels contradict each other.
pub fn order(history: &History) -> Result<Vec<Step>, Fault> {
    let mut places = Vec::with_capacity(history.calls.len() + history.upkeep.len());
    for (position, call) in (0..).zip(&history.calls) {
        if let Some(label) = label_of(call)? {
            let is_read = !call.request.is_command();
            places.push(Place::new(label, is_read, Step::Call(position)));
        }
    }
    for (position, upkeep) in (0..).zip(&history.upkeep) {
        if !matches!(upkeep.work, Work::Execute(_)) {
            places.push(Place::new(upkeep.label, false, Step::Upkeep(position)));
        }
    }
    places.sort_unstable();
    for group in places.chunk_by_mut(|a, b| a.key == b.key) {
        match group {
            [_] => {}
            [first, second, ..] if !first.is_read() => {
                return Err(two_at_one_index(history, first, second));
            }
            reads => reads.sort_by_key(|read| {
                let Step::Call(position) = read.step else { unreachable!("upkeep reads nothing") };
                let call = &history.calls[position as usize];
                (call.label.map(|label| label.log_time), call.called_at, call.id)
            }),
        }
    }
    Ok(places.into_iter().map(|place| place.step).collect())
}

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Twice the index, and one more for reads: a million places should be small.
    key: u64,
    step: Step,
}

impl Place {
    fn new(label: Label, is_read: bool, step: Step) -> Self {
        Self { key: label.index.saturating_mul(2).saturating_add(u64::from(is_read)), step }
    }

    const fn is_read(self) -> bool {
        self.key % 2 == 1
    }
}

/// The label of a call that belongs into the order; none for one that does not.
fn label_of(call: &Call) -> Result<Option<Label>, Fault> {
    let is_command = call.request.is_command();
    match (call.is_observation(), call.label) {
        (true, None) if mutant!("unlabelled call is left out") => Ok(None),
        (true, None) => {
            Err(Fault::Unlabelled(Violation::new("a call that happened has no label", [call])))
        }
        (true, label) => Ok(label),
        (false, None) => Ok(None),
        (false, Some(_)) if !is_command => Ok(None),
        (false, label) if call.outcome == Outcome::Unknown => Ok(label),
        (false, Some(label)) => Err(Fault::Violation(Violation::new(
            format!("a write was executed at {label} although its client was told that it was not"),
            [call],
        ))),
    }
}

fn two_at_one_index(history: &History, first: &Place, second: &Place) -> Fault {
    let calls = [first, second].into_iter().filter_map(|place| match place.step {
        Step::Call(position) => Some(&history.calls[position as usize]),
        Step::Upkeep(_) => None,
    });
    let explanation = format!("two commands were executed at index {}", first.key / 2);
    Fault::Violation(Violation::new(explanation, calls))
}

/// No command of a client session is executed twice.
fn check_executions(history: &History) -> Result<(), Fault> {
    if mutant!("second execution is accepted") {
        return Ok(());
    }
    let commands = history.calls.iter().filter(|call| call.request.is_command());
    let mut executed: Vec<(CommandId, u64, &Call)> = commands
        .filter_map(|call| Some((*call.command.as_deref()?, call.label?.index, call)))
        .collect();
    executed.sort_unstable_by_key(|(command, index, _)| (*command, *index));
    if let Some([first, second]) = executed.array_windows().find(|[a, b]| a.0 == b.0) {
        return Err(executed_twice(&first.0, first.1, second.1, [first.2, second.2]));
    }
    let mut told = BTreeMap::new();
    for upkeep in &history.upkeep {
        let Work::Execute(command) = upkeep.work else { continue };
        let index = upkeep.label.index;
        let call = executed.binary_search_by_key(&command, |(command, ..)| *command).ok();
        let (_, first, call) = call.map_or((command, index, None), |number| {
            let (command, index, call) = executed[number];
            (command, index, Some(call))
        });
        if first != index {
            return Err(executed_twice(&command, first, index, call));
        }
        if let Some(first) = told.insert(command, index) {
            return Err(executed_twice(&command, first, index, call));
        }
    }
    Ok(())
}

fn executed_twice<'a>(
    command: &CommandId,
    first: u64,
    second: u64,
    calls: impl IntoIterator<Item = &'a Call>,
) -> Fault {
    let CommandId { session: (epoch, opened_at), seq } = command;
    let explanation = format!(
        "command {seq} of the client session {epoch:x}@{opened_at} was executed at index {first} \
         and at index {second}"
    );
    Fault::Violation(Violation::new(explanation, calls))
}

/// One pass over the order.
struct Pass<'a> {
    history: &'a History,
    replay: Replay<'a>,
    /// The call that was made last, of those in the order so far.
    latest: Option<&'a Call>,
    /// The last call in the order so far.
    previous: Option<&'a Call>,
}

impl<'a> Pass<'a> {
    const fn new(history: &'a History) -> Self {
        let replay = Replay::new(!history.deliveries.is_empty());
        Self { history, replay, latest: None, previous: None }
    }

    fn step(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Upkeep(position) => {
                let upkeep = &self.history.upkeep[position as usize];
                self.replay.upkeep(step, upkeep).map_err(|mismatch| self.explain(mismatch, None))
            }
            Step::Call(position) => {
                let call = &self.history.calls[position as usize];
                self.check_real_time(call)?;
                let checked = self.replay.call(step, call);
                checked.map_err(|mismatch| self.explain(mismatch, Some(call)))?;
                self.previous = Some(call);
                Ok(())
            }
        }
    }

    /// The order puts no call behind one that was made after it returned.
    fn check_real_time(&mut self, call: &'a Call) -> Result<(), Fault> {
        let Some(latest) = self.latest else {
            self.latest = Some(call);
            return Ok(());
        };
        if let Some(ended_at) = call.ended_at()
            && ended_at < latest.called_at
            && !mutant!("real time is not checked")
        {
            let [first, second] = [latest, call].map(|call| call.label.map_or(0, |l| l.index));
            let explanation = format!(
                "call {} had returned at {ended_at}, before call {} was made at {}, but the machine \
                 has it later: index {second} after index {first}",
                call.id, latest.id, latest.called_at,
            );
            return Err(Fault::Violation(Violation::new(explanation, [latest, call])));
        }
        if call.called_at > latest.called_at {
            self.latest = Some(call);
        }
        Ok(())
    }

    /// Names the calls that a mismatch is about.
    fn explain(&self, mismatch: Mismatch, call: Option<&'a Call>) -> Fault {
        let Mismatch { explanation, made_by, seen, is_unmade } = mismatch;
        let calls = &self.history.calls;
        let maker = match made_by {
            Some(Step::Call(position)) => Some(&calls[position as usize]),
            Some(Step::Upkeep(_)) | None => None,
        };
        let writer =
            seen.and_then(|version| calls.iter().find(|call| call.version_made() == Some(version)));
        let previous = self.previous.filter(|_| maker.is_none() && writer.is_none());
        let shown = call.into_iter().chain(maker).chain(writer).chain(previous);
        let violation = Violation::new(explanation, shown);
        // What nobody wrote may be the work of a write that lacks its label.
        let is_suspect = |suspect: &Call| {
            suspect.outcome == Outcome::Unknown
                && suspect.label.is_none()
                && suspect.request.is_command()
                && call.is_none_or(|call| call.ended_at().is_none_or(|at| suspect.called_at <= at))
        };
        if is_unmade && writer.is_none() && calls.iter().any(is_suspect) {
            return Fault::Unlabelled(violation);
        }
        Fault::Violation(violation)
    }
}
