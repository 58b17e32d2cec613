//! The module `time`: `sleep(seconds | "1s")` and `now()`. Wrong arguments are raised.
//!
//! A sleeping script waits as any other call does: the host's runtime goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlua::{Lua, Table, Value as LuaValue};

use super::args;
use super::call::{Calls, Refusal, Style, Values, done, run};
use crate::error::Result;
use crate::registry::parse_duration;

/// Makes the module's table.
pub(super) fn module(lua: &Lua, calls: &Calls) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("sleep", calls.function(lua, Style::RAISE, sleep)?)?;
    module.raw_set("now", calls.function(lua, Style::RAISE, now)?)?;
    Ok(module)
}

fn sleep(lua: &Lua, length: LuaValue) -> Result<Values, Refusal> {
    let length = duration(&length)?;
    args::require_timer()?;
    let sleep = async move {
        tokio::time::sleep(length).await;
        Ok(())
    };
    run(lua, Style::RAISE, sleep, |_, ()| Ok(LuaValue::Nil))
}

/// Seconds since the Unix epoch, with a fraction.
fn now(_: &Lua, (): ()) -> Result<Values, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    done(LuaValue::Number(now.as_secs_f64()))
}

fn duration(length: &LuaValue) -> Result<Duration> {
    match length {
        LuaValue::String(text) => parse_duration(&text.to_string_lossy()),
        number => args::seconds("the time to sleep", number),
    }
}
