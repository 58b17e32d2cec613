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
use std::task::Poll;

use tokio::signal::ctrl_c;
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

    /// From now on Ctrl-C presses the button.
    pub async fn listen(&self) {
        let mut press = Box::pin(ctrl_c());
        // Polled once before anything else: a line editor puts back the handler that it found.
        let first = poll_fn(|context| Poll::Ready(press.as_mut().poll(context))).await;
        if matches!(first, Poll::Ready(Err(_))) {
            return;
        }
        let button = self.clone();
        tokio::spawn(async move {
            while press.await.is_ok() {
                button.press();
                press = Box::pin(ctrl_c());
            }
        });
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
