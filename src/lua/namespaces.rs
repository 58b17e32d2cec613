//! The global `KV`: `KV.namespace(name)` and the methods of what it answers.
//!
//! A namespace is a table, whose metatable holds the methods and, out of the script's reach, the
//! namespace itself. Every error is raised, as an error object that names the argument.
//!
//! Here values become bytes and bytes values: strings are kept as they are, tables as JSON, numbers
//! and booleans as the text that JSON has for them; `get` gives the bytes back as they are, or what
//! they say as JSON.

use mlua::{Lua, MetaMethod, Table, UserDataRef, Value as LuaValue};

use super::args;
use super::call::{Calls, Refusal, Style, Values, run};
use super::errors::type_of;
use super::json::ENCODE;
use super::memory;
use super::value;
use crate::error::{Error, Result};
use crate::json;
use crate::namespaces::{Cursor, Expiry, Namespace, Namespaces, Page, PutOptions, Query, Record};
use crate::value::Value;

/// Makes the table `KV`.
pub(super) fn module(lua: &Lua, calls: &Calls, namespaces: &Namespaces) -> mlua::Result<Table> {
    let methods = methods(lua, calls)?;
    let namespaces = namespaces.clone();
    let namespace = calls.function(lua, Style::RAISE, move |lua, name: LuaValue| {
        let name = name_bytes("namespace", &name)?;
        let (namespaces, methods) = (namespaces.clone(), methods.clone());
        let operation = async move { Ok((namespaces.namespace(&name).await?, methods)) };
        run(lua, Style::RAISE, operation, |lua, (namespace, methods)| {
            namespace_to_lua(lua, namespace, methods)
        })
    })?;
    let module = lua.create_table()?;
    module.raw_set("namespace", namespace)?;
    Ok(module)
}

fn methods(lua: &Lua, calls: &Calls) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    methods.raw_set("get", calls.function(lua, Style::RAISE, get)?)?;
    let with_metadata = calls.pair_function(lua, Style::RAISE, get_with_metadata)?;
    methods.raw_set("getWithMetadata", with_metadata)?;
    methods.raw_set("put", calls.silent_function(lua, Style::RAISE_WRITE, put)?)?;
    methods.raw_set("delete", calls.silent_function(lua, Style::RAISE_WRITE, delete)?)?;
    methods.raw_set("list", calls.function(lua, Style::RAISE, list)?)?;
    Ok(methods)
}

fn namespace_to_lua(lua: &Lua, namespace: Namespace, methods: Table) -> mlua::Result<LuaValue> {
    let shown = format!("KV.namespace({:?})", Value::from(namespace.name()));
    let metatable = lua.create_table()?;
    metatable.raw_set(MetaMethod::Index.name(), methods)?;
    metatable.raw_set("__name", TYPE_NAME)?;
    metatable.raw_set("__metatable", TYPE_NAME)?;
    let to_string = lua.create_function(move |lua, _: LuaValue| lua.create_string(&shown))?;
    metatable.raw_set(MetaMethod::ToString.name(), to_string)?;
    let bytes = namespace.name().len();
    let userdata = lua.create_any_userdata(namespace)?;
    memory::charge(lua, &userdata, 2 * bytes)?;
    metatable.raw_set(NAMESPACE_FIELD, userdata)?;
    let table = lua.create_table()?;
    table.set_metatable(Some(metatable))?;
    Ok(LuaValue::Table(table))
}

/// The namespace that a method was called on.
fn this(value: &LuaValue) -> Result<Namespace, Refusal> {
    let metatable = value.as_table().and_then(Table::metatable);
    let namespace = metatable
        .and_then(|metatable| metatable.raw_get::<UserDataRef<Namespace>>(NAMESPACE_FIELD).ok());
    match namespace {
        Some(namespace) => Ok(Namespace::clone(&namespace)),
        None => Err(Error::invalid(format!(
            "this is a method of a namespace, but was called on {}: call it as kv:method(...)",
            type_of(value)
        ))
        .into()),
    }
}

