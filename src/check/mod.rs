//! What the engine is checked against: the contract of a store, written a second time.
//!
//! [`spec`] says what a store answers, [`session`] how often a command of a client is executed.
//! Both are sequential, unhurried and as plain as the sentences of `docs/semantics.md`; whoever
//! doubts an answer of the engine reads them beside it.
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
pub mod violation;
pub mod witness;
