//! See `plimsoll_fuzz::targets::codec`. Snapshots are given their right digest after each change.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use plimsoll_fuzz::repair;
use plimsoll_fuzz::targets::codec;

fuzz_target!(|data: &[u8]| codec::run(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    repair::snapshot(&mut data[..size]);
    size
});