fn get(lua: &Lua, (kv, key, reading): (LuaValue, LuaValue, LuaValue)) -> Result<Values, Refusal> {
    let kv = this(&kv)?;
    let key = name_bytes("key", &key)?;
    let reading = Reading::parse(&reading)?;
    let operation = async move {
        match kv.get(&key).await? {
            Some(record) => reading.value(&key, &record),
            None => Ok(None),
        }
    };
    run(lua, Style::RAISE, operation, optional_to_lua)
}

fn get_with_metadata(
    lua: &Lua,
    (kv, key, reading): (LuaValue, LuaValue, LuaValue),
) -> Result<Values, Refusal> {
    let kv = this(&kv)?;
    let key = name_bytes("key", &key)?;
    let reading = Reading::parse(&reading)?;
    let operation = async move {
        let Some(record) = kv.get(&key).await? else {
            return Ok(None);
        };
        Ok(Some((reading.value(&key, &record)?, record)))
    };
    run(lua, Style::RAISE, operation, |lua, found| {
        let Some((value, record)) = found else {
            return Ok(LuaValue::Nil);
        };
        let about = lua.create_table()?;
        push_about(lua, &about, record.expiration, record.metadata.as_deref())?;
        let pair = lua.create_table_with_capacity(2, 0)?;
        pair.raw_set(1, optional_to_lua(lua, value)?)?;
        pair.raw_set(2, about)?;
        Ok(LuaValue::Table(pair))
    })
}

fn put(
    lua: &Lua,
    (kv, key, value, options): (LuaValue, LuaValue, LuaValue, LuaValue),
) -> Result<Values, Refusal> {
    let kv = this(&kv)?;
    let key = name_bytes("key", &key)?;
    let value = value_bytes(&value)?;
    let options = put_options(&options)?;
    let operation = async move { kv.put(&key, value, options).await };
    run(lua, Style::RAISE_WRITE, operation, nothing_to_lua)
}

fn delete(lua: &Lua, (kv, key): (LuaValue, LuaValue)) -> Result<Values, Refusal> {
    let kv = this(&kv)?;
    let key = name_bytes("key", &key)?;
    run(lua, Style::RAISE_WRITE, async move { kv.delete(&key).await }, nothing_to_lua)
}

fn list(lua: &Lua, (kv, options): (LuaValue, LuaValue)) -> Result<Values, Refusal> {
    let kv = this(&kv)?;
    let query = query(&options)?;
    run(lua, Style::RAISE, async move { kv.list(&query).await }, page_to_lua)
}

/// What the bytes of a value are read as.
#[derive(Clone, Copy)]
enum Reading {
    /// The bytes as they are: `text` and `arrayBuffer`, for Lua's strings are both.
    Bytes,
    Json,
}

impl Reading {
    fn parse(argument: &LuaValue) -> Result<Self, Refusal> {
        let name = match argument {
            LuaValue::Nil => return Ok(Self::Bytes),
            LuaValue::String(name) => name.to_string_lossy(),
            other => return Err(args::wrong_type("type", "a string", other).into()),
        };
        match &*name {
            "text" | "arrayBuffer" => Ok(Self::Bytes),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid(format!(
                "type must be \"text\", \"json\" or \"arrayBuffer\", not {name:?}"
            ))
            .into()),
        }
    }

    /// The value; none for the null of JSON.
    fn value(self, key: &[u8], record: &Record) -> Result<Option<Value>> {
        match self {
            Self::Bytes => Ok(Some(Value::String(record.value.clone()))),
            Self::Json => json::parse(&record.value)
                .map_err(|error| error.context(format_args!("the value of {}", shown(key)))),
        }
    }
}

/// A namespace or a key; `what` is what messages call it.
fn name_bytes(what: &str, argument: &LuaValue) -> Result<Vec<u8>, Refusal> {
    Ok(args::bytes(what, argument)?)
}

