//! Choices as data: everything in a run that could also have gone otherwise.
//!
//! A choice has a [`Subject`]: the fifth message from node 1 to node 2, the third operation of client
//! 4, a slot of time for a fault. It goes the natural way or it deviates.
//! - The natural way (the delay of a message within its usual range, which key a client writes)
//!   depends on the plan's seed and the subject alone, never on what was asked before.
//! - A deviation (lost, late, crashed) is drawn from the run's seed and rates, or read from a
//!   recorded [`Schedule`]. Drawn deviations are recorded: together with the plan they are the
//!   schedule.
//!
//! So a schedule survives unrelated changes of the code: an entry whose subject never comes up, or
//! that no longer applies, is skipped and counted. A shrinker removes entries, a fuzzer makes them of
//! bytes, an explorer enumerates them: all of them only write schedules.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::faults::Fault;
use crate::rng::{Rng, mix};
use crate::scenario::Plan;

/// What a choice is about. Nodes and clients are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The n-th message of a directed link.
    Message {
        /// Who sent it.
        from: u8,
        /// For whom it is.
        to: u8,
        /// Counted on this link.
        n: u32,
    },
    /// The n-th operation of a client.
    Operation {
        /// Whose.
        client: u8,
        /// Counted for this client.
        n: u32,
    },
    /// The n-th step of a disk.
    File {
        /// Of which node.
        node: u8,
        /// Counted for this node.
        n: u32,
    },
    /// The n-th start of a node.
    Start {
        /// Which node.
        node: u8,
        /// Counted for this node.
        n: u32,
    },
    /// The n-th slot of time, in which one fault may happen.
    Slot {
        /// Counted from the beginning.
        n: u32,
    },
    /// The n-th time that two configurations come into force together.
    Joint {
        /// Counted from the beginning.
        n: u32,
    },
}

impl Subject {
    /// A number of its own.
    #[must_use]
    pub const fn number(self) -> u64 {
        let (kind, a, b, n) = match self {
            Self::Message { from, to, n } => (1, from, to, n),
            Self::Operation { client, n } => (2, client, 0, n),
            Self::File { node, n } => (3, node, 0, n),
            Self::Start { node, n } => (4, node, 0, n),
            Self::Slot { n } => (5, 0, 0, n),
            Self::Joint { n } => (6, 0, 0, n),
        };
        (kind as u64) << 56 | (a as u64) << 48 | (b as u64) << 40 | n as u64
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { from, to, n } => write!(f, "message {from}>{to} {n}"),
            Self::Operation { client, n } => write!(f, "operation {client} {n}"),
            Self::File { node, n } => write!(f, "file {node} {n}"),
            Self::Start { node, n } => write!(f, "start {node} {n}"),
            Self::Slot { n } => write!(f, "slot {n}"),
            Self::Joint { n } => write!(f, "joint {n}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no subject of a choice");
        let small = |word: Option<&str>| word.and_then(|w| w.parse().ok()).ok_or_else(bad);
        let large = |word: Option<&str>| word.and_then(|w| w.parse().ok()).ok_or_else(bad);
        let mut words = text.split_whitespace();
        let subject = match words.next() {
            Some("message") => {
                let link = words.next().and_then(|word| word.split_once('>')).ok_or_else(bad)?;
                let (from, to) = (small(Some(link.0))?, small(Some(link.1))?);
                Self::Message { from, to, n: large(words.next())? }
            }
            Some("operation") => {
                Self::Operation { client: small(words.next())?, n: large(words.next())? }
            }
            Some("file") => Self::File { node: small(words.next())?, n: large(words.next())? },
            Some("start") => Self::Start { node: small(words.next())?, n: large(words.next())? },
            Some("slot") => Self::Slot { n: large(words.next())? },
            Some("joint") => Self::Joint { n: large(words.next())? },
            _ => return Err(bad()),
        };
        if words.next().is_some() { Err(bad()) } else { Ok(subject) }
    }
}

/// A whole run: what was planned, and every choice that deviated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What was planned.
    pub plan: Plan,
    /// What deviated.
    pub deviations: BTreeMap<Subject, Fault>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plimsoll schedule {FORMAT_VERSION}")?;
        write!(f, "{}", self.plan)?;
        for (subject, fault) in &self.deviations {
            writeln!(f, "{subject}: {fault}")?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_content = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let mut lines = text.lines().map(str::trim).filter(is_content);
        if lines.next() != Some(&format!("plimsoll schedule {FORMAT_VERSION}")) {
            return Err(format!("no schedule of format version {FORMAT_VERSION}"));
        }
        let mut plan = Vec::new();
        let mut deviations = BTreeMap::new();
        for line in lines {
            match line.split_once(": ") {
                None => plan.push(line),
                Some((subject, fault)) => {
                    deviations.insert(subject.parse()?, fault.parse()?);
                }
            }
        }
        Ok(Self { plan: Plan::parse(&plan)?, deviations })
    }
}

