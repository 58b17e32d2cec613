//! Storage against crashes, failing disks and damage: whole runs, each at every operation.
//!
//! `tests/support/storage_runs.rs` says what a run is and what has to be there after it.
//! `tests/storage_mutants.rs` sees to it that these checks can fail.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_runs.rs"]
mod runs;

const SEEDS: std::ops::Range<u64> = 0..24;

#[test]
fn the_runs_contain_every_kind_of_step() {
    let kinds = runs::kinds_of_steps(SEEDS);
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn every_crash_leaves_a_prefix_with_everything_acknowledged() {
    let images: usize = SEEDS.map(runs::crash_everywhere).sum();
    assert!(images > 10_000, "only {images} images were tried");
}

#[test]
fn a_crash_in_recovery_and_in_the_life_after_it_loses_nothing_either() {
    let images: usize = SEEDS.take(3).map(runs::crash_again).sum();
    assert!(images > 10_000, "only {images} images were tried");
}

#[test]
fn what_opening_gives_is_durable() {
    SEEDS.for_each(runs::end_process_everywhere);
}

#[test]
fn a_failed_operation_is_final_and_loses_nothing_acknowledged() {
    SEEDS.for_each(runs::fail_everywhere);
}

#[test]
fn a_full_disk_is_told_apart_and_loses_nothing_acknowledged() {
    let refusals: usize = SEEDS.map(runs::fill_everywhere).sum();
    assert!(refusals > 100, "only {refusals} disks were full");
}

#[test]
fn corruption_of_any_sector_is_refused_by_name() {
    let refusals: usize = SEEDS.map(runs::corrupt_everywhere).sum();
    assert!(refusals > 500, "only {refusals} sectors were corrupted");
}

#[test]
fn a_missing_file_is_refused() {
    let refusals: usize = SEEDS.map(runs::lose_each_file).sum();
    assert!(refusals > 20, "only {refusals} files were missed");
}

#[test]
fn a_misdirected_write_is_refused() {
    let refusals: usize = SEEDS.map(runs::misdirect_everywhere).sum();
    assert!(refusals > 100, "only {refusals} writes were missed");
}
