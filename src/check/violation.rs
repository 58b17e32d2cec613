//! Counterexamples: why a history is wrong, in one sentence and the few calls that it is about.
//!
//! Invariant: a violation names at least one call, delivery or step of upkeep, and at most
//! [`CALLS_MAX`] calls. Whoever reads them and the sentence need not look at the rest of the
//! history.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use super::history::Call;

/// Most calls that a violation shows.
pub const CALLS_MAX: usize = 4;

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Why, in words.
    pub explanation: String,
    /// The calls that the words are about, in the order in which they were made.
    pub calls: Vec<Call>,
}

impl Violation {
    /// A violation by some calls, of which the first are kept if there are too many.
    #[must_use]
    pub fn new<'a>(
        explanation: impl Into<String>,
        calls: impl IntoIterator<Item = &'a Call>,
    ) -> Self {
        let mut shown: Vec<&Call> = Vec::new();
        for call in calls {
            if shown.len() < CALLS_MAX && shown.iter().all(|other| other.id != call.id) {
                shown.push(call);
            }
        }
        shown.sort_by_key(|call| (call.called_at, call.id));
        Self { explanation: explanation.into(), calls: shown.into_iter().cloned().collect() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explanation)?;
        for call in &self.calls {
            write!(f, "\n  {call}")?;
        }
        Ok(())
    }
}
