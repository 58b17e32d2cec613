//! Namespaces: the semantics of the `KV` API, whatever keeps the entries.
//!
//! A namespace is any byte string, and so is a key in it. An entry has a value (bytes), perhaps
//! metadata (JSON text) and perhaps an expiration (whole Unix seconds). What is kept where is the
//! matter of a [`Backend`]: [`Memory`] here, `sql::sqlite::SqliteNamespaces` in a file that other
//! programs share, `store::BoundStore` in a store of the engine. What the calls mean is decided
//! here, once.
//!
//! Invariants:
//! 1. An entry is absent from its expiration on (`now >= expiration`), for every call, whether its
//!    backend has removed it or not. Expirations are whole seconds, rounded up.
//! 2. A put replaces value, metadata and expiration. One that would be absent at once removes what
//!    was there.
//! 3. A page lists present entries in the order of their bytes, and is full unless it is the last
//!    or at [`KV_PAGE_BYTES_MAX`]: what has expired does not cut it short.
//! 4. A cursor is a place between names, not an entry: deleting the entry that it was made of loses
//!    nothing.
//! 5. Limits are those of what is put. Whatever a backend holds can be read, listed and deleted.
//!
//! Time is an input: the clock is the host's. No JSON here: metadata is text, and how a value is
//! made of a table is the matter of the surface. No versions and no conditions: the API has none.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod arguments;
mod backend;
mod memory;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{Clock, UnixMillis};
use crate::error::{Error, Outcome, Result};
use crate::limits::{
    KV_KEY_BYTES_MAX, KV_METADATA_BYTES_MAX, KV_NAMESPACE_BYTES_MAX, KV_PAGE_BYTES_MAX,
    KV_VALUE_BYTES_MAX,
};
use crate::mutant::mutant;

pub use arguments::{Cursor, Expiry, PutOptions, Query};
pub use backend::{Answer, Backend, Batch, Range, Record, Row, is_present, ready};
pub use memory::Memory;

/// The namespaces of a backend. Clones share it.
///
/// ```
/// use std::sync::Arc;
/// use plimsoll::clock::{ManualClock, UnixMillis};
/// use plimsoll::namespaces::{Expiry, Memory, Namespaces, PutOptions};
///
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     match std::pin::pin!(future).poll(&mut context) {
/// #         std::task::Poll::Ready(output) => output,
/// #         std::task::Poll::Pending => unreachable!("memory never waits"),
/// #     }
/// # }
/// # block_on(async {
/// let clock = ManualClock::new(UnixMillis(1_000_000));
/// let kv = Namespaces::new(Arc::new(Memory::new()), Arc::new(clock.clone()));
/// let sessions = kv.namespace(b"sessions").await?;
/// let options = PutOptions { expiry: Expiry::after(60.0)?, metadata: None };
/// sessions.put(b"abc", "data", options).await?;
/// assert_eq!(sessions.get(b"abc").await?.expect("present").expiration, Some(1_060));
/// clock.advance_ms(60_000);
/// assert_eq!(sessions.get(b"abc").await?, None);
/// # Ok::<(), plimsoll::error::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Namespaces {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
}

impl Namespaces {
    /// The namespaces of a backend, with the host's clock.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        Self { backend, clock }
    }

    /// A namespace by its name: any bytes, none included.
    ///
    /// # Errors
    /// `INVALID` for a name over [`KV_NAMESPACE_BYTES_MAX`] under which nothing is kept.
    pub async fn namespace(&self, name: &[u8]) -> Result<Namespace> {
        let namespace = Namespace { of: self.clone(), name: Bytes::copy_from_slice(name) };
        if let Err(too_long) = namespace.check_name()
            && !namespace.holds_anything().await.unwrap_or(false)
        {
            return Err(too_long);
        }
        Ok(namespace)
    }

    /// Finishes what is under way and gives resources back.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Namespaces")
    }
}

/// One namespace. Clones share it.
#[derive(Clone, Debug)]
pub struct Namespace {
    of: Namespaces,
    name: Bytes,
}

