//! Whole Plimsoll clusters in one thread: virtual networks, disks and clocks, and every choice on
//! record.
//!
//! A [`World`](world::World) drives the shipped machines, event by event, in virtual time. Its
//! [`choices`] are data: drawn from a seed, or read from a schedule. Its [`invariants`] are checked
//! after every step, and what its [`client`]s were told is checked in the end. The [`runner`] runs it,
//! the command line ([`cli`]) is what `cargo sim` calls.
//!
//! The tour with examples is `docs/simulation.md`; they run as tests of this crate.
//!
//! Under the cfg `madsim` there is a second simulator, `production`: the production node on a simulated
//! runtime, with the clients of this one.
//!
//! No tokio, no threads inside a world, no real time, no randomness but from seeds. Nothing here is a
//! part of the product: it only looks at it.

pub mod choices;
pub mod cli;
pub mod client;
pub mod convergence;
pub mod coverage;
pub mod crdt;
pub mod faults;
pub mod invariants;
#[cfg(madsim)]
pub mod production;
pub mod rng;
pub mod runner;
pub mod scenario;
pub mod trace;
pub mod world;

/// The examples of the tour.
#[cfg(doctest)]
#[doc = include_str!("../../docs/simulation.md")]
struct Tour;
