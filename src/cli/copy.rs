//! `plimsoll copy`: the entries of a store or of a namespace of `KV`, to another.
//!
//! Entries go in the order of their keys, page by page, and each is read back after it was written.
//! Deadlines stay, versions do not: a version names one write, and a copy is another.
//!
//! What the target can't hold exactly ends the copy at that entry, before it is written: a key or
//! value that a store does not take, metadata on the way into a store, a value on the way into a
//! namespace that JSON can't carry. Strings become the bytes that they are and back; any other
//! value becomes JSON, as `kv:put` makes it.
//!
//! Whatever ends a copy, the last line of standard error tells how to go on. An entry is written
//! as a whole or not at all, and writing it again gives the same, so nothing is lost by repeating.

use bytes::Bytes;

use super::args::CopyArgs;
use super::verbs::Answer;
use super::{Exit, kv, namespaces, open, output};
use crate::clock::{Clock, UnixMillis};
use crate::entry::{Key, ListQuery, Ttl};
use crate::error::{Error, ErrorKind, Result};
use crate::json;
use crate::limits::PAGE_ITEMS_MAX;
use crate::namespaces::{Cursor, Expiry, Namespace, Namespaces, PutOptions, Query, Record};
use crate::registry::Plimsoll;
use crate::store::{StoreHandle, WallClock};
use crate::value::{Encoded, Value};

/// Copies, or tells what would be copied.
pub async fn copy(args: CopyArgs) -> Answer {
    let engine = open(&args.config).await?;
    check_ends(&engine, &args)?;
    let is_of_kv = |end: &str| kv::namespace_of(end).is_some();
    // Whoever copies between stores needs no file of KV.
    let namespaces = match is_of_kv(&args.from) || is_of_kv(&args.to) {
        true => Some(namespaces(&engine)?),
        false => None,
    };
    let mut copy = Copy {
        from: End::open(&engine, namespaces.as_ref(), &args.from).await?,
        to: End::open(&engine, namespaces.as_ref(), &args.to).await?,
        clock: WallClock::new(),
        is_dry_run: args.dry_run,
        done: Done { cursor: args.after.clone(), ..Done::default() },
    };
    if !args.dry_run {
        copy.to.warn_if_volatile(&engine).await;
    }
    let result = copy.run(&args.prefix).await;
    if let Some(namespaces) = namespaces {
        namespaces.close().await;
    }
    engine.close().await;
    copy.report(&args, result)
}

/// Refuses ends that are ambiguous, and a source that is also the target: it would be read as it is
/// written.
fn check_ends(engine: &Plimsoll, args: &CopyArgs) -> Result<()> {
    let kept_in = |end: &str| match (kv::namespace_of(end), engine.config().kv()) {
        (Some(_), Some(entry)) => Some(entry.store().as_str().to_owned()),
        _ => None,
    };
    let (from, to) = (&args.from, &args.to);
    for namespace in [from, to].into_iter().filter_map(|end| kv::namespace_of(end)) {
        kv::check_unambiguous(engine, namespace)?;
    }
    if from == to {
        return Err(Error::invalid(format!("{from} can't be copied to itself")));
    }
    if kept_in(from).as_ref() == Some(to) || kept_in(to).as_ref() == Some(from) {
        return Err(Error::invalid(format!(
            "the namespaces of KV are kept in the other end: {from} can't be copied to {to}"
        )));
    }
    Ok(())
}

/// One side of a copy.
enum End {
    Store(StoreHandle),
    Namespace(Namespace),
}

/// An entry on its way.
struct Item {
    key: Bytes,
    content: Content,
    expires_at: Option<UnixMillis>,
    /// Where a listing goes on after it.
    cursor: String,
}

enum Content {
    Value(Value),
    Record { value: Bytes, metadata: Option<Bytes> },
}

/// An entry as the target keeps it.
enum Prepared {
    Entry { key: Key, value: Value },
    Record { key: Bytes, value: Bytes, options: PutOptions },
}

struct Copy {
    from: End,
    to: End,
    clock: WallClock,
    is_dry_run: bool,
    done: Done,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    copied: usize,
    expiring: usize,
    replaced: usize,
    cursor: String,
}

impl Copy {
    async fn run(&mut self, prefix: &str) -> Result<()> {
        loop {
            let (items, has_more) = self.from.page(prefix, &self.done.cursor).await?;
            for item in items {
                self.copy_item(&item).await.map_err(|error| {
                    let key = Value::from(&item.key[..]);
                    error.context(format_args!("key {key:?}"))
                })?;
                self.done.cursor = item.cursor;
            }
            if !has_more {
                return Ok(());
            }
            output::progress(&self.done.told(self.is_dry_run));
        }
    }

