//! `store.kv.raft`: a keyspace of the cluster's machine.
//!
//! Every operation is linearizable, reads included: a majority confirms who leads after the read
//! began, and the machine that is looked at has applied all that was acknowledged before. Writes are
//! applied exactly once, under the session of the engine that all of its stores share.
//!
//! No reads without a majority, no stale reads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::machine::{
    closed, compacted, filtered, page_of, put_entry, refused, start_of_watch, to_entry, to_page,
    to_put, to_result, to_write, unexpected,
};
use super::paging::Filling;
use super::watch::{ChangeSource, NextChange};
use super::{Backend, Consistency, Info, Resolved, Store, Watch, WatchQuery};
use crate::clock::UnixMillis;
use crate::entry::{
    Change, Condition, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::kv::{Action, QualifiedKey, Reply, Write, Written};
use crate::node::{Access, Client, ClientWatch, Held, Published, Session};
use crate::policy::{Permission, Rights, Subject};
use crate::value::Value;

/// A view on a cluster's machine.
pub struct RaftStore {
    session: Arc<Session>,
    keyspace: Keyspace,
}

impl RaftStore {
    /// The view on a keyspace, under a session that may be shared.
    #[must_use]
    pub const fn new(session: Arc<Session>, keyspace: Keyspace) -> Self {
        Self { session, keyspace }
    }

    fn qualified(&self, key: &Key) -> QualifiedKey {
        QualifiedKey::new(&self.keyspace, key)
    }

    async fn run(&self, action: Action) -> Result<Reply> {
        match self.session.write(action.clone(), TIMEOUT).await? {
            Reply::Refused(refusal) => Err(refused(&refusal, &action)),
            reply => Ok(reply),
        }
    }

    /// Whether an action is one that the rights allow, on this store.
    fn check_rights(&self, action: &Action, rights: &Rights) -> Result<()> {
        for write in action.writes() {
            let (key, keyspace) = (write.key().key(), write.key().keyspace());
            if keyspace != self.keyspace.as_str() {
                return Err(Error::invalid("the operation is one of another store"));
            }
            let permission = match write {
                Write::Put { .. } => Permission::KeySet,
                Write::Delete { .. } => Permission::KeyDelete,
                Write::Check { .. } => Permission::KeyGet,
            };
            rights.check(permission, Subject::Key(key))?;
            if write.condition() != Condition::None {
                rights.check(Permission::KeyGet, Subject::Key(key))?;
            }
        }
        Ok(())
    }

    async fn page_of_client(
        &self,
        client: &Client,
        query: &ListQuery,
        rights: &Rights,
    ) -> Result<Page> {
        if !rights.are_restricted() {
            return Ok(to_page(&client.page(&self.keyspace, query, TIMEOUT).await?));
        }
        let mut filling = Filling::new(query, rights);
        loop {
            let page = client.page(&self.keyspace, filling.query(), TIMEOUT).await?;
            if let Some(page) = filling.take(to_page(&page)) {
                return Ok(page);
            }
        }
    }

    async fn write_one(&self, write: Write) -> Result<Written> {
        match self.run(Action::Write { write, make_room: false }).await? {
            Reply::Written(written) => Ok(written),
            reply => Err(unexpected(&reply)),
        }
    }
}

#[async_trait]
impl Store for RaftStore {
    fn info(&self) -> Info {
        Info {
            id: String::new(),
            backend: Backend::KvRaft,
            consistency: Consistency::Linearizable,
            durable: true,
            list: true,
            versioned: true,
            conditional_put: true,
            ttl: true,
            transact: true,
            watch: true,
            synchronous: None,
        }
    }

    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        let record = self.session.access().record(self.qualified(key), TIMEOUT).await?;
        Ok(record.map(|record| to_entry(key.clone(), &record)))
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        self.session.access().has(self.qualified(key), TIMEOUT).await
    }

    async fn put(&self, key: Key, value: Value, options: PutOptions) -> Result<Entry> {
        let write = to_put(&self.keyspace, &key, &value, options)?;
        put_entry(key, value, self.write_one(write).await?)
    }

    async fn delete(&self, key: &Key, if_version: Option<Version>) -> Result<bool> {
        match self.write_one(Write::Delete { key: self.qualified(key), if_version }).await? {
            Written::Deleted(was_present) => Ok(was_present),
            written => Err(unexpected(&Reply::Written(written))),
        }
    }

    async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        match self.session.access() {
            Access::Node(node) => {
                let machine = node.read(TIMEOUT).await.map_err(|failure| failure.to_error())?;
                page_of(machine, &self.keyspace, query, UnixMillis(0), rights).await
            }
            Access::Client(client) => self.page_of_client(client, query, rights).await,
        }
    }

    async fn transact(&self, operations: &[Operation]) -> Result<Vec<OperationResult>> {
        let writes = operations
            .iter()
            .map(|operation| to_write(&self.keyspace, operation))
            .collect::<Result<Vec<_>>>()?;
        match self.run(Action::Transact { writes, make_room: false }).await? {
            Reply::Transacted(written) => Ok(operations
                .iter()
                .zip(written)
                .map(|(operation, written)| to_result(operation, written))
                .collect()),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn watch(&self, query: &WatchQuery, rights: &Rights) -> Result<Watch> {
        match self.session.access() {
            Access::Node(node) => {
                let published = node.published();
                // From now: nothing that was acknowledged before is told.
                let machine = node.read(TIMEOUT).await.map_err(|failure| failure.to_error())?;
                let seen = match query.after {
                    None => machine.revision(),
                    Some(version) => start_of_watch(&machine, version)?,
                };
                Ok(Watch::new(MachineChanges {
                    published,
                    _held: node.metrics().watches.hold(),
                    keyspace: self.keyspace.clone(),
                    epoch: machine.epoch(),
                    seen,
                    delivered: query.after,
                    prefix: query.prefix.clone(),
                    rights: rights.clone(),
                }))
            }
            Access::Client(client) => {
                let (keyspace, prefix) = (&self.keyspace, query.prefix.clone());
                let watch = client.watch(keyspace, prefix, query.after, TIMEOUT).await?;
                Ok(Watch::new(ClientChanges {
                    watch,
                    keyspace: self.keyspace.clone(),
                    prefix: query.prefix.clone(),
                    rights: rights.clone(),
                }))
            }
        }
    }

    async fn resolve(&self, operation: &str, rights: &Rights) -> Result<Resolved> {
        if let Some(action) = self.session.action_of(operation) {
            self.check_rights(&action, rights)?;
        }
        let (action, reply) = self.session.resolve(operation, TIMEOUT).await?;
        let written = match reply {
            Reply::Refused(refusal) => return Err(refused(&refusal, &action)),
            Reply::Written(written) => vec![written],
            Reply::Transacted(written) => written,
            reply => return Err(unexpected(&reply)),
        };
        let is_transaction = matches!(action, Action::Transact { .. });
        let results = action.writes().iter().zip(written);
        let mut results: Vec<_> =
            results.map(|(write, written)| of_write(write, written)).collect();
        Ok(match results.pop() {
            Some(OperationResult::Put(entry)) if !is_transaction => Resolved::Put(entry),
            Some(OperationResult::Deleted(was)) if !is_transaction => Resolved::Deleted(was),
            last => Resolved::Transacted(results.into_iter().chain(last).collect()),
        })
    }
}

/// What a write gave, from the command itself.
fn of_write(write: &Write, written: Written) -> OperationResult {
    match (write, written) {
        (Write::Put { key, value, .. }, Written::Put { version, deadline }) => {
            OperationResult::Put(Entry {
                key: key.to_key(),
                value: value.decode(),
                version,
                expires_at: deadline,
            })
        }
        (_, Written::Deleted(was_present)) => OperationResult::Deleted(was_present),
        (_, Written::Checked | Written::Put { .. }) => OperationResult::Checked,
    }
}

/// The changes of a keyspace as a node applies them, from a revision on.
struct MachineChanges {
    published: watch::Receiver<Published>,
    /// It counts among the watches of the node.
    _held: Held,
    keyspace: Keyspace,
    epoch: u64,
    /// The last revision looked at.
    seen: u64,
    /// The last revision delivered, or where the watch started.
    delivered: Option<Version>,
    prefix: Vec<u8>,
    rights: Rights,
}

impl MachineChanges {
    /// The next change that is already there; an error once there will be none.
    fn poll(&mut self) -> Result<Option<Change>> {
        let (machine, is_over) = {
            let published = self.published.borrow_and_update();
            (published.machine.clone(), published.stopped.is_some())
        };
        let changes = machine.changes_after(self.seen).filter(|_| machine.epoch() == self.epoch);
        let Some(changes) = changes else { return Err(compacted(self.delivered)) };
        for change in changes {
            self.seen = change.revision;
            let (prefix, rights) = (&self.prefix, &self.rights);
            if let Some(change) = filtered(change, &self.keyspace, prefix, rights, self.epoch) {
                self.delivered = Some(change.revision);
                return Ok(Some(change));
            }
        }
        if is_over { Err(closed()) } else { Ok(None) }
    }
}

impl ChangeSource for MachineChanges {
    fn next(&mut self) -> NextChange<'_> {
        Box::pin(async move {
            loop {
                if let Some(change) = self.poll()? {
                    return Ok(change);
                }
                if self.published.changed().await.is_err() {
                    return Err(closed());
                }
            }
        })
    }
}

/// The changes of a keyspace as a client is told them, without those that may not be read.
struct ClientChanges {
    watch: ClientWatch,
    keyspace: Keyspace,
    prefix: Vec<u8>,
    rights: Rights,
}

impl ChangeSource for ClientChanges {
    fn next(&mut self) -> NextChange<'_> {
        Box::pin(async move {
            loop {
                let (epoch, change) = self.watch.next().await?;
                let change = filtered(&change, &self.keyspace, &self.prefix, &self.rights, epoch);
                if let Some(change) = change {
                    return Ok(change);
                }
            }
        })
    }
}

/// How long an operation takes at most.
const TIMEOUT: Duration = Duration::from_secs(5);
