//! Scripts that are not trusted: limited memory, limited time, and nothing of the host.
//!
//! A [`Sandbox`] is a Lua state of its own with a part of Lua's libraries and the engine's modules.
//! `docs/sandbox.md` tells script authors what is there; this tells how it is kept.
//!
//! **Time.** Three rings, each for what the inner one cannot stop:
//! 1. A hook looks at the clock at every call and every few instructions ([`Interrupt`]); waiting
//!    in a store, or for a time, ends at the deadline too.
//! 2. What runs inside C or Rust without calls is bounded: by its arguments, or by a replacement
//!    that looks at the clock itself (`guard.lua`, `pattern`). Finalizers, which run without hooks,
//!    are refused; message handlers and `__close` of a stopped script are not run.
//! 3. The script runs on a thread of its own. If it has not ended a moment after its limit (a long
//!    collection of garbage, say), the caller gets its answer all the same and the thread is left
//!    to end by itself. So the caller's runtime never waits for a script's computation.
//!
//! **Memory.** Lua refuses to allocate beyond the limit, and what Rust holds for the script is
//! counted with it (`memory`).
//!
//! **A limit is the end of the script.** No `pcall`, `xpcall` or coroutine goes on after one, and a
//! sandbox that has met a limit runs nothing more.
//!
//! No protection between scripts that share one sandbox: they share globals and modules. No limit
//! on what a script writes to stores: permissions and the stores' own sizes are for that.

mod environment;
mod pattern;
mod run;
mod strings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::Lua;
use tokio::runtime::Handle;

use super::interrupt::Interrupt;
use super::{install, memory, script};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    SANDBOX_GRACE_MS, SANDBOX_MEMORY_BYTES_DEFAULT, SANDBOX_MEMORY_BYTES_MIN,
    SANDBOX_SOURCE_BYTES_MAX, SANDBOX_TIME_MS_DEFAULT,
};
use crate::registry::Plimsoll;
use crate::value::Value;

use run::{Convert, LimitErrors, Run, Script, first_value};

/// Where printed text goes.
type PrintFn = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The limits of a sandbox, and where its scripts print.
#[derive(Clone)]
pub struct SandboxOptions {
    memory_bytes: usize,
    time: Duration,
    print: PrintFn,
}

impl Default for SandboxOptions {
    /// [`SANDBOX_MEMORY_BYTES_DEFAULT`] and [`SANDBOX_TIME_MS_DEFAULT`]; what is printed is lost.
    fn default() -> Self {
        Self {
            memory_bytes: SANDBOX_MEMORY_BYTES_DEFAULT,
            time: Duration::from_millis(SANDBOX_TIME_MS_DEFAULT),
            print: Arc::new(|_| {}),
        }
    }
}

impl SandboxOptions {
    /// The memory that the state may take, in bytes: at least [`SANDBOX_MEMORY_BYTES_MIN`].
    #[must_use]
    pub fn memory_bytes(mut self, memory_bytes: usize) -> Self {
        self.memory_bytes = memory_bytes;
        self
    }

    /// The time that one run may take, waiting included.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Where `print` writes: a call for each, with the line and its newline. It is called on the
    /// script's thread, in the script's time.
    #[must_use]
    pub fn print(mut self, print: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.print = Arc::new(print);
        self
    }
}

/// A Lua state for scripts that are not trusted.
///
/// ```
/// use std::time::Duration;
/// use plimsoll::lua::{Sandbox, SandboxOptions};
/// use plimsoll::{Config, Plimsoll};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let engine = Plimsoll::open(Config::builtin(".")).await?;
/// let mut sandbox = Sandbox::open(&engine, SandboxOptions::default())?;
/// let sum = sandbox.eval("sum", b"local a, b = ... return a + b", [1.into(), 2.into()]).await?;
/// assert_eq!(sum, Some(3.into()));
///
/// let options = SandboxOptions::default().time(Duration::from_millis(20));
/// let mut sandbox = Sandbox::open(&engine, options)?;
/// let endless = sandbox.run("endless", b"while true do pcall(error) end", []).await;
/// assert!(endless.unwrap_err().message().contains("its time limit of 20ms"));
/// # Ok::<(), plimsoll::error::Error>(()) }).unwrap();
/// ```
pub struct Sandbox {
    /// Away while a script runs; gone for good once one was given up.
    lua: Option<Lua>,
    interrupt: Interrupt,
    time: Duration,
    limit_errors: LimitErrors,
    ended_by: Option<Error>,
}

