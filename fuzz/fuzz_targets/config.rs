//! See `plimsoll_fuzz::targets::config`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::targets::config;

fuzz_target!(|data: &[u8]| config::run(data));
