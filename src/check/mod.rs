//! What the engine is checked against: the contract of a store, written a second time.
//!
//! [`spec`] says what a store answers, [`session`] how often a command of a client is executed.
//! Both are sequential, unhurried and as plain as the sentences of `docs/semantics.md`; whoever
//! doubts an answer of the engine reads them beside it.
//!
//! What clients saw at the same time is a [`history`]. Two checkers look at it, and share nothing
//! but the history:
//!
//! - [`witness`] takes the order that the machine recorded and replays it. Success is a
//!   [`certificate`], which a small verifier rechecks with the specification.
//! - [`zones`] trusts no record: only versions, and the times of calls. What it finds is wrong.
//!
//! [`verdict`] puts the two together; a [`violation`] explains itself by a few calls.
//!
//! **Architecture invariant:** nothing here imports the state machine, a store or any other thing
//! that is checked: otherwise the checker would check itself. Only the vocabulary is shared.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod certificate;
mod deliveries;
pub mod history;
mod parts;
pub mod session;
pub mod spec;
pub mod verdict;
pub mod violation;
pub mod witness;
pub mod zones;
