//! See `plimsoll_fuzz::targets::codec`. Snapshots are given their right digest after each change,
//! and some inputs are the snapshots of grown machines.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use plimsoll_fuzz::snapshots;
use plimsoll_fuzz::targets::codec;

fuzz_target!(|data: &[u8]| {
    // What would be refused for its digest is looked at too.
    let _ = snapshots::decoded(data);
    codec::run(data);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(GROWN_EVERY) {
        let grown = snapshots::grown(&data[..size]);
        if grown.len() <= max_size {
            data[..grown.len()].copy_from_slice(&grown);
            return grown.len();
        }
    }
    let size = fuzzer_mutate(data, size, max_size);
    snapshots::repair(&mut data[..size]);
    size
});

const GROWN_EVERY: u32 = 16;
