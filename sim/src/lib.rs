//! Whole Plimsoll clusters in one thread, every choice on record.
pub mod choices;
pub mod cli;
pub mod client;
pub mod coverage;
pub mod faults;
pub mod invariants;
pub mod rng;
pub mod runner;
pub mod scenario;
pub mod trace;
pub mod world;
