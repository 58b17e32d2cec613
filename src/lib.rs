//! Plimsoll: a formally tested key-value engine.

pub mod clock;
pub mod codec;
pub mod entry;
pub mod error;
#[cfg(feature = "lua")]
pub mod json;
pub mod keyspace;
pub mod kv;
pub mod limits;
#[cfg(feature = "lua")]
pub mod lua;
pub mod mutant;
#[cfg(feature = "store")]
pub mod registry;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "store")]
pub mod store;
pub mod value;
