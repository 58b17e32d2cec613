//! The methods of a store's handle.
//!
//! Each is a Rust half (see `call`): it parses its arguments, clones the handle into a future and
//! says how the result looks in Lua. Nothing here decides what a store does; the handle in
//! `crate::store` and the kinds behind it do.

use std::fmt::Write;

use mlua::{
    AnyUserData, Either, IntoLua, Lua, MetaMethod, Table, UserDataFields, Value as LuaValue,
};

use super::args::{self, This};
use super::call::{Calls, Refusal, Style, Values, done, run};
use super::value::pushed;
use super::{errors, value, watch};
use crate::entry::{Entry, OperationResult, Page};
use crate::error::{Error, Result};
use crate::store::{Info, Resolved, StoreHandle};

/// Adds the type of handles to a state.
pub(super) fn register(lua: &Lua, calls: &Calls) -> mlua::Result<()> {
    let methods = methods(lua, calls)?;
    // `local cache <close> = store.get(id)` releases at the end of the block.
    let release_on_close = lua.create_function(|_, this: AnyUserData| {
        this.borrow::<StoreHandle>()?.release();
        Ok(())
    })?;
    lua.register_userdata_type::<StoreHandle>(|registry| {
        registry.add_meta_field(MetaMethod::Type, "store.Store");
        registry.add_meta_field(MetaMethod::Index, methods);
        registry.add_meta_field(MetaMethod::Close, release_on_close);
        registry.add_meta_field_with(MetaMethod::ToString, |lua| {
            lua.create_function(|_, this: AnyUserData| {
                Ok(this.borrow::<StoreHandle>()?.to_string())
            })
        });
    })
}

fn methods(lua: &Lua, calls: &Calls) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    methods.raw_set("get", calls.function(lua, Style::READ, get)?)?;
    methods.raw_set("entry", calls.function(lua, Style::READ, entry)?)?;
    methods.raw_set("has", calls.function(lua, Style::TEST, has)?)?;
    methods.raw_set("set", calls.function(lua, Style::WRITE, set)?)?;
    methods.raw_set("put", calls.function(lua, Style::WRITE, put)?)?;
    methods.raw_set("delete", calls.function(lua, Style::WRITE, delete)?)?;
    methods.raw_set("list", calls.function(lua, Style::READ, list)?)?;
    methods.raw_set("info", calls.function(lua, Style::READ, info)?)?;
    methods.raw_set("transact", calls.function(lua, Style::WRITE, transact)?)?;
    methods.raw_set("watch", watch::method(lua, calls)?)?;
    methods.raw_set("resolve", calls.function(lua, Style::READ, resolve)?)?;
    methods.raw_set("release", calls.function(lua, Style::READ, release)?)?;
    Ok(methods)
}

fn get(lua: &Lua, (this, key): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    let operation = async move { handle.get(&key).await?.ok_or_else(|| Error::absent(&key)) };
    run(lua, Style::READ, operation, value::into_lua)
}

fn entry(lua: &Lua, (this, key): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    let operation = async move { handle.entry(&key).await?.ok_or_else(|| Error::absent(&key)) };
    run(lua, Style::READ, operation, entry_to_lua)
}

fn has(lua: &Lua, (this, key): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    run(lua, Style::TEST, async move { handle.has(&key).await }, boolean_to_lua)
}

fn set(
    lua: &Lua,
    (this, key, value, ttl): (This, LuaValue, LuaValue, LuaValue),
) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    let value = args::store_value(&value)?;
    let ttl = args::ttl(&ttl)?;
    let operation = async move { handle.set(&key, value, ttl).await.map(|()| true) };
    run(lua, Style::WRITE, operation, boolean_to_lua)
}

fn put(
    lua: &Lua,
    (this, key, value, options): (This, LuaValue, LuaValue, LuaValue),
) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    let value = args::store_value(&value)?;
    let options = args::put_options(&options)?;
    run(lua, Style::WRITE, async move { handle.put(&key, value, options).await }, entry_to_lua)
}

