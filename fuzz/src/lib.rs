//! What the fuzz targets run: the bodies in [`targets`], on the support that the tests have too.
//!
//! `tests/fuzz_corpus.rs` of the package above includes the same bodies, so that the corpora run on
//! a stable toolchain with every `cargo test`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the properties run sequences; a target runs one")]
#[path = "../../tests/support/explore.rs"]
mod explore;
#[allow(dead_code, reason = "each user of the support uses what it needs")]
#[path = "../../tests/support/expressions.rs"]
mod expressions;
#[path = "../../tests/support/host.rs"]
mod host;
#[allow(dead_code, reason = "each user of the support uses what it needs")]
#[path = "../../tests/support/kinds.rs"]
mod kinds;
#[path = "../../tests/support/kv_host.rs"]
mod kv_host;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "../../tests/support/kv_model.rs"]
mod kv_model;
#[cfg(feature = "mutants")]
pub mod snapshots;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "../../tests/support/stores/mod.rs"]
mod stores;
pub mod targets;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "../../tests/support/writes.rs"]
mod writes;
