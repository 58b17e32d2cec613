//! Ctrl-C while something runs: it stops that, and not the program.
//!
//! The first press stops what runs, between two instructions of Lua or in the middle of a wait
//! ([`Interrupt`]). What stops at neither (a loop inside one C function, a read from the terminal) is
//! still there at the second press, which says so; the third ends the program.
//!
//! Without [`StopButton::listen`] nothing is heard, and Ctrl-C does what it does to any program.

use std::future::{Future, poll_fn};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(unix)]
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;

use crate::cli::output;
use crate::error::{Error, ErrorKind};
use crate::lua::Interrupt;

/// A stop button of what runs. Clones are the same button.
#[derive(Clone)]
pub struct StopButton(Arc<Inner>);

struct Inner {
    interrupt: Interrupt,
    /// What runs, if something does.
    running: Mutex<Option<Running>>,
}

#[derive(Clone, Default)]
struct Running {
    pressed: Arc<Notify>,
    /// Whether it computes; else it waits.
    computes: Arc<AtomicBool>,
    /// What it did at the first press.
    stopped: Option<Stopped>,
    presses: u32,
}

/// Something was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// While it computed: no call of the engine was under way.
    Computing,
    /// While it waited for a call, whose outcome is unknown.
    Waiting,
}

impl StopButton {
    /// A button of the state that the interrupt is installed in.
    pub fn new(interrupt: Interrupt) -> Self {
        Self(Arc::new(Inner { interrupt, running: Mutex::new(None) }))
    }

    /// From now on Ctrl-C presses the button. To be called before a line editor is used, which puts
    /// back the handler that it found.
    pub fn listen(&self) -> std::io::Result<()> {
        #[cfg(unix)]
        let mut presses = tokio::signal::unix::signal(SignalKind::interrupt())?;
        #[cfg(windows)]
        let mut presses = tokio::signal::windows::ctrl_c()?;
        let button = self.clone();
        tokio::spawn(async move {
            while presses.recv().await.is_some() {
                button.press();
            }
        });
        Ok(())
    }

    /// Runs something until it ends or is stopped.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let running = Running::default();
        self.0.interrupt.reset();
        *self.running() = Some(running.clone());
        let mut work = Box::pin(work);
        let observed = poll_fn(|context| {
            running.computes.store(true, Ordering::Release);
            let polled = work.as_mut().poll(context);
            running.computes.store(false, Ordering::Release);
            polled
        });
        let result = tokio::select! {
            biased;
            result = self.0.interrupt.run(observed) => result.ok(),
            () = running.pressed.notified() => None,
        };
        drop(work);
        let ended = self.running().take();
        self.0.interrupt.reset();
        let stopped = ended.and_then(|running| running.stopped);
        result.ok_or(stopped.unwrap_or(Stopped::Computing))
    }

    fn press(&self) {
        let mut running = self.running();
        let Some(running) = running.as_mut() else { return };
        running.presses += 1;
        match running.presses {
            1 => {
                let computes = running.computes.load(Ordering::Acquire);
                running.stopped =
                    Some(if computes { Stopped::Computing } else { Stopped::Waiting });
                self.0.interrupt.stop(Error::new(ErrorKind::Canceled, "interrupted"));
                running.pressed.notify_one();
            }
            2 => output::warning("this does not stop; Ctrl-C once more ends plimsoll"),
            _ => exit(EXIT_BY_CTRL_C),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What shells report of a program that Ctrl-C ended: 128 and the number of the signal.
const EXIT_BY_CTRL_C: i32 = 130;

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::lua::call_stoppable;
    use crate::lua::mlua::{Lua, Value};

    fn button(lua: &Lua) -> StopButton {
        crate::lua::install_kv(lua, &namespaces()).unwrap();
        StopButton::new(Interrupt::install(lua).unwrap())
    }

    fn namespaces() -> crate::namespaces::Namespaces {
        let memory = crate::namespaces::Memory::new();
        let clock = crate::store::WallClock::new();
        crate::namespaces::Namespaces::new(Arc::new(memory), Arc::new(clock))
    }

    #[tokio::test]
    async fn what_is_stopped_is_told_to_have_computed_or_waited() {
        let button = button(&Lua::new());
        let computing = poll_fn(|_| {
            button.press();
            Poll::<()>::Pending
        });
        assert_eq!(button.run(computing).await, Err(Stopped::Computing));

        let presser = button.clone();
        // It gets its turn once the other waits.
        let press = async move { presser.press() };
        let waiting = async {
            tokio::spawn(press);
            pending::<()>().await;
        };
        let stopped = tokio::time::timeout(PATIENCE, button.run(waiting)).await;
        assert_eq!(stopped.expect("it is stopped"), Err(Stopped::Waiting));
        assert_eq!(button.run(async { 7 }).await, Ok(7), "and the next is not");
    }

    #[tokio::test]
    async fn a_press_while_nothing_runs_stops_nothing() {
        let button = button(&Lua::new());
        button.press();
        assert_eq!(button.run(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_script_that_catches_everything_is_stopped_and_its_state_goes_on() {
        let lua = Lua::new();
        let button = button(&lua);
        let presser = button.clone();
        let press = lua
            .create_function(move |_, ()| {
                presser.press();
                Ok(())
            })
            .unwrap();
        lua.globals().set("press", press).unwrap();
        let script = "kept = 6 press() while true do pcall(error) kept = kept end";
        let script = lua.load(script).into_function().unwrap();
        let stopped = button.run(call_stoppable(&lua, script)).await;
        assert_eq!(stopped.unwrap_err(), Stopped::Computing);
        let next = lua.load("return kept * 7").into_function().unwrap();
        let values = button.run(call_stoppable(&lua, next)).await.unwrap().unwrap();
        assert_eq!(values.front(), Some(&Value::Integer(42)));
    }
    /// Longer than a busy machine takes.
    const PATIENCE: Duration = Duration::from_secs(60);
}
