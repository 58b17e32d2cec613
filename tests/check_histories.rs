//! What the checkers say about small histories, word for word.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "support/verdicts.rs"]
mod verdicts;

use plimsoll::check::verdict::{Verdict, judge};

#[test]
fn each_history_is_judged_in_the_words_beside_it() {
    let files = verdicts::files();
    assert!(files.len() >= 30, "the histories were found: {}", files.len());
    for file in files {
        assert_eq!(verdicts::said(&verdicts::read(&file)), verdicts::expected(&file), "{file:?}");
    }
}

#[test]
fn a_counterexample_has_at_most_four_calls() {
    let mut violated = 0;
    for file in verdicts::files() {
        if let Verdict::Violated(violation) = judge(&verdicts::read(&file)) {
            violated += 1;
            assert!((1..=4).contains(&violation.calls.len()), "{file:?}: {violation}");
        }
    }
    assert!(violated >= 20, "most are wrong: {violated}");
}
