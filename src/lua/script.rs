//! Running a script to its end, with a readable account of how it failed.

use mlua::{Function, Lua, MultiValue, Value};

use super::errors;
use super::memory::is_memory_error;

/// Calls a function as a program. It has failed if it throws, or if it returns `nil` and an error.
///
/// # Errors
/// The message with the stack of the place that threw it, for people to read.
pub async fn run_script(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> Result<MultiValue, String> {
    run_protected(lua, script, arguments).await.map_err(|thrown| match thrown {
        Thrown::Value(value) => errors::describe(&value),
        Thrown::Lua(error) => error.to_string(),
    })
}

/// What a script failed with.
pub(super) enum Thrown {
    /// What it threw or returned: an error object, or else a message with its stack.
    Value(Value),
    /// It could not be called.
    Lua(mlua::Error),
}

/// As [`run_script`], without putting the failure into words, and so that nothing of the script
/// runs after the future was dropped: what it holds in `<close>` variables is not closed then.
pub(super) async fn run_stoppable(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> Result<MultiValue, Thrown> {
    let thread = lua.create_thread(xpcall(lua)?)?;
    let arguments = protected(lua, script, arguments, errors::describe_raw)?;
    let results = thread.into_async(arguments)?.await?;
    outcome(results)
}

async fn run_protected(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> Result<MultiValue, Thrown> {
    let arguments = protected(lua, script, arguments, errors::describe)?;
    outcome(xpcall(lua)?.call_async(arguments).await?)
}

impl From<mlua::Error> for Thrown {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// What the results of `xpcall` say.
fn outcome(mut results: MultiValue) -> Result<MultiValue, Thrown> {
    match results.pop_front() {
        Some(Value::Boolean(true)) => {}
        _ => return Err(Thrown::Value(results.pop_front().unwrap_or(Value::Nil))),
    }
    match (results.front(), results.get(1)) {
        (Some(Value::Nil), Some(error)) if !error.is_nil() => Err(Thrown::Value(error.clone())),
        _ => Ok(results),
    }
}

/// Keeps Lua's own `xpcall` for the host: a script can put anything in its place.
pub(super) fn keep_xpcall(lua: &Lua) -> mlua::Result<()> {
    if lua.named_registry_value::<Option<Function>>(XPCALL)?.is_some() {
        return Ok(());
    }
    lua.set_named_registry_value(XPCALL, lua.globals().raw_get::<Function>("xpcall")?)
}

fn xpcall(lua: &Lua) -> mlua::Result<Function> {
    lua.named_registry_value(XPCALL)
}

/// The arguments of `xpcall`, with a handler that adds the stack while it is still there; error
/// objects have theirs.
fn protected(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
    describe: fn(&Value) -> String,
) -> mlua::Result<MultiValue> {
    let handler = lua.create_function(move |lua, thrown: Value| {
        if errors::is_object(&thrown) || is_memory_error(&thrown) {
            return Ok(thrown);
        }
        let level = 1;
        Ok(Value::String(lua.traceback(Some(&describe(&thrown)), level)?))
    })?;
    let mut call = MultiValue::from_vec(vec![Value::Function(script), Value::Function(handler)]);
    call.extend(arguments);
    Ok(call)
}

const XPCALL: &str = "plimsoll.xpcall";
