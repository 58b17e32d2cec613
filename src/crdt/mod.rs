//! The CRDT engine: a replicated map of last writes that is always writable, without IO.
//!
//! [`Replica`] is one member's copy of the map, with the clock that stamps its writes and everything
//! that makes copies the same again: pushes of new writes, digests, exchanges, and the collection of
//! tombstones. It reads no clock, draws no random number, opens nothing and waits for nothing: time and
//! messages go in, messages and records come out. Two replicas of a node, one durable and one not, are
//! two values of this type and know nothing of each other.
//!
//! # The caller's contract
//! 1. Each start of a member has a number greater than every earlier one. It is durable before the
//!    start, or else larger for certain, as a clock that never goes back would make it. A member that
//!    is told of a later start of itself refuses calls with [`Refusal::Superseded`]: it starts again
//!    with a number above that one.
//! 2. [`Replica::begin`] is for a start without everything that was said or acknowledged before, the
//!    very first one included. [`Replica::resume`] is for a start with all of it: the snapshot that was
//!    saved last with every record that was reported as durable since. Whoever is not sure begins.
//! 3. What [`Replica::wanted_reservation`] asks for is made durable, then reported with
//!    [`Replica::reserve`], and given to the next start; on every node, durable or not.
//! 4. Of a durable replica, the [`Replica::snapshot`] is saved right after it has begun, before anything
//!    else. What [`Replica::poll_record`] gives is appended in its order, made durable, and reported
//!    with [`Replica::handle_durable`]; several may be made durable by one sync. A write is acknowledged
//!    once the record that [`Written::record`] names is durable. A new snapshot replaces the records up
//!    to the number that comes with it.
//! 5. If a record cannot be made durable, the replica is dropped: what is on disk is then only good to
//!    begin with.
//! 6. Messages that come out may go out at once: what must be durable before it is said has been held
//!    back. They may be lost, repeated, reordered and late.
//! 7. [`Replica::handle_tick`], [`Replica::collect`] and digests to some member come regularly; what
//!    [`Replica::poll_push`] gives goes to a few members. An exchange is begun with [`Replica::ask`] with
//!    those that [`Replica::unmet`] names, and with whoever covers more
//!    ([`Handled::is_behind`]); its last step is repeated ([`Replica::ask_again`]) until it is answered,
//!    or the exchange is given up for another one.
//! 8. Who is a member is agreed on elsewhere. Each agreement is a [`MemberList`] with a greater epoch
//!    than the one before, and each member hears of it at its own time, of some perhaps never. A list
//!    is made durable, on every node, before it is given to [`Replica::set_list`] or to a start; a
//!    start gets the last one that was given, or a later one. A member that was removed never comes
//!    back, nor does its id; one that is added is new, and begins with nothing. Members with different
//!    lists do not hear each other, so each has to get the last list in the end. A member that is not
//!    listed any more refuses calls with [`Refusal::Removed`].
//!
//! # How it keeps its promises
//! - **The last write wins, everywhere the same.** Stamps are in one total order, and merging keeps the
//!   greater one, so the order and number of messages do not matter.
//! - **A write is later than what it has seen.** The clock observes every time that comes in; an
//!   exchange brings the server's clock too, for what the server has superseded or forgotten.
//! - **What is covered is included.** The coverage grows by single writes with the writes, and by all
//!   that another one covers only once an exchange is complete.
//! - **What was deleted stays so.** Tombstones are dropped by the rule in `docs/design/crdt.md` only.
//! - **Nothing is said that could be forgotten.** A durable replica shows, pushes, digests and answers
//!   what is durable, and nothing else.
//!
//! Not here: the agreement on who is a member, whom to talk to and when, files, sockets, and keyspaces'
//! settings.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod exchange;
mod journal;
mod lww;
mod message;
mod replica;
mod rule;
mod stamp;
mod trie;
mod vector;
mod view;
mod wire;

pub use journal::Kept;
pub use lww::{Content, Entry, LwwMap, Merged, Standing};
pub use message::{Answer, Ask, Body, Envelope, ExchangeId, Pushed, Question, Reply};
pub use replica::{Handled, Options, Refusal, Replica, Start, Status, Written};
pub use rule::{Image, MemberList};
pub use stamp::{Author, Dot, Incarnation, MemberId, Stamp};
pub use trie::{FANOUT, Look, Path, Trie, Walk};
pub use vector::Coverage;
pub use view::Shown;
