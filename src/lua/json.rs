//! The module `json`: `encode(value)` and `decode(text)`. Errors are raised.
//!
//! The rules are those of [`crate::json`]; `null` is nil. Round trips keep integers and floats
//! apart (`1.0` is written as `1.0`).

use mlua::{Lua, Table, Value as LuaValue};

use super::call::{Calls, Refusal, Style, Values, done};
use super::errors::type_of;
use super::memory;
use super::value::{self, Purpose};
use crate::error::{Error, Result};
use crate::json;
use crate::limits::{JSON_BYTES_MAX, JSON_DEPTH_MAX};

/// Makes the module's table.
pub(super) fn module(lua: &Lua, calls: &Calls) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("encode", calls.function(lua, Style::RAISE, encode)?)?;
    module.raw_set("decode", calls.function(lua, Style::RAISE, decode)?)?;
    Ok(module)
}

fn encode(lua: &Lua, value: LuaValue) -> Result<Values, Refusal> {
    let text = match value {
        LuaValue::Nil => "null".to_owned(),
        value => {
            let bytes_max = memory::transient_bytes_max(lua, JSON_BYTES_MAX);
            json::to_text(
                "value",
                &value::from_lua("value", &value, Purpose { bytes_max, ..ENCODE })?,
            )?
        }
    };
    done(LuaValue::String(lua.create_string(text)?))
}

fn decode(lua: &Lua, text: LuaValue) -> Result<Values, Refusal> {
    let LuaValue::String(text) = &text else {
        let what = type_of(&text);
        return Err(Error::invalid(format!("json.decode takes a string, not {what}")).into());
    };
    let text = text.as_bytes();
    let bytes_max = memory::transient_bytes_max(lua, usize::MAX);
    if text.len() > bytes_max {
        let message = format!("the text has {} bytes, the limit here is {bytes_max}", text.len());
        return Err(Error::invalid(message).with_detail("limit", bytes_max).into());
    }
    match json::parse(&text)? {
        Some(value) => done(value::into_lua(lua, value)?),
        None => done(LuaValue::Nil),
    }
}

/// What becomes JSON.
pub(super) const ENCODE: Purpose =
    Purpose { depth_max: JSON_DEPTH_MAX, bytes_max: JSON_BYTES_MAX, participle: "encoded as JSON" };
