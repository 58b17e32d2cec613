//! Traces to read: what happened, one event a line, and what it changed.

use std::fmt::Write as _;

use stateright::Model;

use super::Collection;
use super::actions::Action;
use super::properties::PROMISES;
use super::rule::{Coverage, Form, Replica, Stamp};
use super::state::{Kind, State};

/// Tells the events that lead through these states, from the first one on, and what the last one
/// breaks.
///
/// The states may be representatives. What is told is one run in which members keep their numbers.
#[must_use]
pub fn tell(model: &Collection, states: &[State], broken: &str) -> Vec<String> {
    let walk = model.to_walk();
    let mut teller = Teller::default();
    let mut state = states[0].clone();
    let mut lines = vec![start_line(&state).to_owned()];
    for (number, target) in states.iter().enumerate().skip(1) {
        let (action, next) = step_towards(&walk, &state, &target.representative());
        let event = teller.event(&state, action);
        teller.note(action);
        let changes = teller.changes(action, &state, &next);
        lines.push(format!("{number:>4}  {event:<54} {changes}").trim_end().to_owned());
        state = next;
    }
    if teller.names.len() > 1 {
        lines.push(format!("      stamps in order: {}", teller.names.join(" < ")));
    }
    let promise = PROMISES.iter().find(|(name, _)| *name == broken);
    let sentence = promise.map_or("", |(_, sentence)| sentence);
    lines.push(format!("      not {broken}: {sentence}"));
    lines
}

/// An event, without what it is about: for who has no trace.
#[must_use]
pub fn phrase(action: Action) -> String {
    let Action::Write { member, kind, stamp } = action else { return format!("{action:?}") };
    format!("n{member} {} at place {}", verb(kind), stamp.0)
}

/// A state for who has no trace: its members, with writes that are named by their stamps.
#[must_use]
pub fn brief(state: &State) -> String {
    let names = state.stamped().map(|(stamp, write)| format!("{}{}", letter(write.kind), stamp.0));
    let teller = Teller { names: names.collect() };
    let members = state.members().iter().map(|member| teller.member(state, member));
    members.collect::<Vec<_>>().join("\n")
}

fn start_line(state: &State) -> &'static str {
    if state.listed().all(|replica| replica.has_joined) {
        "   0  all members have joined and met, and nothing is written"
    } else {
        "   0  all members start for the first time"
    }
}

/// The event that leads to a state that the representative stands for.
fn step_towards(model: &Collection, state: &State, target: &State) -> (Action, State) {
    let mut actions = Vec::new();
    model.actions(state, &mut actions);
    actions
        .into_iter()
        .filter_map(|action| Some((action, model.next_state(state, action)?)))
        .find(|(_, next)| next.representative() == *target)
        .expect("each state of a path follows from the one before")
}

/// Knows the names of the writes so far: a letter for the kind, and when it was made.
#[derive(Default)]
struct Teller {
    /// By stamp.
    names: Vec<String>,
}

impl Teller {
    fn event(&self, state: &State, action: Action) -> String {
        let number = self.names.len() + 1;
        match action {
            Action::Write { member, kind, .. } => {
                format!("n{member} {} {}{number}", verb(kind), letter(kind))
            }
            Action::Sweep { member, .. } => {
                format!("n{member} {} {}{number}", verb(Kind::Sweep), letter(Kind::Sweep))
            }
            Action::Push { stamp, to } => {
                let write = state.write(stamp);
                let origin = format!("n{}.{}", write.member, write.incarnation.0);
                format!("n{to} gets the push of {} from {origin}", self.name(stamp))
            }
            Action::Relay { from, to } => {
                let entry = self.entry(state.replicas[from].entry);
                format!("n{to} gets a push of {entry} from {}", life(state, from))
            }
            Action::Exchange { from, to } => {
                format!("n{to} exchanges with {}", life(state, from))
            }
            Action::Part { from, to } => {
                format!("n{to} exchanges with {}, and is cut off", life(state, from))
            }
            Action::Digest { from, to } => format!("n{to} gets a digest of {}", life(state, from)),
            Action::DelaySync { from } => {
                let replica = &state.replicas[from];
                format!(
                    "{} sends a sync that will be late: {}",
                    life(state, from),
                    self.held(replica)
                )
            }
            Action::DelayAnswer { from, to } => {
                format!("{} answers {}, which will be late", life(state, from), life(state, to))
            }
            Action::Deliver { slot, to, form } => self.delivery(state, slot, to, form),
            Action::Collect { member } => {
                format!("n{member} collects {}", self.entry(state.replicas[member].entry))
            }
            Action::Pass { member } => format!("the deadline passes by the clock of n{member}"),
            Action::Snapshot { member } => format!("a snapshot of n{member} is kept"),
            Action::Restart { member, manner } => format!("n{member} {}", manner.phrase()),
            Action::Remove { member } => {
                format!("epoch {} is agreed on, without n{member}", state.epoch + 1)
            }
            Action::Add { member } => {
                format!("epoch {} is agreed on, with n{member}", state.epoch + 1)
            }
            Action::Move { member, epoch } => format!("n{member} moves on to epoch {epoch}"),
        }
    }

