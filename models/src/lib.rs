//! Models of Plimsoll's protocols: small clusters in which every interleaving is searched.
//!
//! A model is the rule of a protocol, written as plain functions, in a world of a few members, writes
//! and faults. The search visits every state that can be reached within the bounds, breadth first, so
//! the trace of what it finds is one of the shortest. Every property that always holds stands beside
//! something that sometimes happens, and every part of a rule beside the trace that refutes the rule
//! without it.
//!
//! `cargo models --list` shows what there is; `docs/models.md` tells how to read it.

pub mod catalogue;
pub mod cli;
pub mod collection;
pub mod search;
