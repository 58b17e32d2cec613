//! The history checkers against generated histories, the specification, and each other.
#![allow(clippy::unwrap_used)]

#[path = "support/brute.rs"]
mod brute;
#[path = "support/damage.rs"]
mod damage;
#[path = "support/histories.rs"]
mod histories;

use std::collections::BTreeMap;

use histories::{Dice, Shape, generate};
use plimsoll::check::certificate::verify;
use plimsoll::check::history::History;
use plimsoll::check::{witness, zones};

#[test]
fn right_histories_have_certificates_that_are_verified() {
    for seed in 0..1_000 {
        let history = generate(Shape::FULL, seed);
        let certificate =
            witness::check(&history).unwrap_or_else(|fault| panic!("{seed}: {fault:?}"));
        verify(&history, &certificate).unwrap_or_else(|wrong| panic!("{seed}: {wrong}"));
        zones::check(&history).unwrap_or_else(|violation| panic!("{seed}: {violation}"));
    }
}

fn show(history: &History) -> String {
    history.calls.iter().map(|call| format!("  {call}\n")).collect()
}

#[test]
fn on_tiny_histories_no_checker_contradicts_the_search_through_all_orders() {
    let mut wrong: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for seed in 0..100_000 {
        let mut dice = Dice::new(seed ^ 0xabcdef);
        let shape = Shape {
            calls: 3 + dice.below(4),
            clients: 2 + dice.below(2),
            keys: 1 + dice.below(3),
            lists: [0, 0, 30][dice.below(3)],
            transactions: [0, 0, 30][dice.below(3)],
            ttl: [0, 0, 40][dice.below(3)],
            unknown: [0, 0, 20][dice.below(3)],
            advances: [0, 10][dice.below(2)],
            ..Shape::TINY
        };
        let mut history = generate(shape, seed);
        let damage = (seed % 2 == 1).then(|| damage::damage(&mut history, &mut dice)).flatten();
        let is_linearizable = brute::is_linearizable(&history);
        let by_zones = zones::check(&history);
        let by_witness = witness::check(&history);
        if let Err(violation) = &by_zones {
            assert!(
                !is_linearizable,
                "{seed}, {damage:?}:\n{}\nzones: {violation}",
                show(&history)
            );
        }
        if let Ok(certificate) = &by_witness {
            assert!(is_linearizable, "{seed}, {damage:?}: witness\n{}", show(&history));
            verify(&history, certificate).unwrap();
        }
        match damage {
            None => assert!(
                is_linearizable && by_zones.is_ok() && by_witness.is_ok(),
                "{seed}: {}\n{by_witness:?}",
                show(&history)
            ),
            Some(damage) => {
                let counts = wrong.entry(damage).or_default();
                counts[0] += 1;
                counts[1] += u32::from(!is_linearizable);
                counts[2] += u32::from(by_zones.is_err());
                if std::env::var("MISSED").is_ok() && !is_linearizable && by_zones.is_ok() {
                    println!("missed {seed} {damage}\n{}", show(&history));
                }
            }
        }
    }
    for (damage, [all, wrong, found]) in &wrong {
        println!("{damage}: {all}, wrong {wrong}, found by zones {found}");
    }
    let total = |which: usize| wrong.values().map(|counts| counts[which]).sum::<u32>();
    println!("{} {} {}", total(0), total(1), total(2));
}