impl Namespace {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Writes an entry, whatever was there.
    ///
    /// # Errors
    /// `INVALID` for what is over a limit, or what the backend can't hold; what the backend
    /// reports. Every error has an outcome.
    pub async fn put(
        &self,
        key: &[u8],
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<()> {
        let (value, now) = (value.into(), self.of.clock.now());
        let attempt = async {
            self.check_put(key, &value, &options)?;
            let backend = &self.of.backend;
            match options.expiry.at(now) {
                Some(expiration) => {
                    let metadata = options.metadata.map(Bytes::from);
                    let record = Record { value, metadata, expiration };
                    backend.write(&self.name, key, record, now).await
                }
                None => backend.remove(&self.name, key).await,
            }
        };
        attempt.await.map_err(written_nothing)
    }

    /// Removes an entry, if there is one.
    ///
    /// # Errors
    /// What the backend reports. Every error has an outcome.
    pub async fn delete(&self, key: &[u8]) -> Result<()> {
        self.of.backend.remove(&self.name, key).await.map_err(written_nothing)
    }

    /// Whether a put is within the limits; a backend may have narrower ones.
    ///
    /// # Errors
    /// `INVALID` for what is over a limit.
    pub fn check_put(&self, key: &[u8], value: &[u8], options: &PutOptions) -> Result<()> {
        self.check_name()?;
        check_length("key", key, KV_KEY_BYTES_MAX)?;
        check_length("value", value, KV_VALUE_BYTES_MAX)?;
        let metadata = options.metadata.as_deref().unwrap_or("");
        check_length("metadata", metadata.as_bytes(), KV_METADATA_BYTES_MAX)
    }

    /// The entry of a key, if it is present.
    ///
    /// # Errors
    /// What the backend reports.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Record>> {
        let clock = &self.of.clock;
        let record = self.of.backend.read(&self.name, key, clock.now()).await?;
        // What expired while it was read is absent.
        Ok(record.filter(|record| is_present(record.expiration, clock.now())))
    }

    /// One page of present entries, without their values.
    ///
    /// # Errors
    /// What the backend reports.
    pub async fn list(&self, query: &Query) -> Result<Page> {
        self.list_at(query, self.of.clock.now()).await
    }

    /// A backend may answer in batches, and with expired rows among them: the page goes on until it
    /// is full and another present entry is seen, or nothing is left.
    async fn list_at(&self, query: &Query, now: UnixMillis) -> Result<Page> {
        let limit = query.keys_max() + usize::from(mutant!("page is longer than its limit"));
        let mut page = Page { keys: Vec::new(), cursor: None };
        let mut bytes = 0;
        let mut range = Range {
            prefix: query.prefix.clone(),
            after: query.cursor.as_ref().map(Cursor::name),
            // One more than the page holds tells whether it is the last.
            rows_max: limit + 1,
        };
        loop {
            let batch = self.of.backend.scan(&self.name, &range, now).await?;
            for row in batch.rows {
                if !is_present(row.expiration, now) {
                    continue;
                }
                if page.keys.len() >= limit || bytes >= KV_PAGE_BYTES_MAX {
                    let last = page.keys.last().filter(|_| !mutant!("full page is the last"));
                    page.cursor = last.map(|last| Cursor::after(&last.name));
                    return Ok(page);
                }
                bytes += row.name.len() + row.metadata.as_ref().map_or(0, Bytes::len);
                page.keys.push(row);
            }
            let Some(last) = batch.more_after else {
                return Ok(page);
            };
            range.after = Some(last);
        }
    }

    fn check_name(&self) -> Result<()> {
        check_length("namespace", &self.name, KV_NAMESPACE_BYTES_MAX)
    }

    /// Whether the backend keeps anything under the name, expired or not.
    async fn holds_anything(&self) -> Result<bool> {
        let range = Range { prefix: Bytes::new(), after: None, rows_max: 1 };
        let batch = self.of.backend.scan(&self.name, &range, UnixMillis(0)).await?;
        Ok(!batch.rows.is_empty())
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order of their names' bytes.
    pub keys: Vec<Row>,
    /// Where the next page starts; none if the listing is complete.
    pub cursor: Option<Cursor>,
}

impl Page {
    /// Whether no entry follows.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.cursor.is_none()
    }
}

fn check_length(what: &str, bytes: &[u8], limit: usize) -> Result<()> {
    let actual = bytes.len();
    if actual <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!("the {what} has {actual} bytes, the limit is {limit}"))
        .with_detail("limit", limit)
        .with_detail("actual", actual))
}

/// What nobody deeper has stated happened before anything was written.
fn written_nothing(error: Error) -> Error {
    error.or_outcome(Outcome::None)
}
