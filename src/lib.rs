//! Plimsoll: a formally tested key-value engine.
//!
//! One set of deterministic machines, several stores on them, a Lua API and a Rust API. The
//! contract stands in `docs/guarantees.md`, each promise beside the check that holds it; the way
//! through the code in `docs/ARCHITECTURE.md`.
//!
//! Most programs need [`Plimsoll`], [`Config`] and [`StoreHandle`](store::StoreHandle):
//!
//! ```
//! # #[cfg(feature = "sql")] {
//! use plimsoll::{Config, Plimsoll};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let engine = Plimsoll::open(Config::builtin(folder)).await?;
//! let cache = engine.store("app:cache").await?;
//! cache.set("user:123", "Alice", None).await?;
//! assert_eq!(cache.get("user:123").await?, Some("Alice".into()));
//! engine.close().await;
//! # Ok::<(), plimsoll::error::Error>(()) }).unwrap();
//! # }
//! ```
//!
//! Features: none is the core (machines and vocabulary, no IO); `store` adds stores, handles and
//! configuration; `fs` real files under storage; `sql` SQLite; `postgres` PostgreSQL; `serde` values as
//! Rust types; `blocking` the facade without async; `lua` the Lua surface; `cli` the binary; `raft` the
//! Raft node without IO; `crdt` the CRDT engine without IO; `node` what runs it on sockets; `http` its metrics and probes. The default has
//! all of them.

// Floor 0: the vocabulary.
pub mod clock;
pub mod codec;
pub mod entry;
pub mod error;
pub mod hlc;
pub mod keyspace;
pub mod limits;
pub mod mutant;
pub mod value;

// Floor 1: the machines, the specification that checks them, and who may do what.
pub mod check;
pub mod kv;
pub mod namespaces;
pub mod policy;
pub mod storage;

// Floor 2: protocols without IO.
#[cfg(feature = "crdt")]
pub mod crdt;
#[cfg(feature = "gossip")]
pub mod gossip;
#[cfg(feature = "raft")]
pub mod raft;

// Floor 3: adapters; a file format made of one; and what records histories.
#[cfg(feature = "store")]
pub mod history_file;
#[cfg(feature = "store")]
pub mod json;
#[cfg(feature = "raft")]
pub mod recorder;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "fs")]
pub mod storage_fs;
#[cfg(feature = "node")]
pub mod transport;

// Floor 4: the drivers.
#[cfg(feature = "node")]
pub mod node;

// Floors 5 and up: stores and their surfaces; what is told of a node over HTTP.
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "lua")]
pub mod lua;
#[cfg(feature = "store")]
pub mod registry;
#[cfg(feature = "store")]
pub mod store;

#[cfg(feature = "store")]
pub use registry::{Config, Plimsoll};

/// The Rust examples of the page run as documentation tests.
#[cfg(all(doctest, feature = "store"))]
#[doc = include_str!("../docs/permissions.md")]
struct PermissionsPage;

/// The Rust examples of the page run as documentation tests.
#[cfg(all(doctest, feature = "blocking", feature = "lua", feature = "serde", feature = "sql"))]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingPage;