/// Where deviations come from.
#[derive(Clone, Debug)]
enum Source {
    Drawn { seed: u64 },
    Recorded { left: BTreeMap<Subject, Fault> },
}

/// The choices of one run.
#[derive(Clone, Debug)]
pub struct Choices {
    natural: u64,
    source: Source,
    made: BTreeMap<Subject, Fault>,
    skipped: u32,
}

impl Choices {
    /// Deviations drawn from a seed.
    #[must_use]
    pub const fn drawn(natural: u64, seed: u64) -> Self {
        Self { natural, source: Source::Drawn { seed }, made: BTreeMap::new(), skipped: 0 }
    }

    /// Deviations of a schedule.
    #[must_use]
    pub fn recorded(schedule: &Schedule) -> Self {
        let left = schedule.deviations.clone();
        let natural = schedule.plan.natural;
        Self { natural, source: Source::Recorded { left }, made: BTreeMap::new(), skipped: 0 }
    }

    /// The generator for the natural way of a subject.
    #[must_use]
    pub const fn natural(&self, subject: Subject) -> Rng {
        Rng::of(self.natural, subject.number())
    }

    /// Whether, and how, a choice deviates. `draw` is used only where deviations are drawn.
    pub fn deviation(
        &mut self,
        subject: Subject,
        draw: impl FnOnce(&mut Rng) -> Option<Fault>,
    ) -> Option<Fault> {
        let fault = match &mut self.source {
            Source::Drawn { seed } => draw(&mut Rng::of(mix(*seed), subject.number())),
            Source::Recorded { left } => left.remove(&subject),
        }?;
        self.made.insert(subject, fault);
        Some(fault)
    }

    /// A deviation turned out not to apply: it is not part of the schedule.
    pub fn skip(&mut self, subject: Subject) {
        self.made.remove(&subject);
        self.skipped += 1;
    }

    /// The deviations that were made.
    #[must_use]
    pub const fn made(&self) -> &BTreeMap<Subject, Fault> {
        &self.made
    }

    /// How many did not apply, those of a recorded schedule that never came up included.
    #[must_use]
    pub fn skipped(&self) -> usize {
        let left = match &self.source {
            Source::Drawn { .. } => 0,
            Source::Recorded { left } => left.len(),
        };
        self.skipped as usize + left
    }
}

const FORMAT_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FaultKind;
    use crate::scenario::Scenario;

    fn schedule() -> Schedule {
        let plan = Scenario::named("elections").unwrap().plan(7, None);
        let deviations = [
            (Subject::Message { from: 0, to: 2, n: 17 }, Fault::new(FaultKind::Drop)),
            (Subject::Operation { client: 3, n: 4 }, Fault::new(FaultKind::Drop)),
            (Subject::File { node: 1, n: 9 }, Fault::new(FaultKind::SyncError).at(1)),
            (Subject::Start { node: 1, n: 2 }, Fault::new(FaultKind::Pause).lasting(5)),
            (Subject::Slot { n: 30 }, Fault::new(FaultKind::Crash).at(2).lasting(300).by(-3)),
        ];
        Schedule { plan, deviations: deviations.into() }
    }

    #[test]
    fn schedules_are_text_with_comments() {
        let schedule = schedule();
        let text = schedule.to_string();
        assert_eq!(text.parse(), Ok(schedule.clone()));
        assert_eq!(format!("# A story.\n\n{text}\n").parse(), Ok(schedule));
        for bad in ["", "plimsoll schedule 9", &format!("{text}message 1 2: drop node=0\n")] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_recorded_choice_is_made_again_and_what_does_not_come_up_is_counted() {
        let schedule = schedule();
        let mut choices = Choices::recorded(&schedule);
        let subject = Subject::Slot { n: 30 };
        let never = |_: &mut Rng| panic!("nothing is drawn");
        assert_eq!(choices.deviation(subject, never), schedule.deviations.get(&subject).copied());
        assert_eq!(choices.deviation(Subject::Slot { n: 31 }, never), None);
        assert_eq!((choices.made().len(), choices.skipped()), (1, 4));
        choices.skip(subject);
        assert_eq!((choices.made().len(), choices.skipped()), (0, 5));
    }

    #[test]
    fn a_drawn_choice_depends_on_its_subject_and_not_on_what_was_asked_before() {
        let draw =
            |rng: &mut Rng| Some(Fault::new(FaultKind::Pause).lasting(rng.between(1, 1_000_000)));
        let (one, other) = (Subject::Slot { n: 1 }, Subject::Slot { n: 2 });
        let mut forwards = Choices::drawn(5, 6);
        let mut backwards = Choices::drawn(5, 6);
        let first = (forwards.deviation(one, draw), forwards.deviation(other, draw));
        let second = backwards.deviation(other, draw);
        assert_eq!(first, (backwards.deviation(one, draw), second));
        assert_ne!(first.0, first.1);
        assert_eq!(forwards.natural(one), backwards.natural(one));
    }
}
