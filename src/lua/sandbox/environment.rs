//! What a script in a sandbox finds: a list of what is there, not of what is taken away.
//!
//! A state is made with a part of Lua's libraries; whatever is not on [`ALLOWED`] is removed, and
//! `guard.lua` replaces what could run for ever. All this happens before the engine's modules are
//! installed, so these are built on the guarded functions.

use mlua::{Lua, LuaOptions, StdLib, Table, Value as LuaValue};

use super::{SandboxOptions, strings};
use crate::error::Error;
use crate::limits::{SANDBOX_DATE_FORMAT_BYTES_MAX, SANDBOX_FORMAT_ARGUMENTS_MAX};
use crate::lua::interrupt::Interrupt;
use crate::lua::memory::is_memory_error;

/// A new state with what scripts may use of Lua's own, without any limit yet.
pub(super) fn new_state() -> mlua::Result<Lua> {
    let libraries = StdLib::COROUTINE
        | StdLib::MATH
        | StdLib::OS
        | StdLib::STRING
        | StdLib::TABLE
        | StdLib::UTF8;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    let globals = lua.globals();
    for (library, names) in ALLOWED {
        let table = match *library {
            "_G" => globals.clone(),
            library => globals.raw_get(library)?,
        };
        keep_only(&table, names)?;
    }
    Ok(lua)
}

/// Puts the guards in place. The memory error is what a script ends with when its memory is spent.
pub(super) fn guard(
    lua: &Lua,
    interrupt: &Interrupt,
    options: &SandboxOptions,
    memory_error: Error,
) -> mlua::Result<()> {
    let rust = lua.create_table()?;
    strings::add(lua, &rust, interrupt, options.memory_bytes)?;
    let failed = {
        let interrupt = interrupt.clone();
        move |_: &Lua, error: LuaValue| {
            if is_memory_error(&error) {
                interrupt.stop(memory_error.clone());
            }
            interrupt.check()
        }
    };
    rust.raw_set("failed", lua.create_function(failed)?)?;
    let metatable_of = |_: &Lua, value: LuaValue| Ok(value.as_table().and_then(Table::metatable));
    rust.raw_set("metatable_of", lua.create_function(metatable_of)?)?;
    rust.raw_set("metatable_of_strings", lua.type_metatable::<mlua::LuaString>())?;
    let print = options.print.clone();
    let write = move |_: &Lua, text: mlua::LuaString| {
        print(&text.as_bytes());
        Ok(())
    };
    rust.raw_set("print", lua.create_function(write)?)?;
    // What `require` finds: Lua's table of loaded modules, where the engine's will stand too.
    rust.raw_set("modules", lua.named_registry_value::<Table>(LOADED_MODULES)?)?;

    let limits = lua.create_table()?;
    limits.raw_set("format_arguments", SANDBOX_FORMAT_ARGUMENTS_MAX)?;
    limits.raw_set("date_format_bytes", SANDBOX_DATE_FORMAT_BYTES_MAX)?;
    let chunk = lua.load(include_str!("guard.lua")).set_name("=[plimsoll]");
    chunk.call((rust, limits))
}

fn keep_only(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let present: Vec<String> =
        table.pairs::<String, LuaValue>().map(|pair| Ok(pair?.0)).collect::<mlua::Result<_>>()?;
    for name in present {
        if !names.contains(&name.as_str()) {
            table.raw_remove(name)?;
        }
    }
    Ok(())
}

/// Takes away what only the engine's modules needed, once they are installed: `coroutine.close`.
pub(super) fn finish(lua: &Lua) -> mlua::Result<()> {
    lua.globals().raw_get::<Table>("coroutine")?.raw_remove("close")
}

/// Lua's name of the table of loaded modules in the registry.
const LOADED_MODULES: &str = "_LOADED";

/// Everything of Lua's own that scripts find. `docs/sandbox.md` lists it too.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "_G",
        &[
            "_G",
            "_VERSION",
            "assert",
            "coroutine",
            "error",
            "getmetatable",
            "ipairs",
            "math",
            "next",
            "os",
            "pairs",
            "pcall",
            "print",
            "rawequal",
            "rawget",
            "rawlen",
            "rawset",
            "select",
            "setmetatable",
            "string",
            "table",
            "tonumber",
            "tostring",
            "type",
            "utf8",
            "xpcall",
        ],
    ),
    ("coroutine", &["create", "isyieldable", "resume", "running", "status", "wrap", "yield"]),
    (
        "math",
        &[
            "abs",
            "acos",
            "asin",
            "atan",
            "ceil",
            "cos",
            "deg",
            "exp",
            "floor",
            "fmod",
            "huge",
            "log",
            "max",
            "maxinteger",
            "min",
            "mininteger",
            "modf",
            "pi",
            "rad",
            "random",
            "randomseed",
            "sin",
            "sqrt",
            "tan",
            "tointeger",
            "type",
            "ult",
        ],
    ),
    ("os", &["clock", "date", "difftime", "time"]),
    (
        "string",
        &[
            "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack",
            "packsize", "rep", "reverse", "sub", "unpack", "upper",
        ],
    ),
    ("table", &["concat", "insert", "move", "pack", "remove", "sort", "unpack"]),
    ("utf8", &["char", "charpattern", "codepoint", "codes", "len", "offset"]),
];