impl Sandbox {
    /// Makes a sandbox with the modules of an engine.
    ///
    /// # Errors
    /// `INVALID` if the memory limit is below [`SANDBOX_MEMORY_BYTES_MIN`] or the time limit is 0.
    pub fn open(engine: &Plimsoll, options: SandboxOptions) -> Result<Self> {
        if options.memory_bytes < SANDBOX_MEMORY_BYTES_MIN {
            let message = format!(
                "a memory limit of {} bytes is too small: the least is {SANDBOX_MEMORY_BYTES_MIN}",
                options.memory_bytes
            );
            return Err(Error::invalid(message).with_detail("limit", SANDBOX_MEMORY_BYTES_MIN));
        }
        if options.time.is_zero() {
            return Err(Error::invalid("a time limit of 0 leaves no time to run a script"));
        }
        let limit_errors = LimitErrors::new(&options);
        let (lua, interrupt) = open_state(engine, &options, &limit_errors).map_err(|error| {
            Error::internal(format!("the state of the sandbox could not be made: {error}"))
        })?;
        Ok(Self { lua: Some(lua), interrupt, time: options.time, limit_errors, ended_by: None })
    }

    /// Runs a script. The name stands in messages; the arguments are those of the chunk, in `...`.
    /// It has failed if it throws, or if it returns `nil` and an error.
    ///
    /// Dropping the future stops the script. It needs a tokio runtime with time enabled.
    ///
    /// # Errors
    /// What the script failed with, its stack in `details.stack`: the engine's error if it was one,
    /// else one without a kind. `TIMEOUT` and `INVALID` with the limit in `details.limit` if it met
    /// one; every later run then answers the same.
    pub async fn run(
        &mut self,
        name: &str,
        source: &[u8],
        arguments: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        self.execute(name, source, arguments, |_| Ok(())).await
    }

    /// As [`Sandbox::run`]; answers a copy of the script's first result, none for nil.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; `INVALID` if the result is no value that a store could hold.
    pub async fn eval(
        &mut self,
        name: &str,
        source: &[u8],
        arguments: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Value>> {
        self.execute(name, source, arguments, first_value).await
    }

    /// The state, to give scripts something of the host's: a function of it runs in their time. None
    /// once a limit was met.
    #[must_use]
    pub fn lua(&self) -> Option<&Lua> {
        self.lua.as_ref()
    }

    async fn execute<T: Send + 'static>(
        &mut self,
        name: &str,
        source: &[u8],
        arguments: impl IntoIterator<Item = Value>,
        convert: Convert<T>,
    ) -> Result<T> {
        let runtime = Handle::try_current()
            .map_err(|_| Error::invalid("a sandbox runs scripts inside a tokio runtime only"))?;
        if let Some(error) = &self.ended_by {
            return Err(error.clone());
        }
        let arguments = arguments.into_iter().collect();
        let run = Run {
            script: Script { name: format!("@{name}"), source: checked(source)?, arguments },
            deadline: Instant::now() + self.time,
            interrupt: self.interrupt.clone(),
            limit_errors: self.limit_errors.clone(),
        };
        let Some(lua) = self.lua.take() else { return Err(canceled()) };
        self.interrupt.stop_at(run.deadline, self.limit_errors.time.clone());
        let stop_on_drop = StopOnDrop(self.interrupt.clone());
        let answer_by = run.deadline + Duration::from_millis(SANDBOX_GRACE_MS);
        let work = runtime.clone().spawn_blocking(move || {
            let result = runtime.block_on(run.run(&lua, convert));
            (lua, result)
        });
        let result = match tokio::time::timeout_at(answer_by.into(), work).await {
            Ok(Ok((lua, result))) => {
                if self.interrupt.stopped().is_none() {
                    self.lua = Some(lua);
                }
                result
            }
            Ok(Err(_)) => Err(Error::internal("the thread of the script panicked")),
            Err(_) => Err(self.limit_errors.left_behind()),
        };
        std::mem::forget(stop_on_drop);
        if self.lua.is_none() {
            self.ended_by = result.as_ref().err().cloned();
        }
        result
    }
}

/// Stops the script if nobody waits for it any longer.
struct StopOnDrop(Interrupt);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop(canceled());
    }
}

fn canceled() -> Error {
    Error::new(ErrorKind::Canceled, "the script was given up by its host")
}

fn open_state(
    engine: &Plimsoll,
    options: &SandboxOptions,
    limit_errors: &LimitErrors,
) -> mlua::Result<(Lua, Interrupt)> {
    let lua = environment::new_state()?;
    let interrupt = Interrupt::install(&lua)?;
    script::keep_xpcall(&lua)?;
    environment::guard(&lua, &interrupt, options, limit_errors.memory.clone())?;
    install(&lua, engine)?;
    environment::finish(&lua)?;
    memory::set_limit(&lua, options.memory_bytes)?;
    Ok((lua, interrupt))
}

/// The source, if it is not too long.
fn checked(source: &[u8]) -> Result<Vec<u8>> {
    if source.len() > SANDBOX_SOURCE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the script has {} bytes, the limit in a sandbox is {SANDBOX_SOURCE_BYTES_MAX}",
            source.len()
        ))
        .with_detail("limit", SANDBOX_SOURCE_BYTES_MAX)
        .with_detail("actual", source.len()));
    }
    Ok(source.to_vec())
}
