//! The memory limit of a state, and what of Rust's memory counts towards it.
//!
//! Lua counts what it allocates itself. What the engine's functions make Rust hold for a script
//! (messages and stacks of errors, handles, watches) would escape the count, and so the limit: a
//! script that keeps a million errors keeps little of Lua's memory and much of Rust's. So where a
//! limit is set, each such object carries ballast: a string of Lua of the size that Rust holds. It
//! is freed with the object, and presses on the collector as the real thing would.
//!
//! Not counted: what exists for the length of one call only (copies of arguments and results, the
//! tree of a JSON text). Each is bounded by its own limit.

use mlua::{AnyUserData, Lua, Value as LuaValue};

/// The memory limit of a state, as its app data.
#[derive(Clone, Copy)]
struct MemoryLimit {
    bytes: usize,
}

/// Limits the memory of a state; from now on Rust's part is counted too.
pub(super) fn set_limit(lua: &Lua, bytes: usize) -> mlua::Result<()> {
    lua.set_app_data(MemoryLimit { bytes });
    lua.set_memory_limit(bytes)?;
    Ok(())
}

/// The most bytes that a copy may take which is held during one call: `usual`, or less where the
/// state's memory is limited.
pub(super) fn transient_bytes_max(lua: &Lua, usual: usize) -> usize {
    lua.app_data_ref::<MemoryLimit>().map_or(usual, |limit| usual.min(limit.bytes / TRANSIENT_PART))
}

/// Counts bytes that Rust holds as long as an object lives.
pub(super) fn charge(lua: &Lua, object: &AnyUserData, bytes: usize) -> mlua::Result<()> {
    if lua.app_data_ref::<MemoryLimit>().is_none() {
        return Ok(());
    }
    let ballast = match ZEROS.get(..bytes) {
        Some(zeros) => lua.create_string(zeros)?,
        None => lua.create_string(vec![0; bytes])?,
    };
    object.set_nth_user_value(BALLAST_SLOT, ballast)
}

/// Whether a value that was thrown says that Lua is out of memory.
pub(super) fn is_memory_error(thrown: &LuaValue) -> bool {
    match thrown {
        LuaValue::String(message) => message.as_bytes() == NOT_ENOUGH_MEMORY.as_bytes(),
        LuaValue::Error(error) => is_mlua_memory_error(error),
        _ => false,
    }
}

/// Whether an error of mlua says that Lua is out of memory.
pub(super) fn is_mlua_memory_error(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
            is_mlua_memory_error(cause)
        }
        _ => false,
    }
}

/// What Lua says when it is out of memory.
pub(super) const NOT_ENOUGH_MEMORY: &str = "not enough memory";

/// The user value that holds the ballast. Error objects use the first two.
const BALLAST_SLOT: usize = 3;

/// A transient copy gets this part of the memory: a tree takes up to 32 times the bytes of its text.
const TRANSIENT_PART: usize = 32;

const ZEROS: &[u8] = &[0; 8 << 10];
