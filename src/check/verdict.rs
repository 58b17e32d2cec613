//! The verdict on a history: what the checkers say together.
//!
//! | recorded order | zones | verdict |
//! |---|---|---|
//! | certified | | linearizable |
//! | wrong | a violation | violated, in the words of the zones: they trust nothing |
//! | wrong | nothing | violated: the machine's own record contradicts what clients saw |
//! | a label is missing | a violation | violated |
//! | a label is missing | nothing | undecided |
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::certificate::{Certificate, verify};
use super::history::History;
use super::violation::Violation;
use super::witness::{self, Fault};
use super::zones;
use crate::mutant::mutant;

/// What can be said about a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is linearizable, by this order.
    Linearizable(Certificate),
    /// It is not.
    Violated(Violation),
    /// It is not known, for this reason. A recorder that labels all that happened never gets this.
    Undecided(Violation),
    /// It says nothing that could be wrong.
    Empty,
}

/// Judges a history. A certificate is verified before it is given.
#[must_use]
pub fn judge(history: &History) -> Verdict {
    if history.is_empty() && !mutant!("empty history passes") {
        return Verdict::Empty;
    }
    let fault = match witness::check(history) {
        Ok(certificate) => match verify(history, &certificate) {
            Ok(()) => return Verdict::Linearizable(certificate),
            Err(wrong) => Fault::Violation(Violation::new(
                format!("the recorded order does not hold when it is verified: {wrong}"),
                [],
            )),
        },
        Err(fault) => fault,
    };
    match (zones::check(history), fault) {
        (Err(violation), _) | (Ok(()), Fault::Violation(violation)) => Verdict::Violated(violation),
        (Ok(()), Fault::Unlabelled(why)) => Verdict::Undecided(why),
    }
}
