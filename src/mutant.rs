//! Mutants: deliberate bugs, each behind a name, that the tests of the tests switch on.
//!
//! `mutant!("name")` is the literal `false` unless the private feature `mutants` is on, so no
//! shipped build contains one. With the feature, a mutant is active on the thread that asked for
//! it. Every name must be caught by a check: `tests/mutants.rs` sees to those in `ALL`,
//! `tests/access_mutants.rs` to those in `ACCESS`, and `kv_mutants`, `check_mutants`, `crdt_mutants`,
//! `storage_mutants`, `raft_mutants` and, for the list `REPLICAS`, `node_crdt_mutants` there to those in
//! the lists of these names. Those in `GOSSIP` are for `sim/tests/gossip_mutants.rs`, those in `NODE` for
//! `cargo madsim --mutants`, and those in `MEMBERS` for the unit tests of the reconciler.

/// `true` where the named mutant is active on this thread.
macro_rules! mutant {
    ($name:literal) => {
        cfg!(feature = "mutants") && $crate::mutant::is_active($name)
    };
}
pub(crate) use mutant;

#[cfg(feature = "mutants")]
pub use switch::{
    ACCESS, ALL, CHECK, CRDT, FOUNDING, GOSSIP, KV, MEMBERS, NODE, RAFT, REPLICAS, STORAGE,
    is_active, set,
};

