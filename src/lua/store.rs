//! The module `store`: `get(id)` and the constants.

use mlua::{Lua, Table, Value as LuaValue};

use super::call::{Calls, Refusal, Style, Values, run};
use super::{args, handle_value};
use crate::error::Result;
use crate::registry::Plimsoll;
use crate::store::{Backend, Consistency};

/// Makes the module's table.
pub(super) fn module(lua: &Lua, calls: &Calls, engine: &Plimsoll) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let engine = engine.clone();
    let get = calls.function(lua, Style::READ, move |lua, id| get(lua, &engine, &id))?;
    module.raw_set("get", get)?;
    let backends = lua.create_table_from([
        ("MEMORY", Backend::Memory.as_str()),
        ("SQL", Backend::Sql.as_str()),
        ("KV_RAFT", Backend::KvRaft.as_str()),
        ("KV_CRDT", Backend::KvCrdt.as_str()),
        ("UNKNOWN", "unknown"),
    ])?;
    module.raw_set("backend", calls.read_only("store.backend", backends)?)?;
    let consistencies = lua.create_table_from([
        ("LINEARIZABLE", Consistency::Linearizable.as_str()),
        ("EVENTUAL", Consistency::Eventual.as_str()),
        ("LOCAL", Consistency::Local.as_str()),
        ("UNKNOWN", "unknown"),
    ])?;
    module.raw_set("consistency", calls.read_only("store.consistency", consistencies)?)?;
    Ok(module)
}

fn get(lua: &Lua, engine: &Plimsoll, id: &LuaValue) -> Result<Values, Refusal> {
    let id = args::string("id", id)?;
    let engine = engine.clone();
    run(lua, Style::READ, async move { engine.store(&id).await }, handle_value)
}
