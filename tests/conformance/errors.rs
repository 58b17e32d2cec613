//! Bad input, row by row, and every kind of error with the call that yields it.

use std::collections::BTreeSet;

use plimsoll::entry::{Condition, Key, Ttl, Version};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, Reply, SessionId, SessionStamp, StateMachine, Write};
use plimsoll::limits::{KEY_BYTES_MAX, SESSION_REPLIES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use plimsoll::value::{Table, Value};

use crate::kinds::Kind;
use crate::{Store, for_every_kind};

/// What was done, the error, and what its message must say.
type Row = (&'static str, Error, &'static str);

/// Bad input that every kind refuses.
async fn bad_writes(store: &Store) -> Vec<Row> {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let deep = (0..VALUE_DEPTH_MAX)
        .fold(Value::table(), |inner, _| [(1, inner)].into_iter().collect::<Table>().into());
    let large = vec![0_u8; 2 * VALUE_BYTES_MAX];
    vec![
        ("empty key", store.set("", 1, None).await.unwrap_err(), "the key is empty"),
        ("long key", store.set(&long, 1, None).await.unwrap_err(), "1025 bytes, the limit is 1024"),
        ("NUL in a key", store.set("a\0b", 1, None).await.unwrap_err(), "NUL byte at byte 1"),
        ("deep value", store.set("k", deep, None).await.unwrap_err(), "limit is 64 levels"),
        ("large value", store.set("k", large, None).await.unwrap_err(), "limit is 1048576"),
        ("delete: empty key", store.delete("", None).await.unwrap_err(), "the key is empty"),
        ("delete: long key", store.delete(&long, None).await.unwrap_err(), "the limit is 1024"),
        ("delete: NUL", store.delete("\0", None).await.unwrap_err(), "NUL byte at byte 0"),
    ]
}

async fn bad_reads(store: &Store) -> Vec<Row> {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    vec![
        ("get: empty key", store.get("").await.unwrap_err(), "the key is empty"),
        ("entry: long key", store.entry(&long).await.unwrap_err(), "the limit is 1024"),
        ("has: NUL", store.has("a\0").await.unwrap_err(), "NUL byte at byte 1"),
    ]
}

/// What the types of the arguments refuse before there is a call.
fn bad_arguments() -> Vec<Row> {
    let ttl = |seconds| Ttl::from_seconds(seconds).unwrap_err();
    let version = |text| Version::parse(text).unwrap_err();
    vec![
        ("key: not UTF-8", Key::from_bytes(b"a\xff").unwrap_err(), "not UTF-8: bad byte at 1"),
        ("ttl: negative", ttl(-1.0), "0 or a positive number of seconds, not -1"),
        ("ttl: NaN", ttl(f64::NAN), "not NaN"),
        ("ttl: infinite", ttl(f64::INFINITY), "limit is 100 years"),
        ("ttl: 101 years", ttl(101.0 * 365.25 * 86_400.0), "limit is 100 years"),
        ("version: empty", version(""), "is no version"),
        ("version: garbage", version("x-1"), "\"x-1\" is no version"),
        ("version: not as printed", version("00000000000000E0-1"), "pass on a version"),
        ("keyspace", Keyspace::new("A").unwrap_err(), "is no namespace"),
    ]
}

#[tokio::test]
async fn bad_input_is_a_clear_error_and_nothing_is_lost() {
    for_every_kind(async |store| {
        let entry = store.write("k", "kept").await;
        let reads = bad_reads(store).await;
        let writes = bad_writes(store).await;
        for (what, error, message) in writes.iter().chain(&reads).chain(&bad_arguments()) {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error:?}");
            assert!(error.message().contains(message), "{what}: {error}");
            assert!(!error.retryable(), "{what}");
        }
        for (what, error, _) in &writes {
            assert_eq!(error.outcome(), Some(Outcome::None), "{what}");
        }
        for (what, error, _) in &reads {
            assert_eq!(error.outcome(), None, "{what}: a read has no outcome");
        }
        assert_eq!(store.keys().await, ["k"]);
        assert_eq!(store.entry("k").await.unwrap(), Some(entry));
    })
    .await;
}

#[tokio::test]
async fn limits_stand_in_the_details_of_their_errors() {
    for_every_kind(async |store| {
        for (what, error, _) in bad_writes(store).await {
            let is_over_a_limit = ["long", "deep", "large"].iter().any(|word| what.contains(word));
            assert_eq!(error.detail("limit").is_some(), is_over_a_limit, "{what}");
        }
    })
    .await;
}

