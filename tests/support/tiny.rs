//! Tiny histories, right ones and damaged ones, on which the checkers are compared with the search
//! through all orders; and long ones, on which the recorded order is compared with the specification.
#![allow(dead_code)]

use plimsoll::check::certificate::{Certificate, verify};
use plimsoll::check::history::History;
use plimsoll::check::witness::{self, Fault};
use plimsoll::check::zones;

use crate::brute::is_linearizable;
use crate::damage::{damage, mislabel};
use crate::histories::{Dice, Shape, generate};

/// What a history was, and what was found.
#[derive(Default)]
pub struct Found {
    pub damage: Option<&'static str>,
    pub is_wrong: bool,
    pub by_zones: bool,
    pub by_witness: bool,
}

/// The history of a seed; every second one is damaged.
pub fn history(seed: u64) -> (History, Option<&'static str>) {
    let mut dice = Dice::new(seed ^ 0x00ab_cdef);
    let shape = Shape {
        calls: 3 + dice.below(5),
        clients: 2 + dice.below(3),
        keys: 1 + dice.below(3),
        lists: [0, 0, 30][dice.below(3)],
        transactions: [0, 0, 30][dice.below(3)],
        ttl: [0, 0, 40][dice.below(3)],
        unknown: [0, 0, 20][dice.below(3)],
        advances: [0, 10][dice.below(2)],
        ..Shape::TINY
    };
    let mut history = generate(shape, seed);
    let damage = (seed % 2 == 1).then(|| damage(&mut history, &mut dice)).flatten();
    (history, damage)
}

/// Compares the checkers with the search.
///
/// # Errors
/// If one of them contradicts it.
pub fn compare(seed: u64) -> Result<Found, String> {
    let (history, damage) = history(seed);
    let explain = |what: &str| Err(format!("seed {seed}, {damage:?}: {what}\n{}", show(&history)));
    let is_wrong = !is_linearizable(&history);
    let (by_zones, by_witness) = (zones::check(&history), witness::check(&history));
    if let Err(violation) = &by_zones
        && !is_wrong
    {
        return explain(&format!("the zones find what is none: {violation}"));
    }
    match &by_witness {
        Ok(_) if is_wrong => return explain("the recorded order is certified, and wrong"),
        Ok(certificate) => {
            if let Err(wrong) = verify(&history, certificate) {
                return explain(&format!("a certificate is refused: {wrong}"));
            }
        }
        Err(fault) if damage.is_none() => {
            return explain(&format!("the recorded order is refused: {fault:?}"));
        }
        Err(_) => {}
    }
    if damage.is_none() && is_wrong {
        return explain("what was generated is not linearizable");
    }
    Ok(Found { damage, is_wrong, by_zones: by_zones.is_err(), by_witness: by_witness.is_err() })
}

/// Compares the replay of the recorded order with that of the specification, on a long history with
/// everything in it; two of three are damaged. Tells whether it was refused.
///
/// # Errors
/// If one accepts what the other refuses, or refuses a history that is right.
pub fn compare_replays(seed: u64) -> Result<bool, String> {
    let mut dice = Dice::new(seed ^ 0x00fe_dcba);
    let mut history = generate(Shape::FULL, seed);
    let damage = match seed % 3 {
        0 => None,
        1 => damage(&mut history, &mut dice),
        _ => mislabel(&mut history, &mut dice),
    };
    let explain = |what: &str| Err(format!("seed {seed}, {damage:?}: {what}\n{}", show(&history)));
    let replayed = witness::check(&history);
    // Without an order there is nothing to compare.
    let Ok(order) = witness::order(&history) else { return Ok(true) };
    let verified = verify(&history, &Certificate { order });
    match (&replayed, &verified) {
        (Ok(_), Err(wrong)) => explain(&format!("the specification refuses it: {wrong}")),
        (Err(fault), Ok(())) => explain(&format!("the specification accepts it: {fault:?}")),
        (Err(fault), _) if damage.is_none() => explain(&format!("it is right: {fault:?}")),
        (Err(Fault::Unlabelled(why)), _) if seed.is_multiple_of(3) => explain(&why.explanation),
        _ => Ok(replayed.is_err()),
    }
}

pub fn show(history: &History) -> String {
    history.calls.iter().map(|call| format!("  {call}\n")).collect()
}