    async fn copy_item(&mut self, item: &Item) -> Result<()> {
        if item.expires_at.is_some_and(|deadline| deadline <= self.clock.now()) {
            return Ok(());
        }
        let prepared = self.to.prepare(item)?;
        // Asked before the write, and in a dry run too: it checks the key as the target sees it.
        let replaces = self.to.read(&prepared).await?.is_some();
        if !self.is_dry_run {
            self.to.write(&prepared, item.expires_at, self.clock.now()).await?;
            self.verify(&prepared, item.expires_at).await?;
        }
        self.done.copied += 1;
        self.done.expiring += usize::from(item.expires_at.is_some());
        self.done.replaced += usize::from(replaces);
        Ok(())
    }

    /// Compares what is there now with what was written.
    async fn verify(&self, written: &Prepared, expires_at: Option<UnixMillis>) -> Result<()> {
        let Some(found) = self.to.read(written).await? else {
            // A deadline that has passed meanwhile is no fault.
            return match expires_at {
                Some(deadline) if deadline <= self.clock.now() => Ok(()),
                _ => Err(unlike("it is absent")),
            };
        };
        if !found.content.is_what(written) {
            return Err(unlike("the value is another"));
        }
        let differs = match (found.expires_at, expires_at) {
            (None, None) => false,
            (Some(found), Some(wanted)) => found.0.abs_diff(wanted.0) > CLOCKS_APART_MS_MAX,
            _ => true,
        };
        if differs { Err(unlike("the time to live is another")) } else { Ok(()) }
    }

    fn report(&self, args: &CopyArgs, result: Result<()>) -> Answer {
        let Done { copied, expiring, replaced, .. } = self.done;
        let (from, to) = (&args.from, &args.to);
        if let Err(error) = result {
            output::progress(&self.done.told(self.is_dry_run));
            return Err(error);
        }
        let counted = format!("({expiring} with a time to live, {replaced} in place of another)");
        let entries = if copied == 1 { "entry" } else { "entries" };
        output::line(&match self.is_dry_run {
            true => format!("would copy {copied} {entries} from {from} to {to} {counted}"),
            false => format!("copied {copied} {entries} from {from} to {to} {counted}, verified"),
        });
        Ok(Exit::Done)
    }
}

impl Done {
    fn told(&self, is_dry_run: bool) -> String {
        let verb = if is_dry_run { "looked at" } else { "copied" };
        let so_far = format!("{verb} {} so far", self.copied);
        match &*self.cursor {
            "" => so_far,
            cursor => format!("{so_far}; go on with --after '{}'", cursor.replace('\'', r"'\''")),
        }
    }
}

