//! Plimsoll: a formally tested key-value engine.

pub mod check;
pub mod clock;
pub mod codec;
pub mod entry;
pub mod error;
pub mod keyspace;
pub mod kv;
pub mod limits;
pub mod mutant;
#[cfg(feature = "store")]
pub mod store;
pub mod value;
