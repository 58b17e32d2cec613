//! Gossip: who is there, and how what one replica learns reaches all of them, without IO.
//!
//! [`Node`] is one node's part in it: SWIM, which tells who answers, and for each of the node's replicas
//! (see [`crate::crdt`]) what is pushed, told and asked, to whom and when. It reads no clock and opens
//! nothing: time and messages go in, messages come out. All of its choices come from one seed.
//!
//! # The caller's contract
//! 1. The caller keeps what the replicas ask for ([`crate::crdt`], points 1 to 5 and 8) through
//!    [`Node::poll_record`], [`Node::handle_durable`], [`Node::wanted_reservation`] and
//!    [`Node::reserve`]. What it says may go out at once.
//! 2. [`Node::tick`] is called when [`Node::due_ms`] has come, and [`Node::poll_transmit`] is emptied
//!    after every call. Messages may be lost, repeated, reordered and late.
//! 3. A message goes to the node of the given id. Its address is that which SWIM knows; if there is none,
//!    the caller may know one. The id 0 is whoever is at the address.
//! 4. Messages are taken from nodes only that are trusted: the cluster's connections prove it.
//! 5. The listed members ([`Node::set_list`]) are those that the cluster has agreed on, not those that
//!    are seen. Who is not listed is not told anything, and not listened to, but for who is there.
//!
//! # How it keeps its promises
//! - **Nothing waits for anybody.** A node that is away costs what is said to others nothing; once it
//!   is there again, an exchange brings it what it lacks.
//! - **Traffic follows change.** A write is pushed a bounded number of times by each node. Beside that a
//!   node sends one digest and one ping in a second.
//! - **Everything is bounded**: what waits to be pushed again, what one message holds, how many nodes
//!   are remembered, exchanges under way (one for a replica).
//!
//! Not here: who belongs to the cluster, addresses' names, sockets, files.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod membership;
mod node;
mod peer;
mod random;
mod spread;

pub use membership::Sight;
pub use node::{Node, Space, Transmit};
pub use peer::Peer;