fn delete(lua: &Lua, (this, key, options): (This, LuaValue, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let key = args::string("key", &key)?;
    let if_version = args::delete_options(&options)?;
    run(lua, Style::WRITE, async move { handle.delete(&key, if_version).await }, boolean_to_lua)
}

fn list(lua: &Lua, (this, options): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let query = args::list_query(&options)?;
    run(lua, Style::READ, async move { handle.list(&query).await }, page_to_lua)
}

fn info(lua: &Lua, this: This) -> Result<Values, Refusal> {
    done(info_to_lua(lua, args::open(&this)?.info()?)?)
}

fn transact(lua: &Lua, (this, operations): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let operations = args::operations(&operations)?;
    let operation = async move { handle.transact(&operations).await };
    run(lua, Style::WRITE, operation, results_to_lua)
}

/// Asks again what became of a write with an unknown outcome: gives what the call would have given.
fn resolve(lua: &Lua, (this, error): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let error = errors::engine_error(&error).ok_or_else(|| {
        Error::invalid("resolve takes an error whose details.outcome is \"unknown\"")
    })?;
    let operation = async move { handle.resolve(&error).await };
    run(lua, Style::READ, operation, resolved_to_lua)
}

fn release(_: &Lua, this: This) -> Result<Values, Refusal> {
    done(LuaValue::Boolean(args::handle(&this)?.release()))
}

fn boolean_to_lua(_: &Lua, boolean: bool) -> mlua::Result<LuaValue> {
    Ok(LuaValue::Boolean(boolean))
}

fn resolved_to_lua(lua: &Lua, resolved: Resolved) -> mlua::Result<LuaValue> {
    match resolved {
        Resolved::Set => Ok(LuaValue::Boolean(true)),
        Resolved::Put(entry) => entry_to_lua(lua, entry),
        Resolved::Deleted(was_present) => Ok(LuaValue::Boolean(was_present)),
        Resolved::Transacted(results) => results_to_lua(lua, results),
    }
}

pub(super) fn entry_to_lua(lua: &Lua, entry: Entry) -> mlua::Result<LuaValue> {
    let mut version = String::with_capacity(VERSION_BYTES);
    let _ = write!(version, "{}", entry.version);
    let fields = [
        ("key", Either::Left(entry.key.as_str())),
        ("value", Either::Right(pushed(&entry.value))),
        ("version", Either::Left(&*version)),
    ];
    let table = lua.create_table_from(fields)?;
    if let Some(deadline) = entry.expires_at {
        table.raw_set("expires_at", deadline.as_seconds())?;
    }
    Ok(LuaValue::Table(table))
}

fn page_to_lua(lua: &Lua, page: Page) -> mlua::Result<LuaValue> {
    let items = lua.create_table_with_capacity(page.items.len(), 0)?;
    for entry in page.items {
        items.raw_push(entry_to_lua(lua, entry)?)?;
    }
    let table = lua.create_table_with_capacity(0, 3)?;
    table.raw_set("items", items)?;
    table.raw_set("cursor", page.cursor)?;
    table.raw_set("has_more", page.has_more)?;
    Ok(LuaValue::Table(table))
}

fn results_to_lua(lua: &Lua, results: Vec<OperationResult>) -> mlua::Result<LuaValue> {
    let table = lua.create_table_with_capacity(results.len(), 0)?;
    for result in results {
        table.raw_push(match result {
            OperationResult::Put(entry) => entry_to_lua(lua, entry)?,
            OperationResult::Deleted(was_present) => LuaValue::Boolean(was_present),
            OperationResult::Checked => LuaValue::Boolean(true),
        })?;
    }
    Ok(LuaValue::Table(table))
}

fn info_to_lua(lua: &Lua, info: Info) -> mlua::Result<LuaValue> {
    let table = lua.create_table()?;
    for (name, is_supported) in info.capabilities() {
        table.raw_set(name, is_supported)?;
    }
    table.raw_set("id", info.id)?;
    table.raw_set("backend", info.backend.as_str())?;
    table.raw_set("consistency", info.consistency.as_str())?;
    table.raw_set("synchronous", info.synchronous)?;
    table.into_lua(lua)
}

/// Room for any version: 16 digits, a hyphen, 20 digits.
const VERSION_BYTES: usize = 37;
