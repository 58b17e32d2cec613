//! Running a script to its end, with a readable account of how it failed.

use mlua::{Function, Lua, MultiValue, Value};

use super::errors;

/// Calls a function as a program. It has failed if it throws, or if it returns `nil` and an error.
///
/// # Errors
/// The message with the stack of the place that threw it, for people to read.
pub async fn run_script(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> Result<MultiValue, String> {
    let mut results =
        protected_call(lua, script, arguments).await.map_err(|error| error.to_string())?;
    match results.pop_front() {
        Some(Value::Boolean(true)) => {}
        _ => return Err(results.front().map_or_else(String::new, errors::describe)),
    }
    match (results.front(), results.get(1)) {
        (Some(Value::Nil), Some(error)) if !error.is_nil() => Err(errors::describe(error)),
        _ => Ok(results),
    }
}

/// `xpcall` with a handler that adds the stack while it is still there; error objects have theirs.
async fn protected_call(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> mlua::Result<MultiValue> {
    let handler = lua.create_function(|lua, thrown: Value| {
        if errors::is_object(&thrown) {
            return Ok(thrown);
        }
        let level = 1;
        Ok(Value::String(lua.traceback(Some(&errors::describe(&thrown)), level)?))
    })?;
    let xpcall: Function = lua.globals().raw_get("xpcall")?;
    let mut call = MultiValue::from_vec(vec![Value::Function(script), Value::Function(handler)]);
    call.extend(arguments);
    xpcall.call_async(call).await
}
