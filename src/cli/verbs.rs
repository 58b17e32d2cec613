//! The verbs on stores: one operation each. Those on namespaces of `KV` stand in `kv`.

use std::io::Read as _;

use super::args::{
    DeleteArgs, FormatArgs, InfoArgs, KeyArgs, ListArgs, PlaceArgs, PutArgs, SetArgs, ValueArgs,
    WatchArgs,
};
use super::{Exit, NamedStore, kv, open_for, output};
use crate::entry::{Condition, ListQuery, PutOptions, Ttl, Version};
use crate::error::{Error, ErrorKind};
use crate::limits::VALUE_BYTES_MAX;
use crate::registry::{ClusterOptions, CrdtStoreOptions, EntryKind, Plimsoll, RaftRole};
use crate::sql::payload;
use crate::store::{Backend, StoreHandle, WatchQuery};
use crate::value::Value;

pub(super) type Answer = Result<Exit, Error>;

/// An open store, and the engine to close after the operation.
pub(super) struct Session {
    engine: Plimsoll,
    store: StoreHandle,
}

impl Session {
    pub async fn open(place: &PlaceArgs, id: &str) -> Result<Self, Error> {
        let engine = open_for(place, id).await?;
        // In a cluster that is asked directly a store is named by its namespace.
        let id = match place.cluster.addresses.is_empty() {
            true => id.to_owned(),
            false => NamedStore::parse(id)?.id(),
        };
        match engine.store(&id).await {
            Ok(store) => Ok(Self { engine, store }),
            // An unknown store is wrong usage, not an absent key.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::invalid(error.message().to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// The store.
    pub const fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// Says what a write to this store is worth.
    fn warn_if_volatile(&self) {
        let id = self.store.id();
        if self.store.backend() == Backend::Memory || self.is_replica_of_nobody() {
            output::warning(&format!("{id} is in memory: what is written ends with this process"));
        }
    }

    /// Whether it is a `store.kv.crdt` whose only replica is in the memory of this process.
    fn is_replica_of_nobody(&self) -> bool {
        let config = self.engine.config();
        let entry = config.entry(self.store.id());
        let is_volatile = entry.is_some_and(|entry| {
            matches!(entry.kind(), EntryKind::CrdtStore(CrdtStoreOptions { durable: false, .. }))
        });
        let is_alone = |cluster: &ClusterOptions| {
            cluster.raft.role == RaftRole::Server && cluster.membership.bind_addr.is_none()
        };
        is_volatile && config.cluster().is_some_and(is_alone)
    }

    pub async fn close(self) {
        self.engine.close().await;
    }
}

/// `plimsoll get`.
pub async fn get(args: KeyArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.store) {
        return kv::get(namespace, &args).await;
    }
    let session = Session::open(&args.place, &args.store).await?;
    let value = session.store.get(&args.key).await?;
    session.close().await;
    match value {
        Some(value) => output::value(&value, &args.format),
        None => return Err(absent(&args.key)),
    }
    Ok(Exit::Done)
}

/// `plimsoll entry`.
pub async fn entry(args: KeyArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.store) {
        return kv::entry(namespace, &args).await;
    }
    let session = Session::open(&args.place, &args.store).await?;
    let entry = session.store.entry(&args.key).await?;
    session.close().await;
    match entry {
        Some(entry) => output::entry(&entry, &args.format),
        None => return Err(absent(&args.key)),
    }
    Ok(Exit::Done)
}

/// `plimsoll set`.
pub async fn set(args: SetArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.at.store) {
        return kv::put(namespace, &args.at, &args.value).await;
    }
    let (value, ttl) = parse_value(&args.value, &args.at.format)?;
    let session = Session::open(&args.at.place, &args.at.store).await?;
    session.warn_if_volatile();
    session.store.set(&args.at.key, value, ttl).await?;
    session.close().await;
    output::boolean(true);
    Ok(Exit::Done)
}

/// `plimsoll put`.
pub async fn put(args: PutArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.at.store) {
        if args.if_absent || args.if_version.is_some() {
            return Err(kv::no_conditions());
        }
        return kv::put(namespace, &args.at, &args.value).await;
    }
    let (value, ttl) = parse_value(&args.value, &args.at.format)?;
    let condition = match (args.if_absent, &args.if_version) {
        (true, Some(_)) => {
            return Err(Error::invalid("--if-absent and --if-version exclude each other"));
        }
        (true, None) => Condition::Absent,
        (false, Some(version)) => Condition::Version(Version::parse(version)?),
        (false, None) => Condition::None,
    };
    let session = Session::open(&args.at.place, &args.at.store).await?;
    session.warn_if_volatile();
    let entry = session.store.put(&args.at.key, value, PutOptions { ttl, condition }).await?;
    session.close().await;
    output::entry(&entry, &args.at.format);
    Ok(Exit::Done)
}

