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

/// Calls a function that [`Interrupt::run`](super::Interrupt::run) may stop. Its results are what it
/// returns, whatever that is; nothing of it runs after the future was dropped: what it holds in
/// `<close>` variables is not closed then.
///
/// # Errors
/// What it throws, with the stack behind it if it is a string.
pub async fn call_stoppable(lua: &Lua, function: Function) -> Result<MultiValue, Value> {
    let text = |thrown: &Value| thrown.as_string().map(|text| text.to_string_lossy());
    let results = start_stoppable(lua, function, MultiValue::new(), text).await;
    results.map_err(|thrown| match thrown {
        Thrown::Value(value) => value,
        Thrown::Lua(error) => Value::Error(Box::new(error)),
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
    let describe = |thrown: &Value| Some(errors::describe_raw(thrown));
    outcome(start_stoppable(lua, script, arguments, describe).await?)
}

async fn start_stoppable(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
    describe: Describe,
) -> Result<MultiValue, Thrown> {
    let thread = lua.create_thread(xpcall(lua)?)?;
    let arguments = protected(lua, script, arguments, describe)?;
    returned(thread.into_async(arguments)?.await?)
}

async fn run_protected(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
) -> Result<MultiValue, Thrown> {
    let describe = |thrown: &Value| Some(errors::describe(thrown));
    let arguments = protected(lua, script, arguments, describe)?;
    outcome(returned(xpcall(lua)?.call_async(arguments).await?)?)
}

impl From<mlua::Error> for Thrown {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// What the results of `xpcall` say.
fn returned(mut results: MultiValue) -> Result<MultiValue, Thrown> {
    match results.pop_front() {
        Some(Value::Boolean(true)) => Ok(results),
        _ => Err(Thrown::Value(results.pop_front().unwrap_or(Value::Nil))),
    }
}

/// A program that returns `nil` and an error has failed.
fn outcome(results: MultiValue) -> Result<MultiValue, Thrown> {
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

/// What to put before the stack of what was thrown; nothing if it is to stay as it is.
type Describe = fn(&Value) -> Option<String>;

/// The arguments of `xpcall`, with a handler that adds the stack while it is still there; error
/// objects have theirs.
fn protected(
    lua: &Lua,
    script: Function,
    arguments: MultiValue,
    describe: Describe,
) -> mlua::Result<MultiValue> {
    let handler = lua.create_function(move |lua, thrown: Value| {
        if errors::is_object(&thrown) || is_memory_error(&thrown) {
            return Ok(thrown);
        }
        let Some(message) = describe(&thrown) else { return Ok(thrown) };
        let level = 1;
        Ok(Value::String(lua.traceback(Some(&message), level)?))
    })?;
    let mut call = MultiValue::from_vec(vec![Value::Function(script), Value::Function(handler)]);
    call.extend(arguments);
    Ok(call)
}

const XPCALL: &str = "plimsoll.xpcall";
