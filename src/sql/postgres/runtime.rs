//! The thread on which a database's connections live.
//!
//! It has a runtime of its own, so that calls need none, from whatever executor they come, and
//! connections outlive the runtimes of their callers.
//!
//! An access whose caller is gone ends in the middle: its statement is canceled and its connection
//! closed (`pool`). So nobody waits for what nobody wants; a write may then be applied or not,
//! wholly.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// A thread with a runtime, started when it is first needed.
pub(super) struct Background(Mutex<State>);

enum State {
    Idle,
    /// The thread ends when the sender is dropped.
    Running(Handle, #[expect(dead_code, reason = "only its end counts")] oneshot::Sender<()>),
    Closed,
}

impl Background {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::Idle))
    }

    /// Runs a future on the thread; none if it was stopped meanwhile.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the system has no thread to give.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(runtime) = self.handle()? else {
            return Ok(None);
        };
        let (mut reply, answer) = oneshot::channel();
        runtime.spawn(async move {
            let result = tokio::select! {
                biased;
                () = reply.closed() => return,
                result = work => result,
            };
            // A caller that is gone needs no answer.
            let _ = reply.send(result);
        });
        Ok(answer.await.ok())
    }

    /// Starts a task on the thread, unless it was stopped.
    ///
    /// # Errors
    /// As [`Background::run`].
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        if let Some(runtime) = self.handle()? {
            runtime.spawn(task);
        }
        Ok(())
    }

    /// Ends the thread and whatever runs there.
    pub(super) fn stop(&self) {
        *self.state() = State::Closed;
    }

    /// Whether it was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(*self.state(), State::Closed)
    }

    /// The runtime; none if it was stopped.
    fn handle(&self) -> Result<Option<Handle>> {
        let mut state = self.state();
        if let State::Idle = *state {
            *state = start()?;
        }
        Ok(match &*state {
            State::Running(handle, _) => Some(handle.clone()),
            State::Idle | State::Closed => None,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start() -> Result<State> {
    let no_thread = |error| Error::unavailable(format!("no thread for the connections: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new()
        .name("plimsoll-postgres".to_owned())
        .spawn(move || {
            // An error says that the sender was dropped, which is the sign.
            let _ = runtime.block_on(stopped);
            // Not even for a name that is still being looked up.
            runtime.shutdown_background();
        })
        .map_err(no_thread)?;
    Ok(State::Running(handle, stop))
}
