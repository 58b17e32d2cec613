//! What a store adds: it refuses what its kind does not support, and what is over its limits,
//! before a command is made of it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeSet;

use super::words::{Name, Refusal};
use super::{Spec, encoded_bytes};
use crate::clock::UnixMillis;
use crate::entry::{Condition, Entry, Operation, OperationResult, PutOptions, Version};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::value::Value;

impl Spec {
    /// Writes a value.
    ///
    /// # Errors
    /// By the condition; `UNAVAILABLE` if the store is full; `INVALID` if there are no conditions.
    pub fn put(
        &mut self,
        now: UnixMillis,
        name: &Name,
        value: Value,
        options: PutOptions,
    ) -> Result<Entry, Refusal> {
        let (keyspace, key) = name.clone();
        let results = self.write(now, &keyspace, &[Operation::Put { key, value, options }]);
        match results.map_err(|refusal| Refusal { index: None, ..refusal })?.pop() {
            Some(OperationResult::Put(entry)) => Ok(entry),
            other => unreachable!("a put gives an entry, not {other:?}"),
        }
    }

    /// Deletes a key; answers whether it was present.
    ///
    /// # Errors
    /// By the condition; `INVALID` if there are no conditions.
    pub fn delete(
        &mut self,
        now: UnixMillis,
        name: &Name,
        if_version: Option<Version>,
    ) -> Result<bool, Refusal> {
        let (keyspace, key) = name.clone();
        let results = self.write(now, &keyspace, &[Operation::Delete { key, if_version }]);
        match results.map_err(|refusal| Refusal { index: None, ..refusal })?.pop() {
            Some(OperationResult::Deleted(was_present)) => Ok(was_present),
            other => unreachable!("a delete tells whether there was a key, not {other:?}"),
        }
    }

    /// Runs operations, all or none, against the state before.
    ///
    /// # Errors
    /// `INVALID` if there are no transactions, a key occurs twice or a limit is passed; else that
    /// of the first operation that fails.
    pub fn transact(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
    ) -> Result<Vec<OperationResult>, Refusal> {
        let invalid = Refusal::new(ErrorKind::Invalid);
        if !self.profile.transact || operations.len() > TRANSACTION_OPERATIONS_MAX {
            return Err(invalid);
        }
        let mut keys = BTreeSet::new();
        for (index, operation) in (1..).zip(operations) {
            if !keys.insert(operation.key()) {
                return Err(invalid.at(index));
            }
        }
        let bytes: usize = operations.iter().map(operation_bytes).sum();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(invalid);
        }
        self.write(now, keyspace, operations)
    }

    /// Writes within the limits of the store.
    fn write(
        &mut self,
        now: UnixMillis,
        keyspace: &Keyspace,
        operations: &[Operation],
    ) -> Result<Vec<OperationResult>, Refusal> {
        let invalid = Refusal::new(ErrorKind::Invalid);
        for (index, operation) in (1..).zip(operations) {
            let condition = operation.condition();
            if condition != Condition::None && !self.profile.conditional_put {
                return Err(invalid);
            }
            // A version of another kind of store: it could not have been one of this store's.
            let is_foreign = matches!(
                condition,
                Condition::Version(Version::Unversioned | Version::Stamped { .. })
            );
            if is_foreign {
                return Err(invalid.at(index));
            }
        }
        self.judge_all(now, keyspace, operations)?;
        // New keys beyond the limit are refused, unless as many keys go in the same transaction.
        let size_max = self.profile.size_max.unwrap_or(usize::MAX);
        let (mut live, mut len) = (self.live(now), self.len());
        let (live_before, len_before) = (live, len);
        for operation in operations {
            let name = (keyspace.clone(), operation.key().clone());
            let is_live = self.entry(now, &name).is_some();
            match operation {
                Operation::Put { .. } => {
                    live += usize::from(!is_live);
                    len += usize::from(!self.entries.contains_key(&name));
                }
                Operation::Delete { .. } => {
                    live -= usize::from(is_live);
                    len -= usize::from(is_live);
                }
                Operation::Check { .. } => {}
            }
        }
        if live > live_before && live > size_max {
            return Err(Refusal::new(ErrorKind::Unavailable));
        }
        let make_room = len > len_before && len > size_max;
        self.commit(now, keyspace, operations, make_room)
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    let value = match operation {
        Operation::Put { value, .. } => encoded_bytes(value),
        Operation::Delete { .. } | Operation::Check { .. } => 0,
    };
    operation.key().as_str().len() + value
}
