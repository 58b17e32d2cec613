//! Every limit has its row in `docs/limits.md` with its value, and its error names it.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use plimsoll::entry::{Key, ListQuery, Operation, PutOptions, Ttl};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::history_file;
use plimsoll::keyspace::Keyspace;
use plimsoll::limits::*;
use plimsoll::store::{MemoryOptions, MemoryStore, StoreHandle};
use plimsoll::value::{Encoded, Table, Value};

macro_rules! constants {
    ($($name:ident),* $(,)?) => {
        BTreeMap::from([$((stringify!($name), u128::try_from($name).unwrap())),*])
    };
}

fn constants() -> BTreeMap<&'static str, u128> {
    let mut all = constants_of_stores();
    all.extend(constants_of_members_and_tools());
    all
}

fn constants_of_stores() -> BTreeMap<&'static str, u128> {
    constants![
        KEY_BYTES_MAX,
        VALUE_BYTES_MAX,
        VALUE_DEPTH_MAX,
        TTL_MS_MAX,
        PAGE_ITEMS_DEFAULT,
        PAGE_ITEMS_MAX,
        PAGE_BYTES_MAX,
        TRANSACTION_OPERATIONS_MAX,
        TRANSACTION_BYTES_MAX,
        REMOVALS_MAX,
        CLIENT_SESSIONS_MAX,
        SESSION_REPLIES_MAX,
        REVISION_MAX,
        HISTORY_REVISIONS_MAX,
        HISTORY_BYTES_MAX,
        MEMORY_ENTRIES_DEFAULT,
        KEYSPACE_BYTES_MAX,
        CONFIG_FILE_BYTES_MAX,
        CONFIG_FILES_MAX,
        CONFIG_FOLDER_DEPTH_MAX,
        CONFIG_NODES_MAX,
        CONFIG_DEPTH_MAX,
        ENTRY_ID_PART_BYTES_MAX,
        POLICY_PATTERN_BYTES_MAX,
        JSON_BYTES_MAX,
        JSON_DEPTH_MAX,
        IDENTIFIER_BYTES_MAX,
        PAYLOAD_BYTES_MAX,
        SQLITE_WRITES_MAX,
        SQLITE_BLOCKING_READS_MAX,
        POSTGRES_ACCESSES_MAX,
        POSTGRES_CONNECTIONS_MAX,
        POSTGRES_STATEMENTS_MAX,
        KV_NAMESPACE_BYTES_MAX,
        KV_KEY_BYTES_MAX,
        KV_VALUE_BYTES_MAX,
        KV_METADATA_BYTES_MAX,
        KV_PAGE_KEYS_DEFAULT,
        KV_PAGE_KEYS_MAX,
        KV_PAGE_BYTES_MAX,
        SANDBOX_MEMORY_BYTES_DEFAULT,
        SANDBOX_MEMORY_BYTES_MIN,
        SANDBOX_TIME_MS_DEFAULT,
        SANDBOX_GRACE_MS,
        SANDBOX_SOURCE_BYTES_MAX,
        SANDBOX_PATTERN_BYTES_MAX,
        SANDBOX_FORMAT_ARGUMENTS_MAX,
        SANDBOX_DATE_FORMAT_BYTES_MAX,
    ]
}

