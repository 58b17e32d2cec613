//! One run of a script in a sandbox, on the thread that it has for itself.

use std::time::Instant;

use mlua::chunk::ChunkMode;
use mlua::{Lua, MultiValue, Value as LuaValue};

use super::SandboxOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::lua::call::Refusal;
use crate::lua::engine_error;
use crate::lua::errors::describe_raw;
use crate::lua::interrupt::Interrupt;
use crate::lua::memory::{is_memory_error, is_mlua_memory_error};
use crate::lua::script::{Thrown, run_stoppable};
use crate::lua::value::{self, Purpose};
use crate::value::Value;

/// A script on its way to its thread.
pub(super) struct Run {
    pub(super) script: Script,
    pub(super) deadline: Instant,
    pub(super) interrupt: Interrupt,
    pub(super) limit_errors: LimitErrors,
}

/// What is run.
pub(super) struct Script {
    pub(super) name: String,
    pub(super) source: Vec<u8>,
    pub(super) arguments: Vec<Value>,
}

impl Run {
    /// Runs the script, and converts its results while its limits still hold: what meets one then
    /// ends as the script would have.
    pub(super) async fn run<T>(self, lua: &Lua, convert: Convert<T>) -> Result<T> {
        let Self { script, deadline, interrupt, limit_errors } = self;
        let running = interrupt.run(script.call(lua));
        let thrown = match tokio::time::timeout_at(deadline.into(), running).await {
            Err(_elapsed) => {
                interrupt.stop(limit_errors.time.clone());
                return Err(limit_errors.time);
            }
            Ok(Err(stopped)) => return Err(stopped),
            Ok(Ok(Err(thrown))) => thrown,
            Ok(Ok(Ok(values))) => match convert(values) {
                Ok(converted) => return Ok(converted),
                Err(Refusal::Returned(error) | Refusal::Raised(error)) => return Err(error),
                Err(Refusal::Lua(error)) => Thrown::Lua(error),
            },
        };
        if is_out_of_memory(&thrown) {
            interrupt.stop(limit_errors.memory);
        }
        Err(interrupt.stopped().unwrap_or_else(|| script_error(&thrown)))
    }
}

/// What becomes of the results of a script.
pub(super) type Convert<T> = fn(MultiValue) -> Result<T, Refusal>;

impl Script {
    async fn call(self, lua: &Lua) -> Result<MultiValue, Thrown> {
        // Text only: Lua trusts bytecode blindly.
        let chunk = lua.load(self.source).set_name(self.name).set_mode(ChunkMode::Text);
        let chunk = chunk.into_function()?;
        let arguments = self.arguments.into_iter().map(|value| value::into_lua(lua, value));
        run_stoppable(lua, chunk, arguments.collect::<mlua::Result<_>>()?).await
    }
}

/// What a script ends with when it exceeds a limit.
#[derive(Clone)]
pub(super) struct LimitErrors {
    pub(super) time: Error,
    pub(super) memory: Error,
}

impl LimitErrors {
    pub(super) fn new(options: &SandboxOptions) -> Self {
        let SandboxOptions { time, memory_bytes, .. } = options;
        let message = format!("the script ran longer than its time limit of {time:?}");
        let time_error =
            Error::timeout(message).with_retryable(false).with_detail("limit", time.as_secs_f64());
        let message = match memory_bytes % (1 << 20) {
            0 => format!("{} MiB", memory_bytes >> 20),
            _ => format!("{memory_bytes} bytes"),
        };
        let message = format!("the script needed more memory than its limit of {message}");
        let memory_error = Error::invalid(message).with_detail("limit", *memory_bytes);
        Self { time: time_error, memory: memory_error }
    }

    /// For a script that does not even stop.
    pub(super) fn left_behind(&self) -> Error {
        self.time
            .clone()
            .context("the thread of a script is left behind, because it can't be stopped")
    }
}

/// A copy of the first result.
pub(super) fn first_value(results: MultiValue) -> Result<Option<Value>, Refusal> {
    match results.front() {
        None | Some(LuaValue::Nil) => Ok(None),
        Some(value) => {
            let purpose = Purpose { participle: "returned", ..Purpose::STORE };
            value::from_lua("the result", value, purpose).map(Some)
        }
    }
}

fn is_out_of_memory(thrown: &Thrown) -> bool {
    match thrown {
        Thrown::Value(value) => is_memory_error(value),
        Thrown::Lua(error) => is_mlua_memory_error(error),
    }
}

/// The error of a script as the engine's, with its stack beside it.
fn script_error(thrown: &Thrown) -> Error {
    let text = match thrown {
        Thrown::Value(value) => describe_raw(value),
        Thrown::Lua(error) => error.to_string(),
    };
    let (message, stack) = match text.find("\nstack traceback:") {
        Some(end) => text.split_at(end),
        None => (&*text, ""),
    };
    let error = match thrown {
        Thrown::Value(value) => engine_error(value),
        Thrown::Lua(_) => None,
    };
    let error = error.unwrap_or_else(|| Error::new(ErrorKind::Unknown, message));
    error.with_detail("stack", stack)
}
