//! Storage keeps what it acknowledged, and never guesses: crashes at every operation of the disk, in
//! recovery too, failing syncs, and damage everywhere.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_crashes.rs"]
mod crashes;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = std::env::var("SEED").map_or_else(
        |_| RandomState::new().build_hasher().finish() >> 1,
        |seed| seed.parse().expect("SEED is a number"),
    );
    (0..count).map(move |number| first + number + 1)
}

fn hint(seed: u64) -> String {
    format!("SEED={} cargo test --test storage_crashes", seed - 1)
}

#[test]
fn a_crash_at_any_operation_leaves_everything_that_was_acknowledged() {
    let mut images = 0;
    for seed in seeds(14) {
        images += crashes::crash_everywhere(seed).unwrap_or_else(|e| panic!("{e}\n{}", hint(seed)));
    }
    println!("{images} images of crashes");
    assert!(images > 4_000);
}

#[test]
fn a_failed_sync_is_never_taken_for_success() {
    for seed in seeds(200) {
        crashes::fail_every_sync(seed).unwrap_or_else(|e| panic!("{e}\n{}", hint(seed)));
    }
}

#[test]
fn damage_is_refused_and_never_taken_for_a_torn_end() {
    let mut damages = 0;
    for seed in seeds(60) {
        let found = crashes::damage_everything(seed);
        damages += found.unwrap_or_else(|e| panic!("{e}\n{}", hint(seed)));
    }
    println!("{damages} damages");
    assert!(damages > 1_000);
}
