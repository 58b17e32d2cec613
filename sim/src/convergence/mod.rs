//! Gossip in figures: how soon a write is everywhere, and in how many bytes; what it takes to repair a
//! replica that lacks some keys.
//!
//! `cargo sim convergence` runs the shipped `gossip::Node` in a [`Swarm`](swarm::Swarm), in virtual time
//! and without faults but for loss and cuts: what faults do to it is the matter of `cargo sim --scenario
//! crdt`. Everything comes from a seed, so the figures are the same on every machine.

pub mod cli;
mod plot;
pub mod repair;
pub mod spread;
pub mod swarm;
