//! The history checkers against generated histories, the specification, and each other.
#![allow(clippy::unwrap_used)]

#[path = "support/histories.rs"]
mod histories;

use histories::{Shape, generate};
use plimsoll::check::certificate::verify;
use plimsoll::check::witness;

#[test]
fn right_histories_have_certificates_that_are_verified() {
    for seed in 0..2_000 {
        let history = generate(Shape::FULL, seed);
        let certificate =
            witness::check(&history).unwrap_or_else(|fault| panic!("{seed}: {fault:?}"));
        verify(&history, &certificate).unwrap_or_else(|wrong| panic!("{seed}: {wrong}"));
    }
}
