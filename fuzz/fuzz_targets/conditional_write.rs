//! See `plimsoll_fuzz::targets::conditional_write`. The environment variable `MUTANT` names a
//! deliberate bug that it then has to find.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::targets::conditional_write;

fuzz_target!(
    init: {
        if let Ok(name) = std::env::var("MUTANT") {
            plimsoll::mutant::set(Some(&name));
        }
    },
    |data: &[u8]| conditional_write::run(data)
);
