//! Stopping Lua code from outside, so that no `pcall` of the script goes on after it.
//!
//! A hook looks at every call and every few instructions whether the code has to stop: because it
//! was told to, or because its deadline has passed. If so:
//! - between two instructions it suspends the coroutine that runs. What has resumed it is suspended
//!   in the same way, and so on up to the host, which does not resume again. A script can catch
//!   errors, but nothing can keep a coroutine from being suspended;
//! - at a call it raises an error. Lua can't be suspended there, and without it a script that makes
//!   ever new coroutines would have a fresh number of instructions in each.
//!
//! Coroutines inherit the hook from the one that makes them. [`Interrupt::run`] is the host's side.
//!
//! Why not errors alone: `pcall` catches them; the handler of an `xpcall` is called for them
//! without hooks, and so is the `__close` of what the interrupted function holds.
//!
//! What a hook cannot stop: a loop inside one C function, the collection of garbage and finalizers
//! (`__gc`), for which there are no hooks; and code that C calls (`__tostring`, a comparison for
//! `table.sort`), which can't be suspended: there an error is raised after all, once suspending was
//! in vain often enough. The sandbox keeps scripts from all of these; a host that trusts its
//! scripts can live with them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use mlua::debug::{Debug, DebugEvent};
use mlua::{HookTriggers, Lua, VmState};

use crate::error::{Error, Result};

/// A stop button of one Lua state. Clones are the same button.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Whether the state is [`State::Stopped`], for a look that is cheap.
    is_stopped: AtomicBool,
    /// Calls that were looked at.
    calls: AtomicU32,
}

#[derive(Default)]
enum State {
    /// Code may run.
    #[default]
    Running,
    /// Code has to stop from an instant on, for a reason.
    Limited(Instant, Error),
    /// Code has to stop, for a reason; how often it was suspended for it.
    Stopped(Error, u32),
}

impl Interrupt {
    /// The button of a state, whose code from now on looks at it. A state has one.
    ///
    /// # Errors
    /// If Lua is out of memory.
    pub fn install(lua: &Lua) -> mlua::Result<Self> {
        let interrupt = Self::default();
        let triggers = HookTriggers::ON_CALLS.every_nth_instruction(INSTRUCTIONS_PER_CHECK);
        let hook = interrupt.clone();
        lua.set_global_hook(triggers, move |_, debug| hook.look(debug))?;
        Ok(interrupt)
    }

    /// Stops what runs, and whatever is run before [`Interrupt::reset`]. The first error counts.
    pub fn stop(&self, error: Error) {
        let mut state = self.state();
        if !matches!(*state, State::Stopped(..)) {
            self.set_stopped(&mut state, error);
        }
    }

    /// Stops what runs once an instant has come.
    pub fn stop_at(&self, deadline: Instant, error: Error) {
        let mut state = self.state();
        if !matches!(*state, State::Stopped(..)) {
            *state = State::Limited(deadline, error);
        }
    }

    /// Lets code run again, without a deadline.
    pub fn reset(&self) {
        let mut state = self.state();
        *state = State::Running;
        self.0.is_stopped.store(false, Ordering::Release);
    }

    /// Why the code has to stop, if it has to.
    #[must_use]
    pub fn due(&self) -> Option<Error> {
        self.state_now().stopped_by()
    }

    /// Why the code was told to stop, if it was: without a look at the clock.
    #[must_use]
    pub fn stopped(&self) -> Option<Error> {
        self.state().stopped_by()
    }

    /// Polls a future that runs Lua code until it is ready or the code has to stop; then the future
    /// is dropped where the code was suspended.
    ///
    /// # Errors
    /// Why the code had to stop.
    pub async fn run<T>(&self, running: impl Future<Output = T>) -> Result<T> {
        let mut running = pin!(running);
        poll_fn(|context| {
            if let Some(error) = self.due() {
                return Poll::Ready(Err(error));
            }
            let polled = running.as_mut().poll(context);
            polled.map(|output| self.stopped().map_or(Ok(output), Err))
        })
        .await
    }

    /// For functions that Lua calls: raises the error if the code has to stop.
    pub(super) fn check(&self) -> mlua::Result<()> {
        self.due().map_or(Ok(()), |error| Err(mlua::Error::external(error)))
    }

    /// The hook.
    fn look(&self, debug: &Debug) -> mlua::Result<VmState> {
        let is_count = debug.event() == DebugEvent::Count;
        if !is_count && !self.0.is_stopped.load(Ordering::Acquire) {
            let calls = self.0.calls.fetch_add(1, Ordering::Relaxed);
            if !calls.is_multiple_of(CALLS_PER_LOOK_AT_THE_CLOCK) {
                return Ok(VmState::Continue);
            }
        }
        match &mut *self.state_now() {
            State::Running | State::Limited(..) => Ok(VmState::Continue),
            State::Stopped(_, suspended) if is_count && *suspended < SUSPENSIONS_MAX => {
                *suspended += 1;
                Ok(VmState::Yield)
            }
            State::Stopped(error, _) => Err(mlua::Error::external(error.clone())),
        }
    }

    /// The state, after a look at the clock.
    fn state_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if let State::Limited(deadline, error) = &*state
            && Instant::now() >= *deadline
        {
            let error = error.clone();
            self.set_stopped(&mut state, error);
        }
        state
    }

    fn set_stopped(&self, state: &mut State, error: Error) {
        *state = State::Stopped(error, 0);
        self.0.is_stopped.store(true, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stopped_by(&self) -> Option<Error> {
        match self {
            Self::Stopped(error, _) => Some(error.clone()),
            Self::Running | Self::Limited(..) => None,
        }
    }
}

/// How often the hook looks, beside at calls. A smaller number stops sooner where single
/// instructions are slow (long strings are compared in one), a larger one costs less.
const INSTRUCTIONS_PER_CHECK: u32 = 100;

/// A call costs less than a look at the clock does.
const CALLS_PER_LOOK_AT_THE_CLOCK: u32 = 16;

/// Coroutines nest less deeply: Lua allows 200 calls of C within each other. Once suspending was
/// tried more often than that, what runs can't be suspended.
const SUSPENSIONS_MAX: u32 = 250;