/// What is kept of a value.
fn value_bytes(argument: &LuaValue) -> Result<Vec<u8>, Refusal> {
    match argument {
        LuaValue::String(string) => Ok(string.as_bytes().to_vec()),
        LuaValue::Nil => Err(Error::invalid("value: nil can't be stored; delete the key").into()),
        other => json_text("value", other).map(String::into_bytes),
    }
}

fn json_text(name: &str, argument: &LuaValue) -> Result<String, Refusal> {
    Ok(json::to_text(name, &value::from_lua(name, argument, ENCODE)?)?)
}

fn put_options(argument: &LuaValue) -> Result<PutOptions, Refusal> {
    let (mut expiration, mut expiration_ttl, mut metadata) = (None, None, None);
    args::each_option(argument, |name, value| {
        match name {
            "expiration" => expiration = Some(args::number(name, value)?),
            "expirationTtl" => expiration_ttl = Some(args::number(name, value)?),
            "metadata" => match value {
                LuaValue::Table(_) => metadata = Some(json_text(name, value)?),
                other => return Err(args::wrong_type(name, "a table", other).into()),
            },
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(PutOptions { expiry: Expiry::of(expiration, expiration_ttl)?, metadata })
}

fn query(argument: &LuaValue) -> Result<Query, Refusal> {
    let mut query = Query::new();
    args::each_option(argument, |name, value| {
        let so_far = std::mem::take(&mut query);
        query = match name {
            "prefix" => so_far.prefix(args::bytes(name, value)?),
            "cursor" => so_far.cursor(Cursor::parse(&args::bytes(name, value)?)?),
            "limit" => so_far.limit(args::number(name, value)?)?,
            _ => return Ok(false),
        };
        Ok(true)
    })?;
    Ok(query)
}

fn page_to_lua(lua: &Lua, page: Page) -> mlua::Result<LuaValue> {
    let keys = lua.create_table_with_capacity(page.keys.len(), 0)?;
    for row in &page.keys {
        let key = lua.create_table_with_capacity(0, 3)?;
        key.raw_set("name", lua.create_string(&row.name)?)?;
        push_about(lua, &key, row.expiration, row.metadata.as_deref())?;
        keys.raw_push(key)?;
    }
    let table = lua.create_table_with_capacity(0, 3)?;
    table.raw_set("keys", keys)?;
    table.raw_set("list_complete", page.is_complete())?;
    table.raw_set("cursor", page.cursor.map(|cursor| cursor.to_string()))?;
    Ok(LuaValue::Table(table))
}

/// Adds expiration and metadata. What another program left as metadata and is no JSON is shown as
/// the text that it is, so that one such row does not hide the others.
fn push_about(
    lua: &Lua,
    table: &Table,
    expiration: Option<i64>,
    metadata: Option<&[u8]>,
) -> mlua::Result<()> {
    table.raw_set("expiration", expiration)?;
    let Some(text) = metadata else {
        return Ok(());
    };
    let metadata = match json::parse(text) {
        Ok(metadata) => optional_to_lua(lua, metadata)?,
        Err(_) => LuaValue::String(lua.create_string(text)?),
    };
    table.raw_set("metadata", metadata)
}

fn optional_to_lua(lua: &Lua, value: Option<Value>) -> mlua::Result<LuaValue> {
    value.map_or(Ok(LuaValue::Nil), |value| value::into_lua(lua, value))
}

fn nothing_to_lua(_: &Lua, (): ()) -> mlua::Result<LuaValue> {
    Ok(LuaValue::Nil)
}

/// A key as messages show it.
fn shown(key: &[u8]) -> String {
    format!("{:?}", Value::from(key))
}

const TYPE_NAME: &str = "KV.namespace";
/// Where the metatable has the namespace.
const NAMESPACE_FIELD: &str = "namespace";