fn constants_of_members_and_tools() -> BTreeMap<&'static str, u128> {
    constants![
        NODE_NAME_BYTES_MAX,
        RAFT_REQUESTS_MAX,
        RAFT_PERSISTS_MAX,
        RAFT_MESSAGE_BYTES_MAX,
        RAFT_INFLIGHT_MESSAGES_MAX,
        RAFT_UNCOMMITTED_BYTES_MAX,
        RAFT_LOG_BYTES_MAX,
        RAFT_SNAPSHOT_KEPT_BYTES,
        RAFT_CHUNK_BYTES,
        RAFT_CHUNKS_MAX,
        RAFT_STAMP_PERIOD_MS,
        RAFT_FOUNDERS_MAX,
        RAFT_MEMBERS_MAX,
        RAFT_PROMOTION_LAG_MAX,
        CLOCK_RESERVE_MS,
        CLOCK_REPORT_MS_MAX,
        CRDT_CLOCK_BOUND_MS_DEFAULT,
        CRDT_TOMBSTONES_DEFAULT,
        CRDT_CHUNK_BYTES,
        CRDT_PATHS_MAX,
        CRDT_QUEUE_KEYS_MAX,
        CRDT_SUPERSEDED_MAX,
        CRDT_REFUSED_MAX,
        CRDT_RECORDS_MAX,
        GOSSIP_PACKET_BYTES_MAX,
        GOSSIP_ADDRESS_BYTES_MAX,
        GOSSIP_ABOUT_BYTES_MAX,
        GOSSIP_PEERS_MAX,
        GOSSIP_PUSHED_BYTES_MAX,
        GOSSIP_RUMOR_BYTES_MAX,
        FRAME_BYTES_MAX,
        HANDSHAKE_MS_MAX,
        GREETING_TEXT_BYTES_MAX,
        NODE_INBOX_MAX,
        CRDT_INBOX_MAX,
        CRDT_INBOX_BYTES_MAX,
        CRDT_BATCH_BYTES,
        CRDT_SNAPSHOT_BYTES_MIN,
        CONNECTIONS_MAX,
        LINK_BYTES_MAX,
        CLIENT_TIMEOUT_MS_MAX,
        CLIENT_REQUESTS_MAX,
        CLIENT_REQUEST_BYTES_MAX,
        CLIENT_ANSWER_BYTES_MAX,
        CLIENT_WATCHES_MAX,
        CLIENT_WATCH_BYTES_MAX,
        CLIENT_BACKUPS_MAX,
        BACKUP_CHUNK_BYTES,
        HTTP_CONNECTIONS_MAX,
        HTTP_HEAD_BYTES_MAX,
        HTTP_CONNECTION_MS_MAX,
        HTTP_PROBE_MS_MAX,
        SEGMENT_BYTES,
        IDENTITY_BYTES_MAX,
        HISTORY_LINE_BYTES_MAX,
        HISTORY_LINES_MAX,
        REPL_CHUNK_BYTES_MAX,
        REPL_HISTORY_CHUNKS_MAX,
        REPL_CANDIDATES_MAX,
        REPL_SHOWN_DEPTH_MAX,
        REPL_SHOWN_FIELDS_MAX,
        REPL_SHOWN_STRING_BYTES_MAX,
        LOG_LINES_MAX,
        BATCH_BYTES_MAX,
    ]
}

#[test]
fn every_constant_is_documented_with_its_value() {
    let source = include_str!("../src/limits.rs");
    let in_source = source.lines().filter(|line| line.starts_with("pub const ")).count();
    assert_eq!(in_source, constants().len(), "a constant is missing in this test");

    let mut documented = BTreeMap::new();
    for line in include_str!("../docs/limits.md").lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, name, value, ..] = cells[..]
            && let Some(name) = name.strip_prefix('`')
        {
            documented.insert(name.trim_end_matches('`').to_owned(), value.parse().unwrap());
        }
    }
    let expected: BTreeMap<_, u128> =
        constants().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(documented, expected);
}

fn handle(max_size: u64) -> StoreHandle {
    let store = MemoryStore::open(MemoryOptions { max_size, cleanup_interval: None });
    StoreHandle::new("app:cache", store)
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::table(), |inner, _| {
        let mut table = Table::new();
        table.push(inner);
        table.into()
    })
}

fn put(key: &str, value: impl Into<Value>) -> Operation {
    Operation::Put {
        key: Key::new(key).unwrap(),
        value: value.into(),
        options: PutOptions::default(),
    }
}