#[test]
fn kinds_have_the_strings_and_constants_of_the_contract() {
    let expected = [
        ("NOT_FOUND", "NotFound"),
        ("ALREADY_EXISTS", "AlreadyExists"),
        ("INVALID", "Invalid"),
        ("PERMISSION_DENIED", "PermissionDenied"),
        ("UNAVAILABLE", "Unavailable"),
        ("INTERNAL", "Internal"),
        ("CANCELED", "Canceled"),
        ("CONFLICT", "Conflict"),
        ("TIMEOUT", "Timeout"),
        ("RATE_LIMITED", "RateLimited"),
        ("UNKNOWN", ""),
    ];
    assert_eq!(ErrorKind::ALL.map(|kind| (kind.constant(), kind.as_str())), expected);
}

/// Of each kind of error that this build makes, one call that yields it.
async fn one_of_each() -> Vec<(&'static str, Error)> {
    let mut store = Store::open(Kind::Memory, 2).await;
    let version = store.write("k", 1).await.version;
    store.write("l", 1).await;
    let stale = Condition::Version(version);
    store.write("k", 2).await;
    let mut watch = store.watch(&Default::default()).await.unwrap();
    let mut rows = vec![
        ("put with a version, absent key", store.write_if("x", stale).await.unwrap_err()),
        ("put only if absent", store.write_if("k", Condition::Absent).await.unwrap_err()),
        ("set with an empty key", store.set("", 1, None).await.unwrap_err()),
        ("set in a full store", store.set("m", 1, None).await.unwrap_err()),
        ("put with an old version", store.write_if("k", stale).await.unwrap_err()),
        ("next of a quiet watch", watch.next(Some(std::time::Duration::ZERO)).await.unwrap_err()),
        ("a command too far ahead of its client", too_far_ahead()),
    ];
    store.fixture.reopen().await;
    drop(store);
    rows.push(("next of a watch on a closed store", watch.next(None).await.unwrap_err()));
    #[cfg(feature = "sql")]
    rows.push(("opening a file that is no database", no_database().await));
    rows
}

/// The error of a client that has more commands open than replies are kept.
fn too_far_ahead() -> Error {
    let mut machine = StateMachine::new(1);
    let open = Command { session: None, action: Action::OpenSession };
    machine.apply(1, Default::default(), &open);
    let session = SessionId { epoch: 1, index: 1 };
    let key =
        plimsoll::kv::QualifiedKey::new(&Keyspace::new("a").unwrap(), &Key::new("k").unwrap());
    let write = Write::Delete { key, if_version: None };
    let command = Command {
        session: Some(SessionStamp { session, seq: SESSION_REPLIES_MAX, low: 0 }),
        action: Action::Write { write, make_room: false },
    };
    match machine.apply(2, Default::default(), &command).reply {
        Reply::Refused(refusal) => refusal.to_error("k"),
        reply => panic!("{reply:?}"),
    }
}

#[cfg(feature = "sql")]
async fn no_database() -> Error {
    use plimsoll::sql::{SqliteDatabase, SqliteFile, SqliteOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.db");
    std::fs::write(&path, "Dear reader, ".repeat(1_000)).unwrap();
    SqliteDatabase::open(SqliteOptions::new(SqliteFile::Path(path))).check().await.unwrap_err()
}

/// Kinds that no call of this build yields, and why.
const WITHOUT_A_CALL: &[(ErrorKind, &str)] = &[
    (ErrorKind::PermissionDenied, "without policies everything is allowed"),
    (ErrorKind::Unknown, "only scripts make errors without a kind"),
    #[cfg(not(feature = "sql"))]
    (ErrorKind::Internal, "nothing is read back that could be damaged"),
];

#[tokio::test]
async fn every_kind_of_error_has_a_call_that_yields_it() {
    let mut seen = BTreeSet::new();
    for (what, error) in one_of_each().await {
        println!("{:<18} {what}: {}", error.kind().constant(), error.message());
        assert!(seen.insert(error.kind()), "two rows yield {:?}", error.kind());
    }
    for (kind, why) in WITHOUT_A_CALL {
        assert!(seen.insert(*kind), "{kind:?} is yielded after all: {why}");
    }
    assert_eq!(seen.len(), ErrorKind::ALL.len(), "{seen:?}");
}
