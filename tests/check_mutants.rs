//! The tests of the tests: every deliberate bug in the history checkers must be caught by the
//! histories of `check_histories.rs` or the properties of `check_properties.rs`.
//!
//! `cargo mutants` prints by which.
#![allow(clippy::unwrap_used)]

#[path = "support/brute.rs"]
mod brute;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/histories.rs"]
mod histories;
#[path = "support/tiny.rs"]
mod tiny;
#[path = "support/verdicts.rs"]
mod verdicts;

use plimsoll::check::certificate::verify;
use plimsoll::check::witness;
use plimsoll::mutant;

/// Fewer than the properties run: what they find takes no luck.
const SEEDS: u64 = 2_000;

/// The first check that fails, if one does.
fn check_that_fails() -> Option<String> {
    for file in verdicts::files() {
        if verdicts::said(&verdicts::read(&file)) != verdicts::expected(&file) {
            return Some(file.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    if !a_wrong_certificate_is_refused() {
        return Some("a wrong certificate is accepted".to_owned());
    }
    let compared = (0..SEEDS).find(|seed| tiny::compare(*seed).is_err());
    let replayed = || (0..SEEDS / 10).find(|seed| tiny::compare_replays(*seed).is_err());
    compared
        .map(|seed| format!("tiny history {seed}"))
        .or_else(|| replayed().map(|seed| format!("long history {seed}")))
}

/// The order of a right history, backwards.
fn a_wrong_certificate_is_refused() -> bool {
    let file = verdicts::files()
        .into_iter()
        .find(|file| file.ends_with("a_history_with_everything_is_linearizable.jsonl"));
    let history = verdicts::read(&file.unwrap());
    let mut certificate = witness::check(&history).unwrap();
    certificate.order.reverse();
    verify(&history, &certificate).is_err()
}

#[test]
fn every_mutant_is_caught_and_the_checkers_without_one_are_not() {
    let mut survivors = Vec::new();
    for name in mutant::CHECK {
        mutant::set(Some(name));
        match check_that_fails() {
            Some(check) => println!("{name:<40} {check}"),
            None => survivors.push(name),
        }
    }
    mutant::set(None);
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    assert_eq!(check_that_fails(), None, "caught though there is no mutant");
}