fn limit_of(error: &Error) -> u128 {
    u128::try_from(error.detail("limit").and_then(Value::as_integer).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_and_names_it() {
    let handle = handle(0);
    let seconds_max = TTL_MS_MAX as f64 / 1_000.0;
    let many: Vec<_> = (0..=TRANSACTION_OPERATIONS_MAX).map(|i| put(&format!("k{i}"), 1)).collect();
    let large = [
        put("a", vec![0; TRANSACTION_BYTES_MAX / 2]),
        put("b", vec![0; TRANSACTION_BYTES_MAX / 2]),
    ];
    let rows = [
        (handle.set(&"k".repeat(KEY_BYTES_MAX + 1), 1, None).await.unwrap_err(), KEY_BYTES_MAX),
        (handle.set("k", vec![0; VALUE_BYTES_MAX], None).await.unwrap_err(), VALUE_BYTES_MAX),
        (handle.set("k", nested(VALUE_DEPTH_MAX + 1), None).await.unwrap_err(), VALUE_DEPTH_MAX),
        (Ttl::from_seconds(seconds_max + 1.0).unwrap_err(), (TTL_MS_MAX / 1_000) as usize),
        (handle.transact(&many).await.unwrap_err(), TRANSACTION_OPERATIONS_MAX),
        (handle.transact(&large).await.unwrap_err(), TRANSACTION_BYTES_MAX),
        (Keyspace::new(&"a".repeat(KEYSPACE_BYTES_MAX + 1)).unwrap_err(), KEYSPACE_BYTES_MAX),
    ];
    for (error, limit) in rows {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert_eq!(limit_of(&error), limit as u128, "{error:?}");
    }
    assert_eq!(handle.list(&ListQuery::new()).await.unwrap().items, [], "nothing was written");
}

#[test]
fn a_line_of_a_history_that_is_too_long_is_refused() {
    let line = "x".repeat(HISTORY_LINE_BYTES_MAX + 1);
    let error = history_file::read(line.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(limit_of(&error), HISTORY_LINE_BYTES_MAX as u128);
}

#[tokio::test]
async fn what_reaches_a_limit_is_taken() {
    let handle = handle(0);
    handle.set(&"k".repeat(KEY_BYTES_MAX), 1, Ttl::from_ms(TTL_MS_MAX).unwrap()).await.unwrap();
    handle.set("deep", nested(VALUE_DEPTH_MAX), None).await.unwrap();
    let largest = Value::from(vec![0; VALUE_BYTES_MAX - 4]);
    assert_eq!(Encoded::new(&largest).unwrap().len(), VALUE_BYTES_MAX);
    handle.set("large", largest, None).await.unwrap();
    let most: Vec<_> = (0..TRANSACTION_OPERATIONS_MAX).map(|i| put(&format!("k{i}"), 1)).collect();
    assert_eq!(handle.transact(&most).await.unwrap().len(), TRANSACTION_OPERATIONS_MAX);
}

#[tokio::test]
async fn a_full_store_names_its_size_and_takes_overwrites_and_deletes() {
    let handle = handle(2);
    handle.set("a", 1, None).await.unwrap();
    handle.set("b", 1, None).await.unwrap();
    let error = handle.set("c", 1, None).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));
    assert!(error.retryable());
    assert_eq!(limit_of(&error), 2);
    handle.set("a", 2, None).await.unwrap();
    assert!(handle.delete("b", None).await.unwrap());
    handle.set("c", 1, None).await.unwrap();
}

#[tokio::test]
async fn pages_end_at_their_limits_and_say_so() {
    let handle = handle(0);
    for i in 0..=PAGE_ITEMS_MAX {
        handle.set(&format!("k{i:05}"), i, None).await.unwrap();
    }
    for (limit, items) in [(0, PAGE_ITEMS_DEFAULT), (7, 7), (5_000, PAGE_ITEMS_MAX)] {
        let page = handle.list(&ListQuery::new().limit(limit)).await.unwrap();
        assert_eq!((page.items.len(), page.has_more), (items, true), "limit {limit}");
    }
    for i in 0..6 {
        handle.set(&format!("large{i}"), vec![0; VALUE_BYTES_MAX - 4], None).await.unwrap();
    }
    let page = handle.list(&ListQuery::new().prefix("large")).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (PAGE_BYTES_MAX / VALUE_BYTES_MAX, true));
    let rest = handle.list(&ListQuery::new().prefix("large").after(page.cursor)).await.unwrap();
    assert_eq!((rest.items.len(), rest.has_more), (2, false));
}
