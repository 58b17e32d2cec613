//! The history checkers against generated histories, the specification, and each other.
#![allow(clippy::unwrap_used)]

#[path = "support/brute.rs"]
mod brute;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/histories.rs"]
mod histories;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeMap;

use histories::{Shape, generate};
use plimsoll::check::verdict::{Verdict, judge};
use plimsoll::check::zones;

/// `SEED` moves all seeds, so that other histories are tried.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(0);
    (0..count).map(move |number| seed.wrapping_mul(1_000_003).wrapping_add(number))
}

#[test]
fn right_histories_are_certified_and_the_zones_find_nothing() {
    for seed in seeds(500) {
        let history = generate(Shape::FULL, seed);
        let verdict = judge(&history);
        assert!(matches!(verdict, Verdict::Linearizable(_)), "seed {seed}: {verdict:?}");
        zones::check(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn on_tiny_histories_no_checker_contradicts_the_search_through_all_orders() {
    let mut counts: BTreeMap<&str, [u32; 4]> = BTreeMap::new();
    for seed in seeds(100_000) {
        let found = tiny::compare(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        let counts = counts.entry(found.damage.unwrap_or("none")).or_default();
        let flags = [true, found.is_wrong, found.by_zones, found.by_witness];
        for (count, flag) in counts.iter_mut().zip(flags) {
            *count += u32::from(flag);
        }
    }
    println!("    all   wrong   zones   order  damage");
    for (damage, [all, wrong, zones, order]) in &counts {
        println!("{all:>7} {wrong:>7} {zones:>7} {order:>7}  {damage}");
    }
    let sum = |which: usize| counts.values().map(|counts| counts[which]).sum::<u32>();
    let (wrong, by_zones) = (sum(1), sum(2));
    println!("{wrong} are wrong, and the zones find {by_zones}");
    assert!(wrong >= 5_000, "enough of them are wrong: {wrong}");
    assert!(by_zones * 100 >= wrong * 95, "the zones find most: {by_zones} of {wrong}");
    assert!(counts.len() >= 7, "each damage was done: {:?}", counts.keys());
}

#[test]
fn the_replay_of_a_recorded_order_is_that_of_the_specification() {
    let mut refused = 0;
    for seed in seeds(3_000) {
        let is_refused = tiny::compare_replays(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        refused += u32::from(is_refused);
    }
    println!("{refused} of 3000 histories are refused");
    assert!(refused >= 800, "enough of them are refused: {refused}");
}
