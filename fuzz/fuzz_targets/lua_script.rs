//! See `plimsoll_fuzz::targets::lua_script`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::targets::lua_script;

fuzz_target!(|data: &[u8]| lua_script::run(data));
