//! Watches: streams of changes, in order, without a gap or a repeat.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::entry::{Change, Version};
use crate::error::{Error, Result};

/// What a `watch` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchQuery {
    /// Only keys that start with these bytes.
    pub prefix: Vec<u8>,
    /// Only revisions after this one; none means from now.
    pub after: Option<Version>,
}

/// The future of the next change of a stream.
pub type NextChange<'a> = Pin<Box<dyn Future<Output = Result<Change>> + Send + 'a>>;

/// A source of changes, as a kind of store implements it.
pub trait ChangeSource: Send {
    /// Waits for the next change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `INVALID` with `details.reason = "compacted"` once the reader has fallen behind the kept
    /// history; `CANCELED` once the store is closed.
    fn next(&mut self) -> NextChange<'_>;
}

/// A stream of changes. After its first error, other than a timeout, it has ended.
pub struct Watch(Option<Box<dyn ChangeSource>>);

impl Watch {
    /// A stream over a source.
    #[must_use]
    pub fn new(source: impl ChangeSource + 'static) -> Self {
        Self(Some(Box::new(source)))
    }

    /// The next change; `None` once the stream is closed. Without a timeout it waits for ever.
    ///
    /// # Errors
    /// `TIMEOUT` if nothing changed in time (the stream goes on); what ended the stream, once.
    pub async fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Change>> {
        let Some(source) = &mut self.0 else {
            return Ok(None);
        };
        let next = match timeout {
            None => source.next().await,
            Some(limit) => match tokio::time::timeout(limit, source.next()).await {
                Ok(next) => next,
                Err(_) => {
                    return Err(Error::timeout(format!("nothing changed within {limit:?}")));
                }
            },
        };
        if next.is_err() {
            self.close();
        }
        next.map(Some)
    }

    /// Ends the stream.
    pub fn close(&mut self) {
        self.0 = None;
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Watch{}" } else { "Watch{closed}" })
    }
}
