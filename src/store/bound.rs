//! Namespaces of the `KV` API, kept in a store of the engine.
//!
//! | | in the store |
//! |---|---|
//! | key | the namespace in hexadecimal digits, `/`, the key as it is |
//! | value | `{bytes, metadata?, expiration?}` |
//! | time to live | from the expiration |
//!
//! So what the store promises about its writes holds for namespaces too. The hexadecimal form never
//! contains a `/`, so no key reaches into another namespace, and keys stand in the order of their
//! bytes. The expiration is kept beside the bytes because a store has a clock of its own and tells
//! deadlines by that: the caller gets back the second that it gave.
//!
//! Limits are the store's: a namespace and key whose encoded form is no key of a store, or a record
//! whose encoded form is too large for one, is `INVALID`. An entry of another form, which only
//! someone who wrote to the store itself can have made, is listed, and an error where it is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::StoreHandle;
use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, ListQuery, Ttl};
use crate::error::{Error, Result};
use crate::json;
use crate::namespaces::{Answer, Backend, Batch, Range, Record, Row};
use crate::value::{Table, Value};

/// Namespaces in a store.
pub struct BoundStore {
    acquire: Box<dyn Fn() -> Acquiring + Send + Sync>,
}

/// A handle that is being acquired.
pub type Acquiring = Pin<Box<dyn Future<Output = Result<StoreHandle>> + Send>>;

impl BoundStore {
    /// Namespaces in the store of a handle.
    #[must_use]
    pub fn new(handle: StoreHandle) -> Arc<Self> {
        Self::acquiring(move || Box::pin(std::future::ready(Ok(handle.clone()))))
    }

    /// Namespaces in a store that is acquired anew for each call, and so is not opened before the
    /// first.
    #[must_use]
    pub fn acquiring(acquire: impl Fn() -> Acquiring + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { acquire: Box::new(acquire) })
    }

    async fn store(&self) -> Result<StoreHandle> {
        (self.acquire)().await
    }

    async fn write_record(
        &self,
        namespace: &[u8],
        key: &[u8],
        record: Record,
        now: UnixMillis,
    ) -> Result<()> {
        let key = encoded_key(namespace, key)?;
        let ttl = record.expiration.map(|expiration| ttl(expiration, now)).transpose()?.flatten();
        self.store().await?.set(&key, to_value(record)?, ttl).await
    }

    async fn scan_page(&self, namespace: &[u8], range: &Range) -> Result<Batch> {
        let start = encoded_name(namespace);
        let encoded = |name: &[u8]| [start.as_bytes(), name].concat();
        let after = range.after.as_deref().map_or_else(Vec::new, encoded);
        let query =
            ListQuery::new().prefix(encoded(&range.prefix)).after(after).limit(range.rows_max);
        let page = self.store().await?.list(&query).await?;
        let last = page.items.last().map(|entry| name_of(&start, entry));
        let rows = page.items.iter().map(|entry| to_row(&start, entry)).collect();
        Ok(Batch { rows, more_after: last.filter(|_| page.has_more) })
    }
}

impl Backend for BoundStore {
    fn read<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        _: UnixMillis,
    ) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            let key = encoded_key(namespace, key)?;
            let entry = self.store().await?.entry(&key).await?;
            entry.map(|entry| to_record(&entry)).transpose()
        })
    }

    fn write<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        record: Record,
        now: UnixMillis,
    ) -> Answer<'a, ()> {
        Box::pin(self.write_record(namespace, key, record, now))
    }

    fn remove<'a>(&'a self, namespace: &'a [u8], key: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = encoded_key(namespace, key)?;
            self.store().await?.delete(&key, None).await.map(drop)
        })
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a [u8],
        range: &'a Range,
        _: UnixMillis,
    ) -> Answer<'a, Batch> {
        Box::pin(self.scan_page(namespace, range))
    }
}

/// What the keys of a namespace start with.
fn encoded_name(namespace: &[u8]) -> String {
    let mut encoded = String::with_capacity(2 * namespace.len() + 1);
    for byte in namespace {
        encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
        encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    encoded.push('/');
    encoded
}

fn encoded_key(namespace: &[u8], key: &[u8]) -> Result<String> {
    let in_store = "and the namespaces are kept in a store";
    let text = std::str::from_utf8(key).map_err(|error| {
        let at = error.valid_up_to();
        Error::invalid(format!(
            "the key is not UTF-8 (bad byte at {at}), {in_store}, whose keys are"
        ))
    })?;
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        let message =
            format!("the key has a NUL byte at byte {at}, {in_store}, whose keys have none");
        return Err(Error::invalid(message));
    }
    let encoded = encoded_name(namespace) + text;
    Key::new(&encoded).map_err(|error| {
        error.context(
            "the key as a store keeps it (the namespace in hexadecimal digits, '/', the key)",
        )
    })?;
    Ok(encoded)
}

/// The time until an expiration, which has not come yet.
fn ttl(expiration: i64, now: UnixMillis) -> Result<Option<Ttl>> {
    let expiration_ms = u64::try_from(expiration).unwrap_or(0).saturating_mul(1_000);
    Ttl::from_ms(expiration_ms.saturating_sub(now.0).max(1))
}

fn to_value(record: Record) -> Result<Value> {
    let mut table = Table::new();
    table.insert(BYTES, record.value);
    if let Some(text) = record.metadata
        && let Some(metadata) = json::parse(&text).map_err(|error| error.context("metadata"))?
    {
        table.insert(METADATA, metadata);
    }
    if let Some(expiration) = record.expiration {
        table.insert(EXPIRATION, expiration);
    }
    Ok(table.into())
}

fn to_record(entry: &Entry) -> Result<Record> {
    let value = entry.value.as_table().and_then(|table| match table.get(BYTES) {
        Some(Value::String(bytes)) => Some(bytes.clone()),
        _ => None,
    });
    let value = value.ok_or_else(|| {
        Error::internal(format!(
            "the value under {:?} is no {{bytes, metadata}}, as KV keeps them: something else \
             writes to the store of the namespaces; delete the key, or move that elsewhere",
            entry.key
        ))
        .with_detail("key", entry.key.as_str())
    })?;
    Ok(Record { value, metadata: metadata(entry), expiration: expiration(entry) })
}

fn to_row(start: &str, entry: &Entry) -> Row {
    Row { name: name_of(start, entry), metadata: metadata(entry), expiration: expiration(entry) }
}

fn name_of(start: &str, entry: &Entry) -> Bytes {
    Bytes::copy_from_slice(&entry.key.as_str().as_bytes()[start.len()..])
}

/// The metadata as JSON text; what JSON can't say was never put here.
fn metadata(entry: &Entry) -> Option<Bytes> {
    let metadata = entry.value.as_table()?.get(METADATA)?;
    json::to_text(METADATA, metadata).ok().map(Bytes::from)
}

fn expiration(entry: &Entry) -> Option<i64> {
    let given = entry.value.as_table().and_then(|table| table.get(EXPIRATION)?.as_integer());
    given.or_else(|| i64::try_from(entry.expires_at?.0.div_ceil(1_000)).ok())
}

const BYTES: &str = "bytes";
const METADATA: &str = "metadata";
const EXPIRATION: &str = "expiration";
const DIGITS: &[u8; 16] = b"0123456789abcdef";
