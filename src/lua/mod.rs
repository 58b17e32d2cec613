//! The Lua surface: `require("store")`, `errors`, `json`, `time` and `KV` for any mlua state.
//!
//! [`install`] adds the modules to a state that the host owns, and [`install_kv`] the global `KV`,
//! where the host lets scripts use it. The standard library stays as it is,
//! but for `coroutine.resume` and `coroutine.wrap`, which learn to pass a wait for the engine up to
//! the host's runtime instead of handing it to the script; and the collector's pause is shortened
//! to 160 where it is longer, because at Lua's default the errors of missing keys pile up.
//!
//! How it is built, from the script down:
//! 1. A function or method is a Lua closure of `glue.lua` around a Rust half (`call`).
//! 2. The Rust half parses (`args`, `value`) and starts an operation of
//!    [`StoreHandle`].
//! 3. What comes back is made into Lua values; errors become error objects (`errors`) with the
//!    stack of the script (`stack`).
//!
//! **A script never blocks the host's runtime.** A call that has to wait suspends the coroutine
//! that the host polls. So run scripts with an async caller, such as `exec_async`; with a plain
//! `exec` everything works that is ready at once (all of `store.memory` but `watch`), and a call
//! that would have to wait answers `CANCELED`.
//!
//! **Return or raise.** Everything in the store module returns `nil, err` (`has`: `false, err`).
//! Raised is only what no careful script can meet: a method called on what is no store, an id or
//! key that is no string. The other modules raise their errors, and so does `KV`.
//!
//! ```
//! use plimsoll::lua::mlua::Lua;
//! use plimsoll::registry::{Config, LoadOptions, Plimsoll};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let text = r#"
//! version: "1.0"
//! namespace: app
//! entries:
//!   - name: cache
//!     kind: store.memory
//! "#;
//! let config = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap();
//! let engine = Plimsoll::open(config).await.unwrap();
//! let lua = Lua::new();
//! plimsoll::lua::install(&lua, &engine)?;
//! let name: String = lua
//!     .load(
//!         r#"
//!         local cache = require("store").get("app:cache")
//!         cache:set("user:123", {name = "Alice"}, 3600)
//!         return cache:get("user:123").name
//!         "#,
//!     )
//!     .eval_async()
//!     .await?;
//! assert_eq!(name, "Alice");
//! # Ok::<(), plimsoll::lua::mlua::Error>(()) }).unwrap();
//! ```

mod args;
mod call;
mod errors;
mod handle;
mod interrupt;
mod json;
mod memory;
mod namespaces;
mod sandbox;
mod script;
mod stack;
mod store;
mod time;
mod value;
mod watch;

pub use mlua;

use mlua::{Lua, Value};

use crate::namespaces::Namespaces;
use crate::registry::Plimsoll;
use crate::store::StoreHandle;

use call::Calls;
pub use errors::{describe, engine_error, is_object as is_error, object as error_value};
pub use interrupt::Interrupt;
pub use sandbox::{Sandbox, SandboxOptions};
pub use script::{call_stoppable, run_script};

/// Adds the modules `store`, `errors`, `json` and `time`; all but `store` are globals too.
///
/// Installing again, into the same state, replaces the modules: `store` then is that of the engine
/// given last, and what scripts already hold goes on working.
///
/// A state without the library `package` has no `require`; the globals are there all the same.
///
/// # Errors
/// If Lua is out of memory.
pub fn install(lua: &Lua, engine: &Plimsoll) -> mlua::Result<()> {
    let calls = calls(lua)?;
    let errors = errors::module(lua, &calls)?;
    let json = json::module(lua, &calls)?;
    let time = time::module(lua, &calls)?;
    lua.globals().raw_set("errors", &errors)?;
    lua.globals().raw_set("json", &json)?;
    lua.globals().raw_set("time", &time)?;
    lua.register_module("errors", errors)?;
    lua.register_module("json", json)?;
    lua.register_module("time", time)?;
    lua.register_module("store", store::module(lua, &calls, engine)?)
}

/// Adds the global `KV` on some namespaces, and the globals `errors` and `json` where there are none
/// yet. Which scripts may use `KV` is the host's decision: a state has it only through this.
///
/// ```
/// use std::sync::Arc;
/// use plimsoll::lua::mlua::Lua;
/// use plimsoll::namespaces::{Memory, Namespaces};
/// use plimsoll::store::WallClock;
///
/// let kv = Namespaces::new(Arc::new(Memory::new()), Arc::new(WallClock::new()));
/// let lua = Lua::new();
/// plimsoll::lua::install_kv(&lua, &kv)?;
/// let name: String = lua
///     .load(r#"
///         local users = KV.namespace("users")
///         users:put("123", "Alice", {metadata = {role = "admin"}})
///         return users:get("123")
///     "#)
///     .eval()?;
/// assert_eq!(name, "Alice");
/// # Ok::<(), plimsoll::lua::mlua::Error>(())
/// ```
///
/// # Errors
/// If Lua is out of memory.
pub fn install_kv(lua: &Lua, namespaces: &Namespaces) -> mlua::Result<()> {
    let calls = calls(lua)?;
    let globals = lua.globals();
    if !globals.contains_key("errors")? {
        globals.raw_set("errors", errors::module(lua, &calls)?)?;
    }
    if !globals.contains_key("json")? {
        globals.raw_set("json", json::module(lua, &calls)?)?;
    }
    globals.raw_set("KV", namespaces::module(lua, &calls, namespaces)?)
}

/// The functions of `glue.lua`, with the types that calls need.
fn calls(lua: &Lua) -> mlua::Result<Calls> {
    script::keep_xpcall(lua)?;
    Calls::install(lua, |calls| {
        errors::register(lua)?;
        handle::register(lua, calls)?;
        watch::register(lua, calls)
    })
}

/// The Lua value of a handle that the host has, to pass to a script. The state must have been
/// through [`install`].
///
/// # Errors
/// If Lua is out of memory.
pub fn handle_value(lua: &Lua, handle: StoreHandle) -> mlua::Result<Value> {
    let userdata = lua.create_any_userdata(handle)?;
    memory::charge(lua, &userdata, HANDLE_BYTES)?;
    Ok(Value::UserData(userdata))
}

/// About what a handle holds: its id and what it knows of its store.
const HANDLE_BYTES: usize = 512;
