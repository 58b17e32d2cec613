//! Any Rust type in a store, through serde.
//!
//! Each call is the one without `_as`, with the value made into the type, or out of it. Names of
//! their own, because the type of a value that is read can't have a default: `get` could be generic
//! only if every caller wrote the type.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreHandle;
use crate::entry::{Entry, PutOptions, Ttl};
use crate::error::{Error, Outcome, Result};
use crate::value::{Value, to_value};

impl StoreHandle {
    /// The value of a key as a type, if the key is present.
    ///
    /// ```
    /// # use plimsoll::store::{MemoryOptions, MemoryStore, StoreHandle};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct User { name: String, visits: u32 }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let users = StoreHandle::new("app:users", MemoryStore::open(MemoryOptions::default()));
    /// let alice = User { name: "Alice".into(), visits: 1 };
    /// users.set_as("alice", &alice, None).await?;
    /// assert_eq!(users.get_as("alice").await?, Some(alice));
    ///
    /// users.set("bob", "only a name", None).await?;
    /// let error = users.get_as::<User>("bob").await.unwrap_err();
    /// assert!(error.message().starts_with("the entry \"bob\": value: invalid type"));
    /// # Ok::<(), plimsoll::error::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`StoreHandle::get`]; `INVALID`, naming the key and the path within the value, if the
    /// value is not what the type takes.
    pub async fn get_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        Ok(self.entry_as(key).await?.map(|entry| entry.value))
    }

    /// The entry of a key with its value as a type, if the key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get_as`].
    pub async fn entry_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry<T>>> {
        self.entry(key).await?.map(Entry::typed).transpose()
    }

    /// Writes anything that serde can serialize. Without a time to live the entry does not expire.
    ///
    /// # Errors
    /// As [`StoreHandle::set`]; `INVALID`, naming the path, for what is no value.
    pub async fn set_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        given: &T,
        ttl: Option<Ttl>,
    ) -> Result<()> {
        let value = self.value_of(given)?;
        self.set(key, value, ttl).await
    }

    /// Writes anything that serde can serialize under a condition, and returns the new entry.
    ///
    /// # Errors
    /// As [`StoreHandle::put`]; `INVALID`, naming the path, for what is no value.
    pub async fn put_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        given: &T,
        options: PutOptions,
    ) -> Result<Entry> {
        let value = self.value_of(given)?;
        self.put(key, value, options).await
    }

    fn value_of<T: Serialize + ?Sized>(&self, given: &T) -> Result<Value> {
        let value = self.check_released().and_then(|()| to_value(given));
        value.map_err(|error: Error| error.or_outcome(Outcome::None))
    }
}