impl End {
    async fn open(engine: &Plimsoll, namespaces: Option<&Namespaces>, name: &str) -> Result<Self> {
        if let (Some(namespace), Some(namespaces)) = (kv::namespace_of(name), namespaces) {
            return Ok(Self::Namespace(namespaces.namespace(namespace.as_bytes()).await?));
        }
        match engine.store(name).await {
            Ok(store) => Ok(Self::Store(store)),
            // An unknown store is wrong usage, not an absent key.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::invalid(error.message().to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    async fn warn_if_volatile(&self, engine: &Plimsoll) {
        match self {
            Self::Namespace(_) => kv::warn_if_volatile(engine).await,
            Self::Store(store) if kv::is_volatile(store) => {
                let id = store.id();
                output::warning(&format!("{id} is in memory: the copy ends with this process"));
            }
            Self::Store(_) => {}
        }
    }

    /// The next entries, and whether more follow.
    async fn page(&self, prefix: &str, cursor: &str) -> Result<(Vec<Item>, bool)> {
        match self {
            Self::Store(store) => {
                let query = ListQuery::new().prefix(prefix).after(cursor).limit(PAGE_ITEMS_MAX);
                let page = store.list(&query).await?;
                let items = page.items.into_iter().map(|entry| Item {
                    key: Bytes::copy_from_slice(entry.key.as_str().as_bytes()),
                    cursor: entry.key.to_string(),
                    content: Content::Value(entry.value),
                    expires_at: entry.expires_at,
                });
                Ok((items.collect(), page.has_more))
            }
            Self::Namespace(namespace) => {
                let cursor = Cursor::parse(cursor.as_bytes())?;
                let query = Query::new().prefix(prefix.to_owned()).cursor(cursor);
                let page = namespace.list(&query).await?;
                let mut items = Vec::new();
                for row in &page.keys {
                    // One that is gone by now has nothing to copy.
                    if let Some(record) = namespace.get(&row.name).await? {
                        items.push(Item::of_record(&row.name, record));
                    }
                }
                Ok((items, !page.is_complete()))
            }
        }
    }

    /// The entry as this end keeps it.
    fn prepare(&self, item: &Item) -> Result<Prepared> {
        match (self, &item.content) {
            (Self::Store(_), content) => {
                let value = match content {
                    Content::Value(value) => value.clone(),
                    Content::Record { value, metadata: None } => Value::String(value.clone()),
                    Content::Record { metadata: Some(_), .. } => {
                        return Err(Error::invalid("it has metadata, which a store can't hold"));
                    }
                };
                Encoded::new(&value)?;
                Ok(Prepared::Entry { key: Key::from_bytes(&item.key)?, value })
            }
            (Self::Namespace(namespace), content) => {
                let (value, metadata) = match content {
                    Content::Value(Value::String(bytes)) => (bytes.clone(), None),
                    Content::Value(value) => (json::to_text("value", value)?.into(), None),
                    Content::Record { value, metadata } => (value.clone(), metadata.as_deref()),
                };
                let metadata = metadata.map(text_of_metadata).transpose()?;
                let expiry = match item.expires_at {
                    Some(deadline) => Expiry::at_unix(deadline.as_seconds())?,
                    None => Expiry::NEVER,
                };
                let options = PutOptions { expiry, metadata };
                namespace.check_put(&item.key, &value, &options)?;
                Ok(Prepared::Record { key: item.key.clone(), value, options })
            }
        }
    }

    /// What is there under the key of an entry.
    async fn read(&self, prepared: &Prepared) -> Result<Option<Item>> {
        match (self, prepared) {
            (Self::Store(store), Prepared::Entry { key, .. }) => {
                let entry = store.entry(key.as_str()).await?;
                Ok(entry.map(|entry| Item {
                    key: Bytes::copy_from_slice(entry.key.as_str().as_bytes()),
                    cursor: String::new(),
                    content: Content::Value(entry.value),
                    expires_at: entry.expires_at,
                }))
            }
            (Self::Namespace(namespace), Prepared::Record { key, .. }) => {
                Ok(namespace.get(key).await?.map(|record| Item::of_record(key, record)))
            }
            _ => unreachable!("an end reads what it prepared"),
        }
    }

    async fn write(
        &self,
        prepared: &Prepared,
        expires_at: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<()> {
        match (self, prepared) {
            (Self::Store(store), Prepared::Entry { key, value }) => {
                let left_ms = expires_at.map(|deadline| deadline.0.saturating_sub(now.0).max(1));
                let ttl = left_ms.map(Ttl::from_ms).transpose()?.flatten();
                store.set(key.as_str(), value.clone(), ttl).await
            }
            (Self::Namespace(namespace), Prepared::Record { key, value, options }) => {
                namespace.put(key, value.clone(), options.clone()).await
            }
            _ => unreachable!("an end writes what it prepared"),
        }
    }
}

impl Item {
    fn of_record(key: &Bytes, record: Record) -> Self {
        let expires_at = record
            .expiration
            .map(|seconds| UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)));
        Self {
            key: key.clone(),
            cursor: Cursor::after(key).to_string(),
            content: Content::Record { value: record.value, metadata: record.metadata },
            expires_at,
        }
    }
}

impl Content {
    /// Whether it is what was written. Metadata is compared as what it says: a store that namespaces
    /// are bound to keeps no JSON text.
    fn is_what(&self, written: &Prepared) -> bool {
        match (self, written) {
            (Self::Value(found), Prepared::Entry { value, .. }) => found == value,
            (
                Self::Record { value, metadata },
                Prepared::Record { value: written, options, .. },
            ) => {
                let said = |text: Option<&[u8]>| text.and_then(|text| json::parse(text).ok()?);
                value == written
                    && said(metadata.as_deref())
                        == said(options.metadata.as_deref().map(str::as_bytes))
            }
            _ => false,
        }
    }
}

/// The metadata of a record; another program may have left anything there.
fn text_of_metadata(metadata: &[u8]) -> Result<String> {
    json::parse(metadata).map_err(|error| error.context("its metadata"))?;
    Ok(String::from_utf8_lossy(metadata).into_owned())
}

fn unlike(what: &str) -> Error {
    Error::internal(format!(
        "what was read back is not what was written: {what}; does something else write to the \
         target?"
    ))
}

/// How far apart the clocks of two ends may be: deadlines are kept by the clock of each, and in a
/// namespace in whole seconds.
const CLOCKS_APART_MS_MAX: u64 = 10_000;