/// Never called: what the macro expands to type-checks with and without the feature.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_active(_: &'static str) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    /// The mutants of the state machine.
    pub const ALL: &[&str] = &[
        "absent condition sees an expired entry",
        "advance removes without a limit",
        "condition compares revisions only",
        "deadline from the stamp",
        "delete takes no revision",
        "delete finds an expired entry",
        "digest forgets the deadline",
        "expired entry is overwritten without its expire event",
        "expired rows count towards the page limit",
        "expiry index keeps the old deadline",
        "failed write takes a revision",
        "history is never compacted",
        "log time goes back",
        "only the last reply is kept",
        "overwriting keeps the old deadline",
        "page starts at the cursor",
        "prefix escapes the keyspace",
        "purge takes its own revision",
        "repeated command is applied again",
        "restore keeps the epoch",
        "restore keeps the sessions",
        "sequence below low is applied",
        "sequence numbers have no upper end",
        "sessions are evicted by age",
        "sessions missing from the snapshot",
        "snapshot is not compared with its digest",
        "transaction applies what precedes the failure",
        "unknown session is opened silently",
    ];

    /// The mutants of permissions.
    pub const ACCESS: &[&str] = &[
        "condition needs no right to read",
        "denied keys count towards the page limit",
        "denied keys make a page have more",
        "listing shows what may not be read",
        "policy that denies does not win",
        "transaction needs no rights",
        "watch tells changes that may not be read",
        "what no policy allows is allowed",
    ];

    /// The mutants of namespaces.
    pub const KV: &[&str] = &[
        "cursor starts at its name",
        "entry is present at its expiration",
        "expiration is rounded down",
        "expiration order keeps an overwritten one",
        "full page is the last",
        "page is longer than its limit",
        "past expiration is rounded into the future",
        "ttl of zero lasts to the end of the second",
    ];

    /// The mutants of the Raft node.
    pub const RAFT: &[&str] = &[
        "configuration missing in the snapshot",
        "dropped read is not issued again",
        "entries join a waiting message",
        "expiry by the local clock",
        "joint phase is left early",
        "late clocks count",
        "leader forgets the last log time",
        "leader's clock without the quorum",
        "read at an old commit index",
        "read context restarts",
        "read without ReadIndex",
        "removal told before it is durable",
        "removed node votes",
        "stamps follow the wall clock",
        "vote sent before it is durable",
    ];

    /// The mutants of the CRDT engine: the refuted variants of the rule of collection, in the order of
    /// its sentences, then others.
    pub const CRDT: &[&str] = &[
        "snapshot same incarnation",
        "any snapshot",
        "tables not carried",
        "old digests kept",
        "ended pushes",
        "ended syncs",
        "ended digests",
        "fixed cut",
        "no join",
        "join with unjoined",
        "join needs joined",
        "join once met",
        "messages before join",
        "joiner not recorded",
        "stale sync joins",
        "collector not whole",
        "digests of not whole",
        "prefix digests",
        "coverage before entries",
        "no containment",
        "alive members only",
        "collected by age",
        "unmet not asked",
        "no receive filter",
        "no drop in sync",
        "epoch forgotten",
        "other epoch pushes",
        "other epoch syncs",
        "other epoch digests",
        "unlisted heard",
        "unlisted served",
        "digests over change",
        "join at change",
        "dropped at deadline",
        "expiry deletes",
        "clock restarts",
        "received times are not observed",
        "time from the far future is taken",
        "counter restarts",
        "equal stamps keep the own value",
        "deadline is not replicated",
        "crdt snapshot is not compared with its digest",
        "told before it is durable",
    ];

    /// The mutants of founding a cluster.
    pub const FOUNDING: &[&str] = &[
        "founded before all have pledged",
        "pledge told before it is durable",
        "second pledge is taken",
    ];

    /// The mutants of what stands between a node and its clients, and of who becomes a member. They show
    /// on the network only.
    pub const NODE: &[&str] = &[
        "answer is taken for another request",
        "connected client keeps no deadline",
        "learner's predecessor stays a voter",
        "member that has moved is not put right",
        "resolving takes a new number",
        "second attempt denies the first",
        "served read without ReadIndex",
        "watch goes on from now",
        "watch goes on one revision late",
        "watch tells only the newest change",
    ];

    /// The mutants of the rules by which a leader changes the members.
    pub const MEMBERS: &[&str] = &[
        "a pause is time of watching",
        "failed voter is removed alone",
        "failure domains count for nothing",
        "gossip alone finds who is away",
        "leader alone finds who is away",
        "leader makes itself a learner",
        "members are removed without a majority",
        "new leader has watched before",
        "node that is not eligible votes",
        "places are changed for nothing",
        "places are changed while somebody is away",
        "removed node is added again",
        "room for any number",
    ];

    /// The mutants of storage.
    pub const STORAGE: &[&str] = &[
        "batch number is reused",
        "corrupt middle is cut as a tail",
        "cut is not synced",
        "segment is deleted too early",
        "snapshot is not atomic",
        "sync error is ignored",
        "sync is skipped",
        "torn tail is accepted",
        "valid tail is dropped",
    ];

    /// The mutants of the history checker.
    pub const CHECK: &[&str] = &[
        "absence never conflicts",
        "certificate is not verified",
        "chain links are ignored",
        "cycles are not looked for",
        "empty history passes",
        "expiry is no reason for absence",
        "order along a chain is not checked",
        "pages are not compared",
        "presence needs no write",
        "real time is not checked",
        "refusals are no observations",
        "second execution is accepted",
        "ttl is ignored",
        "unknown outcome ends a call",
        "unlabelled call is left out",
        "version may be made twice",
        "version that nobody made is accepted",
        "watch may miss a revision",
        "zones may overlap",
    ];

    /// The mutants of gossip.
    pub const GOSSIP: &[&str] = &["hints are not followed", "nobody asks for what was lost"];

    /// The mutants of what drives replicas in a node.
    pub const REPLICAS: &[&str] = &[
        "bound of the clock is used before it is durable",
        "durable replica resumes after its disk has failed",
        "replica's write is answered before it is durable",
    ];

    const LISTS: [&[&str]; 12] =
        [ALL, ACCESS, KV, CHECK, CRDT, FOUNDING, GOSSIP, MEMBERS, NODE, RAFT, REPLICAS, STORAGE];

    thread_local! {
        static ACTIVE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Activates a mutant on this thread, or none.
    ///
    /// # Panics
    /// If there is no mutant of that name.
    pub fn set(name: Option<&str>) {
        let known = name.map(|name| {
            *LISTS
                .iter()
                .copied()
                .flatten()
                .find(|known| **known == name)
                .unwrap_or_else(|| panic!("no mutant {name:?}"))
        });
        ACTIVE.set(known);
    }

    /// Whether a mutant is active on this thread. Tests ask for those that are not the engine's own.
    #[must_use]
    pub fn is_active(name: &'static str) -> bool {
        debug_assert!(LISTS.iter().any(|l| l.contains(&name)), "{name:?} is not listed");
        ACTIVE.get() == Some(name)
    }
}
