//! See `plimsoll_fuzz::targets::gossip`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::targets::gossip;

fuzz_target!(|data: &[u8]| gossip::run(data));
