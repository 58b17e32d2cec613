//! How Lua calls the engine: the one mechanism behind every function and method.
//!
//! A call that can be answered at once must not pay for a coroutine. So a function is two halves:
//! 1. A plain Rust function reads its arguments, starts the operation as a `'static` future and
//!    polls it once with a waker that does nothing. If it is done, its results go back to Lua.
//! 2. Otherwise it answers [`mark`] and what is left to wait for, and the wrapper in `glue.lua`
//!    hands that to the one async function, which awaits it. By the contract of `Future` only the
//!    waker of the last poll counts, so the first poll loses nothing.
//!
//! Rust callbacks of mlua can raise only mlua's own opaque error, on which scripts could not call
//! `kind()`. So an error to be raised takes the second way too, and `glue.lua` raises it.
//!
//! Fairness: a call takes one unit of the tokio task's budget. A script that never has to wait
//! still yields to the runtime's other tasks once the budget is gone, as any tokio resource makes
//! its user do.
//!
//! Where nothing can wait (the script is not run by an async caller, or a C function such as
//! `table.sort` is in between) a call that would have to is given up: `CANCELED`, for writes with
//! an unknown outcome. What is ready at once works everywhere.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use mlua::{AnyUserData, FromLuaMulti, Function, Lua, Table, Value as LuaValue};
use tokio::task::coop;

use super::errors;
use crate::error::{Error, ErrorKind, Outcome, Result};

/// What a Rust half answers: a result and an error, or [`mark`] and what is left.
pub(super) type Values = (LuaValue, LuaValue);

/// The functions of `glue.lua` in one Lua state.
#[derive(Clone)]
pub(super) struct Calls {
    wrap: Function,
    wrap_pair: Function,
    wrap_silent: Function,
    wrap_stream: Function,
    read_only: Function,
}

impl Calls {
    /// Loads `glue.lua` into a state and calls `first` with the functions: once, however often a
    /// state is installed into, because what scripts hold must go on working.
    pub(super) fn install(
        lua: &Lua,
        first: impl FnOnce(&Self) -> mlua::Result<()>,
    ) -> mlua::Result<Self> {
        if let Some(glue) = lua.named_registry_value::<Option<Table>>(REGISTRY_NAME)? {
            return Self::new(&glue);
        }
        let glue = load_glue(lua)?;
        let calls = Self::new(&glue)?;
        first(&calls)?;
        lua.set_named_registry_value(REGISTRY_NAME, glue)?;
        Ok(calls)
    }

    fn new(glue: &Table) -> mlua::Result<Self> {
        Ok(Self {
            wrap: glue.get("wrap")?,
            wrap_pair: glue.get("wrap_pair")?,
            wrap_silent: glue.get("wrap_silent")?,
            wrap_stream: glue.get("wrap_stream")?,
            read_only: glue.get("read_only")?,
        })
    }

    /// The Lua function of a Rust half.
    pub(super) fn function<A, F>(&self, lua: &Lua, style: Style, half: F) -> mlua::Result<Function>
    where
        A: FromLuaMulti,
        F: Fn(&Lua, A) -> Result<Values, Refusal> + Send + 'static,
    {
        self.wrap.call(rust_half(lua, style, half)?)
    }

    /// As [`Calls::function`], for a half that answers two values as a table, or nil for two nils.
    pub(super) fn pair_function<A, F>(
        &self,
        lua: &Lua,
        style: Style,
        half: F,
    ) -> mlua::Result<Function>
    where
        A: FromLuaMulti,
        F: Fn(&Lua, A) -> Result<Values, Refusal> + Send + 'static,
    {
        self.wrap_pair.call(rust_half(lua, style, half)?)
    }

    /// As [`Calls::function`], for a half whose result scripts do not see.
    pub(super) fn silent_function<A, F>(
        &self,
        lua: &Lua,
        style: Style,
        half: F,
    ) -> mlua::Result<Function>
    where
        A: FromLuaMulti,
        F: Fn(&Lua, A) -> Result<Values, Refusal> + Send + 'static,
    {
        self.wrap_silent.call(rust_half(lua, style, half)?)
    }

