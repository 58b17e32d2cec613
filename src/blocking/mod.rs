//! The engine without async: for programs that have no runtime and want none.
//!
//! [`Plimsoll`] has a runtime of its own, with one thread for background work; a call runs on the
//! thread that makes it and returns when it is done. Everything else is that of the async types of
//! the same names: semantics, errors, limits, rights.
//!
//! ```
//! use plimsoll::Config;
//! use plimsoll::blocking::Plimsoll;
//!
//! let config = Config::builder().memory("app:cache", Default::default()).build()?;
//! let engine = Plimsoll::open(config)?;
//! let cache = engine.store("app:cache")?;
//! cache.set("greeting", "hello", None)?;
//! assert_eq!(cache.get("greeting")?, Some("hello".into()));
//! engine.close();
//! # Ok::<(), plimsoll::error::Error>(())
//! ```
//!
//! **Panics:** every call that may wait, of any type here, panics within async code, where it would
//! keep the runtime from what it waits for. There the async API is at hand; where a function that
//! blocks has to be called all the same, `tokio::task::spawn_blocking` is the place for it.
//!
//! No semantics here: a call that the async API does not have would be a bug.

mod runtime;
mod store;
#[cfg(feature = "serde")]
mod typed;
mod watch;

use std::fmt;

use crate::error::Result;
use crate::policy::Actor;
use crate::registry::{self, Config};

use runtime::Runtime;
pub use store::Store;
pub use watch::Watch;

/// An engine on a configuration, used by an actor. Clones share the engine.
///
/// The runtime goes on for as long as there is a clone, a [`Store`] or a [`Watch`] of it.
#[derive(Clone)]
pub struct Plimsoll {
    engine: registry::Plimsoll,
    runtime: Runtime,
}

impl Plimsoll {
    /// Opens the entries that start at once, and stands ready to open the others.
    ///
    /// # Errors
    /// As [`registry::Plimsoll::open`]; `UNAVAILABLE` if the system has no thread for the runtime.
    ///
    /// # Panics
    /// Within async code, like every call here that may wait.
    #[track_caller]
    pub fn open(config: Config) -> Result<Self> {
        let runtime = Runtime::start()?;
        let engine = runtime.wait(registry::Plimsoll::open(config))?;
        Ok(Self { engine, runtime })
    }

    /// The same engine, used by an actor.
    #[must_use]
    pub fn as_actor(&self, actor: Actor) -> Self {
        Self { engine: self.engine.as_actor(actor), runtime: self.runtime.clone() }
    }

    /// The actor that uses the engine.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        self.engine.actor()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.engine.config()
    }

    /// A handle on a store, with the rights of the actor.
    ///
    /// # Errors
    /// As [`registry::Plimsoll::store`].
    #[track_caller]
    pub fn store(&self, id: &str) -> Result<Store> {
        let handle = self.wait(self.engine.store(id))?;
        Ok(Store::new(handle, self.runtime.clone()))
    }

    /// The engine for async code, for what has no blocking form: a Lua state, namespaces.
    #[must_use]
    pub fn engine(&self) -> &registry::Plimsoll {
        &self.engine
    }

    /// Runs a future of the async API to its end.
    #[track_caller]
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.wait(future)
    }

    /// Ends background work and closes databases; any number of times.
    #[track_caller]
    pub fn close(&self) {
        self.wait(self.engine.close());
    }
}

impl fmt::Debug for Plimsoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.engine, f)
    }
}