/// `plimsoll has`.
pub async fn has(args: KeyArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.store) {
        return kv::has(namespace, &args).await;
    }
    let session = Session::open(&args.place, &args.store).await?;
    let is_present = session.store.has(&args.key).await?;
    session.close().await;
    Ok(output::answer(is_present))
}

/// `plimsoll delete`.
pub async fn delete(args: DeleteArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.at.store) {
        if args.if_version.is_some() {
            return Err(kv::no_conditions());
        }
        return kv::delete(namespace, &args.at).await;
    }
    let if_version = args.if_version.as_deref().map(Version::parse).transpose()?;
    let session = Session::open(&args.at.place, &args.at.store).await?;
    session.warn_if_volatile();
    let was_present = session.store.delete(&args.at.key, if_version).await?;
    session.close().await;
    Ok(output::answer(was_present))
}

/// `plimsoll list`.
pub async fn list(args: ListArgs) -> Answer {
    if let Some(namespace) = kv::namespace_of(&args.store) {
        return kv::list(namespace, &args).await;
    }
    let query = ListQuery::new().prefix(args.prefix).after(args.after).limit(args.limit);
    let session = Session::open(&args.place, &args.store).await?;
    let page = session.store.list(&query).await?;
    session.close().await;
    output::page(&page, &args.format);
    Ok(Exit::Done)
}

/// `plimsoll watch`.
pub async fn watch(args: WatchArgs) -> Answer {
    if kv::namespace_of(&args.store).is_some() {
        return Err(Error::invalid("watch is about stores; a namespace of KV can't be watched"));
    }
    let after = args.after.as_deref().map(Version::parse).transpose()?;
    let session = Session::open(&args.place, &args.store).await?;
    let query = WatchQuery { prefix: args.prefix.into_bytes(), after };
    let mut watch = session.store.watch(&query).await?;
    output::progress("watching; Ctrl-C ends it");
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let next = tokio::select! {
            next = watch.next(None) => next?,
            // Without signals it is ended by killing it.
            Ok(()) = tokio::signal::ctrl_c() => None,
        };
        let Some(change) = next else { break };
        output::change(&change, &args.format);
        left -= 1;
    }
    session.close().await;
    Ok(Exit::Done)
}

/// `plimsoll info`.
pub async fn info(args: InfoArgs) -> Answer {
    if kv::namespace_of(&args.store).is_some() {
        return Err(Error::invalid("info is about stores; a namespace of KV is none"));
    }
    let session = Session::open(&args.place, &args.store).await?;
    let info = session.store.info()?;
    session.close().await;
    output::info(&info, &args.format);
    Ok(Exit::Done)
}

pub(super) fn absent(key: &str) -> Error {
    Error::not_found(format!("the key {key:?} is absent"))
}

/// The value and the time to live that a write asks for.
fn parse_value(args: &ValueArgs, format: &FormatArgs) -> Result<(Value, Option<Ttl>), Error> {
    if args.expiration.is_some() || args.metadata.is_some() {
        return Err(Error::invalid(
            "--expiration and --metadata are for namespaces of KV: write kv:NAMESPACE for the store",
        ));
    }
    // JSON may need more bytes than the encoded value: six for a control character.
    let bytes = value_bytes(args, 8 * VALUE_BYTES_MAX)?;
    let value = if format.json {
        payload::decode(&bytes).map_err(|error| {
            let error = Error::invalid(error.message().to_owned());
            error.context("the value of --json")
        })?
    } else {
        Value::from(bytes)
    };
    let ttl = args.ttl.map(Ttl::from_seconds).transpose()?.flatten();
    Ok((value, ttl))
}

/// The bytes of the value, from standard input if it is `-`; `limit` is for those.
pub(super) fn value_bytes(args: &ValueArgs, limit: usize) -> Result<Vec<u8>, Error> {
    if args.value != "-" {
        return Ok(args.value.as_encoded_bytes().to_vec());
    }
    let limit = limit as u64;
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::invalid(format!("standard input could not be read: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!("standard input is longer than {limit} bytes")));
    }
    Ok(bytes)
}
