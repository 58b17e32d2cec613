//! The tests of the tests: each deliberate bug of gossip is caught on the network of `cargo sim
//! convergence`. Exchanges bring late what pushes and pulls do not, so late is what counts here.
#![cfg(feature = "mutants")]

#[path = "../../tests/support/mutants.rs"]
mod mutants;

use plimsoll::mutant;
use plimsoll_sim::convergence::spread;

fn what_catches() -> Option<String> {
    let p99_ms = spread::measure(16, 0, 50, 3).percentile_ms(99);
    if p99_ms > 1_000 {
        return Some(format!("writes that are everywhere after {p99_ms} ms only"));
    }
    let lossy = mutants::caught(|| spread::measure(16, 30, 50, 3));
    lossy.err().map(|panic| panic.message)
}

#[test]
fn every_mutant_is_caught_and_gossip_without_one_is_not() {
    mutants::all_are_caught(mutant::GOSSIP, what_catches);
}
