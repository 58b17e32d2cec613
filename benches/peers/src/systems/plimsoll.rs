//! Plimsoll's own client: that of the crate, with a session for each connection, as programs use it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll::entry::{Condition, Key, ListQuery, PutOptions, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::node::{Access, Client, ClientOptions, Phase, Session};
use plimsoll::policy::Rights;
use plimsoll::store::{RaftStore, Store as _};
use plimsoll::transport::Secret;
use plimsoll::value::Value;

/// A connection, made when it is first used.
#[derive(Clone)]
pub struct Link {
    client: Client,
    store: Arc<RaftStore>,
}

impl Link {
    pub fn new(address: &str, secret: Secret) -> Self {
        let addresses = vec![address.to_owned()];
        let client = Client::new(ClientOptions { addresses, secret, name: "peers".to_owned() });
        let session = Arc::new(Session::new(Access::Client(client.clone())));
        let keyspace = Keyspace::new("bench").expect("the name is one of a keyspace");
        Self { client, store: Arc::new(RaftStore::new(session, keyspace)) }
    }

    /// Whether the node leads its cluster.
    pub async fn leads(&self) -> Result<bool, String> {
        let status = self.client.status(Duration::from_secs(1)).await.map_err(words)?;
        Ok(match status.phase {
            Phase::Member(member) => member.raft.leader == Some(member.raft.id),
            Phase::Founding(_) => false,
        })
    }

    pub async fn put(
        &self,
        key: &str,
        value: &Bytes,
        version: Option<Version>,
    ) -> Result<Version, String> {
        let condition = version.map_or(Condition::None, Condition::Version);
        let options = PutOptions { ttl: None, condition };
        let put = self.store.put(parse(key)?, Value::from(value.clone()), options).await;
        put.map(|entry| entry.version).map_err(words)
    }

    pub async fn get(&self, key: &str) -> Result<usize, String> {
        let entry = self.store.entry(&parse(key)?).await.map_err(words)?;
        let entry = entry.ok_or("the key is absent")?;
        Ok(entry.value.as_bytes().map_or(0, <[u8]>::len))
    }

    pub async fn list(&self, prefix: &str, limit: usize) -> Result<usize, String> {
        let query = ListQuery::new().prefix(prefix).limit(limit);
        let page = self.store.list(&query, &Rights::unrestricted()).await.map_err(words)?;
        Ok(page.items.len())
    }

    /// A linearizable read of whatever key, that gives up soon.
    pub async fn probe(&self, key: &str, time: Duration) -> Result<(), String> {
        let keyspace = Keyspace::new("bench").expect("the name is one of a keyspace");
        let key = plimsoll::kv::QualifiedKey::new(&keyspace, &parse(key)?);
        self.client.has(key, time).await.map(|_| ()).map_err(words)
    }
}

fn parse(key: &str) -> Result<Key, String> {
    Key::new(key).map_err(words)
}

fn words(error: plimsoll::error::Error) -> String {
    error.to_string()
}