    /// As [`Calls::function`], for a half that answers an iterator with a `__close`: in a `for` it
    /// is closed when the loop ends.
    pub(super) fn stream_function<A, F>(
        &self,
        lua: &Lua,
        style: Style,
        half: F,
    ) -> mlua::Result<Function>
    where
        A: FromLuaMulti,
        F: Fn(&Lua, A) -> Result<Values, Refusal> + Send + 'static,
    {
        self.wrap_stream.call(rust_half(lua, style, half)?)
    }

    /// A view of a table that refuses writes.
    pub(super) fn read_only(&self, name: &str, values: Table) -> mlua::Result<Table> {
        self.read_only.call((name, values))
    }
}

fn rust_half<A, F>(lua: &Lua, style: Style, half: F) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    F: Fn(&Lua, A) -> Result<Values, Refusal> + Send + 'static,
{
    lua.create_function(move |lua, arguments| match half(lua, arguments) {
        Ok(values) => Ok(values),
        Err(Refusal::Lua(error)) => Err(error),
        Err(Refusal::Raised(error)) => raised(lua, style.stated(error)),
        Err(Refusal::Returned(error)) => style.failed(lua, error),
    })
}

/// How a function tells its errors.
#[derive(Clone, Copy)]
pub(super) struct Style {
    failure: Failure,
    is_write: bool,
}

#[derive(Clone, Copy)]
enum Failure {
    Nil,
    False,
    Raise,
}

impl Style {
    /// `nil, err`.
    pub(super) const READ: Self = Self { failure: Failure::Nil, is_write: false };
    /// `false, err`.
    pub(super) const TEST: Self = Self { failure: Failure::False, is_write: false };
    /// `nil, err`, and every error has an outcome.
    pub(super) const WRITE: Self = Self { failure: Failure::Nil, is_write: true };
    /// Errors are raised.
    pub(super) const RAISE: Self = Self { failure: Failure::Raise, is_write: false };
    /// Errors are raised, and every error has an outcome.
    pub(super) const RAISE_WRITE: Self = Self { failure: Failure::Raise, is_write: true };

    /// The error with its outcome stated, if it is one of a write: what nobody has stated deeper
    /// happened before anything was written.
    fn stated(self, error: Error) -> Error {
        if self.is_write { error.or_outcome(Outcome::None) } else { error }
    }

    fn failed(self, lua: &Lua, error: Error) -> mlua::Result<Values> {
        let error = self.stated(error);
        match self.failure {
            Failure::Nil => Ok((LuaValue::Nil, errors::object(lua, error)?)),
            Failure::False => Ok((LuaValue::Boolean(false), errors::object(lua, error)?)),
            Failure::Raise => raised(lua, error),
        }
    }
}

/// Why a Rust half has no result.
pub(super) enum Refusal {
    /// An error for the caller, told in the function's [`Style`].
    Returned(Error),
    /// An error that is raised whatever the style: the call itself is malformed.
    Raised(Error),
    /// Lua's own, such as out of memory.
    Lua(mlua::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Returned(error)
    }
}

impl From<mlua::Error> for Refusal {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// Turns the result of an operation into the Lua value of the same meaning.
pub(super) type IntoLuaFn<T> = fn(&Lua, T) -> mlua::Result<LuaValue>;

/// Runs an operation: its results if it is done at once, else what is left to wait for.
pub(super) fn run<T: Send + 'static>(
    lua: &Lua,
    style: Style,
    operation: impl Future<Output = Result<T>> + Send + 'static,
    into_lua: IntoLuaFn<T>,
) -> Result<Values, Refusal> {
    let mut operation = Box::pin(operation);
    let mut context = Context::from_waker(Waker::noop());
    let mut is_started = false;
    if let Poll::Ready(budget) = coop::poll_proceed(&mut context) {
        is_started = true;
        if let Poll::Ready(result) = operation.as_mut().poll(&mut context) {
            budget.made_progress();
            return Ok(finish(lua, style, into_lua, result)?);
        }
    }
    let finish_later =
        move |result| -> Finish { Box::new(move |lua| finish(lua, style, into_lua, result)) };
    let waiting = Waiting {
        is_started,
        is_write: style.is_write,
        operation: Box::pin(async move { finish_later(operation.await) }),
        give_up: Box::new(move |error| finish_later(Err(error))),
    };
    let left = lua.create_any_userdata(Left(Mutex::new(waiting)))?;
    Ok((mark(), LuaValue::UserData(left)))
}

