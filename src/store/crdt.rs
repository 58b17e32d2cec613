//! `store.kv.crdt`: a namespace of the cluster's replicas.
//!
//! A write is made by one node, at once, and reaches the others by gossip; a read is of the node that is
//! asked. Of concurrent writes to a key the one with the greater stamp stays, on every node the same. The
//! stamp is the version: it names the write, and says nothing of what others are writing, so there are no
//! conditions, no transactions and no watches here.
//!
//! What has expired is gone by the clock of whoever reads: of the node that is asked.

use std::time::Duration;

use async_trait::async_trait;

use super::paging::{Filling, page_from};
use super::{Backend, Consistency, Info, Store, Watch, WatchQuery};
use crate::crdt::Shown;
use crate::entry::{Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version};
use crate::error::{Error, Result};
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::{KeyPage, QualifiedKey};
use crate::node::{Access, Replicas};
use crate::policy::Rights;
use crate::value::{Encoded, Value};

/// A view on a cluster's replicas.
pub struct CrdtStore {
    replicas: Replicas,
}

impl CrdtStore {
    /// The view on a namespace, which every node has to take for durable or for not durable alike.
    #[must_use]
    pub const fn new(access: Access, keyspace: Keyspace, durable: bool) -> Self {
        let space = if durable { Space::Durable } else { Space::Volatile };
        Self { replicas: Replicas::new(access, space, keyspace) }
    }

    /// Waits until the replica of a node in this process serves, for some time at most: that of a node
    /// alone does as soon as it has started.
    pub async fn until_joined(&self, wait: Duration) {
        self.replicas.until_joined(wait).await;
    }

    fn qualified(&self, key: &Key) -> QualifiedKey {
        QualifiedKey::new(self.replicas.keyspace(), key)
    }

    async fn page(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        let rights = rights.clone();
        let admits = rights.are_restricted().then_some(move |key: &str| rights.may_read(key));
        Ok(to_page(self.replicas.page(query, admits, TIMEOUT).await?))
    }
}

#[async_trait]
impl Store for CrdtStore {
    fn info(&self) -> Info {
        Info {
            id: String::new(),
            backend: Backend::KvCrdt,
            consistency: Consistency::Eventual,
            durable: self.replicas.space() == Space::Durable,
            list: true,
            versioned: true,
            conditional_put: false,
            ttl: true,
            transact: false,
            watch: false,
            synchronous: None,
        }
    }

    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        let shown = self.replicas.get(self.qualified(key), TIMEOUT).await?;
        Ok(shown.map(|shown| to_entry(key.clone(), &shown)))
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        self.replicas.has(self.qualified(key), TIMEOUT).await
    }

    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry> {
        let (place, encoded) = (self.qualified(&key), Encoded::new(&value)?);
        let stamped = self.replicas.put(place, encoded, options.ttl, TIMEOUT).await?;
        let (version, expires_at) = (stamped.stamp.into(), stamped.deadline);
        Ok(Entry { key, value, version, expires_at })
    }

    async fn delete(&self, key: &Key, _: Option<Version>) -> Result<bool> {
        Ok(self.replicas.delete(self.qualified(key), TIMEOUT).await?.was_shown)
    }

    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        if !self.replicas.is_client() || !rights.are_restricted() {
            return self.page(query, rights).await;
        }
        let (all, mut filling) = (Rights::unrestricted(), Filling::new(query, rights));
        loop {
            let page = self.page(filling.query(), &all).await?;
            if let Some(page) = filling.take(page) {
                return Ok(page);
            }
        }
    }

    async fn transact(&self, _: &[Operation]) -> Result<Vec<OperationResult>> {
        Err(unsupported("transactions"))
    }

    async fn watch(&self, _: &WatchQuery, _: &Rights) -> Result<Watch> {
        Err(unsupported("watches"))
    }
}

fn to_entry(key: Key, shown: &Shown) -> Entry {
    Entry {
        key,
        value: shown.value.decode(),
        version: shown.stamp.into(),
        expires_at: shown.deadline,
    }
}

fn to_page(page: KeyPage<Shown>) -> Page {
    let items = page.items.iter().map(|(key, shown)| to_entry(key.to_key(), shown)).collect();
    page_from(items, page.has_more)
}

/// What the handle asks for only if `info()` claims it.
fn unsupported(what: &str) -> Error {
    Error::invalid(format!("a kv.crdt store has no {what}"))
}

/// How long an operation takes at most.
const TIMEOUT: Duration = Duration::from_secs(5);
