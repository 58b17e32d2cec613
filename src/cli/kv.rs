//! The verbs on namespaces of `KV`, which the command line calls `kv:NAMESPACE`.

use super::args::{ConfigArgs, KeyArgs, ListArgs, ValueArgs};
use super::verbs::{Answer, absent, value_bytes};
use super::{Exit, namespaces, open, output};
use crate::error::Error;
use crate::json;
use crate::limits::KV_VALUE_BYTES_MAX;
use crate::namespaces::{Cursor, Expiry, Namespace, Namespaces, PutOptions, Query};
use crate::registry::Plimsoll;
use crate::store::{Backend, StoreHandle};

/// The namespace that an argument names; none if it names a store.
pub fn namespace_of(target: &str) -> Option<&str> {
    target.strip_prefix("kv:")
}

/// Refuses a name that stands for a namespace and for a store of the configuration.
///
/// # Errors
/// `INVALID` if it is ambiguous.
pub fn check_unambiguous(engine: &Plimsoll, namespace: &str) -> Result<(), Error> {
    let id = format!("kv:{namespace}");
    if engine.config().entry(&id).is_none_or(|entry| !entry.kind().is_store()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{id} is a store of the configuration and a namespace of KV: on the command line kv: is \
         KV's, so give the namespace of that entry another name"
    )))
}

/// Says what a write is worth if the namespaces are kept in a store in memory.
pub async fn warn_if_volatile(engine: &Plimsoll) {
    let Some(entry) = engine.config().kv() else {
        return;
    };
    let store = engine.store(entry.store().as_str()).await;
    if store.is_ok_and(|store| is_volatile(&store)) {
        let id = entry.store();
        output::warning(&format!(
            "KV is kept in {id}, in memory: what is written ends with this process"
        ));
    }
}

/// Whether a store is gone with this process.
pub fn is_volatile(store: &StoreHandle) -> bool {
    store.backend() == Backend::Memory
}

/// An open namespace, and what to close after the operation.
struct Session {
    engine: Plimsoll,
    namespaces: Namespaces,
    namespace: Namespace,
}

impl Session {
    async fn open(config: &ConfigArgs, name: &str) -> Result<Self, Error> {
        let engine = open(config).await?;
        check_unambiguous(&engine, name)?;
        let namespaces = namespaces(&engine)?;
        let namespace = namespaces.namespace(name.as_bytes()).await?;
        Ok(Self { engine, namespaces, namespace })
    }

    async fn close(self) {
        self.namespaces.close().await;
        self.engine.close().await;
    }
}

/// `plimsoll get kv:NAMESPACE`.
pub async fn get(namespace: &str, args: &KeyArgs) -> Answer {
    let session = Session::open(&args.place.config, namespace).await?;
    let record = session.namespace.get(args.key.as_bytes()).await?;
    session.close().await;
    let record = record.ok_or_else(|| absent(&args.key))?;
    if args.format.json {
        let text = match json::parse(&record.value)? {
            Some(value) => json::to_text("value", &value)?,
            None => "null".to_owned(),
        };
        output::bytes(text.as_bytes());
    } else {
        output::bytes(&record.value);
    }
    Ok(Exit::Done)
}

/// `plimsoll entry kv:NAMESPACE`.
pub async fn entry(namespace: &str, args: &KeyArgs) -> Answer {
    let session = Session::open(&args.place.config, namespace).await?;
    let record = session.namespace.get(args.key.as_bytes()).await?;
    session.close().await;
    output::record(&args.key, &record.ok_or_else(|| absent(&args.key))?, &args.format);
    Ok(Exit::Done)
}

/// `plimsoll has kv:NAMESPACE`.
pub async fn has(namespace: &str, args: &KeyArgs) -> Answer {
    let session = Session::open(&args.place.config, namespace).await?;
    let record = session.namespace.get(args.key.as_bytes()).await?;
    session.close().await;
    Ok(output::answer(record.is_some()))
}

/// `plimsoll put kv:NAMESPACE`, and `set`.
pub async fn put(namespace: &str, at: &KeyArgs, args: &ValueArgs) -> Answer {
    let options = put_options(args)?;
    let value = value_bytes(args, KV_VALUE_BYTES_MAX)?;
    if at.format.json {
        json::parse(&value).map_err(|error| error.context("the value of --json"))?;
    }
    let session = Session::open(&at.place.config, namespace).await?;
    warn_if_volatile(&session.engine).await;
    session.namespace.put(at.key.as_bytes(), value, options).await?;
    session.close().await;
    Ok(Exit::Done)
}

/// `plimsoll delete kv:NAMESPACE`.
pub async fn delete(namespace: &str, args: &KeyArgs) -> Answer {
    let session = Session::open(&args.place.config, namespace).await?;
    session.namespace.delete(args.key.as_bytes()).await?;
    session.close().await;
    Ok(Exit::Done)
}

/// `plimsoll list kv:NAMESPACE`.
pub async fn list(namespace: &str, args: &ListArgs) -> Answer {
    let cursor = Cursor::parse(args.after.as_bytes())
        .map_err(|_| Error::invalid("--after takes the cursor of a page, unchanged"))?;
    let mut query = Query::new().prefix(args.prefix.clone()).cursor(cursor);
    if args.limit > 0 {
        query = query.limit(args.limit as f64)?;
    }
    let session = Session::open(&args.place.config, namespace).await?;
    let page = session.namespace.list(&query).await?;
    session.close().await;
    output::names(&page, &args.format);
    Ok(Exit::Done)
}

/// The error of a condition.
pub fn no_conditions() -> Error {
    Error::invalid(
        "KV has no conditional writes: leave --if-absent and --if-version out, or use a store",
    )
}

fn put_options(args: &ValueArgs) -> Result<PutOptions, Error> {
    if let Some(text) = &args.metadata {
        let metadata = json::parse(text.as_bytes()).map_err(|error| error.context("--metadata"))?;
        if metadata.is_none_or(|metadata| metadata.as_table().is_none()) {
            return Err(Error::invalid("--metadata must be a JSON object or array"));
        }
    }
    let expiry = Expiry::of(args.expiration, args.ttl)?;
    Ok(PutOptions { expiry, metadata: args.metadata.clone() })
}