/// The results of an operation that needs no future.
pub(super) fn done(value: LuaValue) -> Result<Values, Refusal> {
    Ok((value, LuaValue::Nil))
}

fn finish<T>(
    lua: &Lua,
    style: Style,
    into_lua: IntoLuaFn<T>,
    result: Result<T>,
) -> mlua::Result<Values> {
    match result {
        Ok(value) => Ok((into_lua(lua, value)?, LuaValue::Nil)),
        Err(error) => style.failed(lua, error),
    }
}

fn raised(lua: &Lua, error: Error) -> mlua::Result<Values> {
    Ok((mark(), errors::object(lua, error)?))
}

/// The first answer of a call that is not done: no store can hold it.
const fn mark() -> LuaValue {
    LuaValue::NULL
}

/// What is left of a call that was not done at once, on its way through Lua.
struct Left(Mutex<Waiting>);

struct Waiting {
    /// Whether the operation has been polled and so may have had effects.
    is_started: bool,
    is_write: bool,
    operation: Pin<Box<dyn Future<Output = Finish> + Send>>,
    give_up: Box<dyn FnOnce(Error) -> Finish + Send>,
}

/// Makes Lua's values of a result, once there is a Lua to make them in.
type Finish = Box<dyn FnOnce(&Lua) -> mlua::Result<Values> + Send>;

impl Waiting {
    fn take(left: &AnyUserData) -> mlua::Result<Self> {
        Ok(left.take::<Left>()?.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finish> {
        if !self.is_started {
            let budget = ready!(coop::poll_proceed(context));
            budget.made_progress();
            self.is_started = true;
        }
        self.operation.as_mut().poll(context)
    }

    /// What is ready now, or the giving up.
    fn finish_now(mut self) -> Finish {
        let mut context = Context::from_waker(Waker::noop());
        let attempt = std::pin::pin!(coop::unconstrained(self.operation.as_mut()));
        match attempt.poll(&mut context) {
            Poll::Ready(finish) => finish,
            Poll::Pending => self.give_up(),
        }
    }

    fn give_up(self) -> Finish {
        let error = Error::new(
            ErrorKind::Canceled,
            "the call has to wait, and nothing here can: run the script with exec_async, \
             eval_async or call_async, and call from where coroutines can yield",
        );
        let error = if self.is_write { error.with_outcome(Outcome::Unknown) } else { error };
        (self.give_up)(error)
    }
}

fn load_glue(lua: &Lua) -> mlua::Result<Table> {
    lua.register_userdata_type::<Left>(|_| {})?;
    let waits = lua.create_function(|_, left: AnyUserData| Ok(left.is::<Left>()))?;
    let now =
        lua.create_function(|lua, left: AnyUserData| Waiting::take(&left)?.finish_now()(lua))?;
    // Set by `glue.lua` where a coroutine's wait turns out to have nobody above who can wait: the
    // next poll, which follows at once, takes it and is the call's last.
    let is_undriven = Arc::new(AtomicBool::new(false));
    let swap_undriven = |value| {
        let is_undriven = Arc::clone(&is_undriven);
        lua.create_function(move |_, ()| Ok(is_undriven.swap(value, Ordering::Relaxed)))
    };
    let (set_undriven, take_undriven) = (swap_undriven(true)?, swap_undriven(false)?);
    let wait = lua.create_async_function(move |lua, left: AnyUserData| {
        let is_undriven = Arc::clone(&is_undriven);
        async move {
            let mut waiting = Some(Waiting::take(&left)?);
            let finish = poll_fn(|context| {
                if is_undriven.swap(false, Ordering::Relaxed)
                    && let Some(waiting) = waiting.take()
                {
                    return Poll::Ready(waiting.finish_now());
                }
                waiting.as_mut().expect("not polled after it was ready").poll(context)
            })
            .await;
            finish(&lua)
        }
    })?;
    let pending = Lua::poll_pending();
    lua.load(include_str!("glue.lua")).set_name("=[plimsoll]").call((
        mark(),
        pending,
        waits,
        wait,
        now,
        set_undriven,
        take_undriven,
    ))
}

const REGISTRY_NAME: &str = "plimsoll.calls";
