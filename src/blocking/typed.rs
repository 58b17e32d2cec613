//! Any Rust type in a store, through serde, with calls that block.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;
use crate::entry::{Entry, PutOptions, Ttl};
use crate::error::Result;

impl Store {
    /// The value of a key as a type, if the key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::get_as`](crate::store::StoreHandle::get_as).
    #[track_caller]
    pub fn get_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.wait(self.handle().get_as(key))
    }

    /// The entry of a key with its value as a type, if the key is present.
    ///
    /// # Errors
    /// As [`StoreHandle::entry_as`](crate::store::StoreHandle::entry_as).
    #[track_caller]
    pub fn entry_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry<T>>> {
        self.wait(self.handle().entry_as(key))
    }

    /// Writes anything that serde can serialize. Without a time to live the entry does not expire.
    ///
    /// # Errors
    /// As [`StoreHandle::set_as`](crate::store::StoreHandle::set_as).
    #[track_caller]
    pub fn set_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        given: &T,
        ttl: Option<Ttl>,
    ) -> Result<()> {
        self.wait(self.handle().set_as(key, given, ttl))
    }

    /// Writes anything that serde can serialize under a condition, and returns the new entry.
    ///
    /// # Errors
    /// As [`StoreHandle::put_as`](crate::store::StoreHandle::put_as).
    #[track_caller]
    pub fn put_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        given: &T,
        options: PutOptions,
    ) -> Result<Entry> {
        self.wait(self.handle().put_as(key, given, options))
    }
}
