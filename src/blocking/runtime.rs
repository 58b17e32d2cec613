//! The runtime behind the blocking types: shared by them, ended with the last of them.

use std::sync::Arc;

use tokio::runtime;

use crate::error::{Error, Result};

/// A runtime with one thread for background work; who waits runs what it waits for.
#[derive(Clone)]
pub(super) struct Runtime(Arc<Shared>);

struct Shared(Option<runtime::Runtime>);

impl Runtime {
    pub(super) fn start() -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("plimsoll")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::unavailable(format!("the system has no thread for the engine: {error}"))
            })?;
        Ok(Self(Arc::new(Shared(Some(runtime)))))
    }

    /// # Panics
    /// Within async code, which this would block.
    #[track_caller]
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        let runtime = self.0.0.as_ref().expect("the runtime is taken when nobody has it any more");
        runtime.block_on(future)
    }
}

/// The last one may be dropped within async code, where nothing may wait for threads to end.
impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