    fn delivery(&self, state: &State, slot: usize, to: usize, form: Form) -> String {
        let message = state.delayed[slot].expect("it is under way");
        let from = usize::from(message.image.from);
        let sender = format!("n{from}.{}", message.image.incarnations[from].0);
        let what = match form {
            Form::Push => format!("push of {}", self.entry(message.image.entry)),
            Form::Sync if message.asked.is_some() => "answer".to_owned(),
            Form::Sync => "sync".to_owned(),
            Form::Digest => "digest".to_owned(),
        };
        format!("n{to} gets the late {what} of {sender}")
    }

    /// Learns the name of a new write.
    fn note(&mut self, action: Action) {
        let (kind, stamp) = match action {
            Action::Write { kind, stamp, .. } => (kind, stamp),
            Action::Sweep { stamp, .. } => (Kind::Sweep, stamp),
            _ => return,
        };
        let name = format!("{}{}", letter(kind), self.names.len() + 1);
        self.names.insert(usize::from(stamp.0) - 1, name);
    }

    /// The members that an event changed, as they are now. A new write moves stamps everywhere, which
    /// changes nobody but its writer.
    fn changes(&self, action: Action, before: &State, after: &State) -> String {
        let is_changed = |member: &usize| match action {
            Action::Write { member: writer, .. } | Action::Sweep { member: writer, .. } => {
                writer == *member
            }
            _ => before.replicas[*member] != after.replicas[*member],
        };
        let members =
            after.members().iter().filter(is_changed).map(|member| self.member(after, member));
        members.collect::<Vec<_>>().join("; ")
    }

    fn member(&self, state: &State, member: usize) -> String {
        let replica = &state.replicas[member];
        let mut text = life(state, member);
        if replica.list.epoch > 0 {
            write!(text, " in epoch {}", replica.list.epoch).expect("a string takes all");
        }
        write!(text, " {}", self.held(replica)).expect("a string takes all");
        for (other, digest) in replica.digests.iter().enumerate() {
            if *digest != Coverage::default() {
                let since = replica.incarnations[other].0;
                let digest = self.writes(*digest);
                write!(text, ", n{other}.{since}: {digest}").expect("a string takes all");
            }
        }
        if !replica.has_joined {
            text.push_str(", not joined");
        }
        text
    }

    fn held(&self, replica: &Replica) -> String {
        format!("holds {} {}", self.entry(replica.entry), self.writes(replica.coverage))
    }

    fn writes(&self, coverage: Coverage) -> String {
        let stamps = (1..).take(self.names.len()).map(Stamp);
        let names = stamps.filter(|stamp| coverage.covers(*stamp)).map(|stamp| self.name(stamp));
        format!("{{{}}}", names.collect::<Vec<_>>().join(" "))
    }

    fn entry(&self, entry: Option<Stamp>) -> &str {
        entry.map_or("nothing", |stamp| self.name(stamp))
    }

    fn name(&self, stamp: Stamp) -> &str {
        &self.names[usize::from(stamp.0) - 1]
    }
}

fn life(state: &State, member: usize) -> String {
    format!("n{member}.{}", state.replicas[member].incarnations[member].0)
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Put => 'X',
        Kind::Lease => 'L',
        Kind::Delete => 'T',
        Kind::Sweep => 'S',
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Put => "puts",
        Kind::Lease => "puts, with a deadline,",
        Kind::Delete => "deletes:",
        Kind::Sweep => "deletes what expired:",
    }
}
