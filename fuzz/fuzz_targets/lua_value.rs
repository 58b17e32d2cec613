//! See `plimsoll_fuzz::targets::lua_value`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::targets::lua_value;

fuzz_target!(|data: &[u8]| lua_value::run(data));
