//! Every limit of the engine, in one place: each is documented in `docs/limits.md`, tested in
//! `tests/limits.rs`, and named in `details.limit` of the error that it causes.
//!
//! These are constants of the format: the state machine relies on them. Limits that a
//! configuration can set (such as `max_size`) are checked before a command is proposed.

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Largest value, in bytes of its canonical encoding.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of tables in a value; a scalar has depth 0, an empty table depth 1.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Longest time to live: 100 years of 365.25 days, in milliseconds.
pub const TTL_MS_MAX: u64 = 3_155_760_000_000;

/// Page size when `limit` is absent or 0.
pub const PAGE_ITEMS_DEFAULT: usize = 100;

/// Largest page, in items; a larger `limit` is cut to it.
pub const PAGE_ITEMS_MAX: usize = 1_000;

/// A page ends once keys and encoded values add up to this many bytes.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Most operations in one transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;

/// Largest transaction: keys and encoded values together, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 20;

/// Most expired entries that one command removes.
pub const REMOVALS_MAX: usize = 1_000;

/// Most client sessions; opening one more evicts the least recently used in log order.
pub const CLIENT_SESSIONS_MAX: usize = 10_000;

/// Most replies kept for a client session, and so the widest window of sequence numbers in flight.
pub const SESSION_REPLIES_MAX: u64 = 1_024;

/// Highest revision that a snapshot may have reached: half of what the counter holds, so that what
/// goes on from there never comes to the end.
pub const REVISION_MAX: u64 = u64::MAX >> 1;

/// Most revisions kept for watchers.
pub const HISTORY_REVISIONS_MAX: usize = 8_192;

/// Most bytes (keys and encoded values) kept for watchers.
pub const HISTORY_BYTES_MAX: usize = 16 << 20;

/// Default of `max_size` of a `store.memory` entry.
pub const MEMORY_ENTRIES_DEFAULT: u64 = 10_000;

/// Longest keyspace name, in bytes.
pub const KEYSPACE_BYTES_MAX: usize = 128;

/// Largest configuration file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: usize = 4 << 20;

/// Most `_index.yaml` files in the folder of a configuration.
pub const CONFIG_FILES_MAX: usize = 1_000;

/// Deepest folder below the one of a configuration in which `_index.yaml` files are looked for.
pub const CONFIG_FOLDER_DEPTH_MAX: usize = 32;

/// Most nodes (scalars, lists, mappings) of a configuration file, aliases written out.
pub const CONFIG_NODES_MAX: usize = 100_000;

/// Deepest nesting of lists and mappings in a configuration file.
pub const CONFIG_DEPTH_MAX: usize = 64;

/// Longest namespace and longest name of an entry id, in bytes each.
pub const ENTRY_ID_PART_BYTES_MAX: usize = 128;

/// Longest name of a node, and of a failure domain, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 128;

/// Longest regular expression in a condition of a policy, in bytes.
pub const POLICY_PATTERN_BYTES_MAX: usize = 1_024;

/// Largest table that `json.encode` takes, in bytes of its canonical encoding.
pub const JSON_BYTES_MAX: usize = 64 << 20;

/// Longest name of an SQL table or column, in bytes: what PostgreSQL keeps of a name.
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// Largest payload that is read from an SQL table, in bytes of JSON. No value within
/// [`VALUE_BYTES_MAX`] is longer: the JSON of a value is at most eleven times its encoding.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Most writes of one SQLite database that are queued or running; further callers wait for room.
/// Also the most that one transaction holds.
pub const SQLITE_WRITES_MAX: usize = 1_024;

/// Most reads of one SQLite database on blocking threads at once (lists, and point reads that met
/// a lock); further callers wait. Also the most read connections that are kept open.
pub const SQLITE_BLOCKING_READS_MAX: usize = 8;

/// Deepest nesting of a JSON text that scripts encode or decode: serde_json's own limit.
pub const JSON_DEPTH_MAX: usize = 127;

/// Longest name of a namespace of the `KV` API under which something is put, in bytes.
pub const KV_NAMESPACE_BYTES_MAX: usize = 512;

/// Longest key that is put in a namespace of the `KV` API, in bytes. A store that namespaces are
/// bound to holds shorter ones: [`KEY_BYTES_MAX`] is for the encoded form.
pub const KV_KEY_BYTES_MAX: usize = 1_024;

/// Largest value that is put in a namespace of the `KV` API, in bytes. In a store that namespaces
/// are bound to [`VALUE_BYTES_MAX`] is the limit.
pub const KV_VALUE_BYTES_MAX: usize = 64 << 20;

/// Largest metadata that is put in a namespace of the `KV` API, in bytes of JSON.
pub const KV_METADATA_BYTES_MAX: usize = 1 << 20;

/// Keys on a page of the `KV` API when `limit` is absent.
pub const KV_PAGE_KEYS_DEFAULT: usize = 1_000;

/// Most keys on a page of the `KV` API; a larger `limit` is cut to it.
pub const KV_PAGE_KEYS_MAX: usize = 10_000;

/// A page of the `KV` API ends once names and metadata add up to this many bytes: a full page of
/// the longest names fits.
pub const KV_PAGE_BYTES_MAX: usize = 16 << 20;

/// Most calls of one PostgreSQL database that wait for a connection or run; more are refused.
pub const POSTGRES_ACCESSES_MAX: usize = 4_096;

/// Most connections to one PostgreSQL database: the largest `max_open` of a pool.
pub const POSTGRES_CONNECTIONS_MAX: usize = 1_000;

/// Most statements that a connection to PostgreSQL keeps prepared; eleven for each table.
pub const POSTGRES_STATEMENTS_MAX: usize = 256;

/// Memory limit of a sandbox that sets none, in bytes.
pub const SANDBOX_MEMORY_BYTES_DEFAULT: usize = 64 << 20;

/// Least memory limit of a sandbox, in bytes: Lua's libraries and the modules have to fit.
pub const SANDBOX_MEMORY_BYTES_MIN: usize = 1 << 20;

/// Time limit of a sandbox that sets none, in milliseconds.
pub const SANDBOX_TIME_MS_DEFAULT: u64 = 5_000;

/// How long after its time limit the host waits for a script to stop, in milliseconds.
pub const SANDBOX_GRACE_MS: u64 = 1_000;

/// Largest source of a script in a sandbox, in bytes: nothing can stop the compiler.
pub const SANDBOX_SOURCE_BYTES_MAX: usize = 256 << 10;

/// Longest pattern of `string.find` and its like in a sandbox, in bytes.
pub const SANDBOX_PATTERN_BYTES_MAX: usize = 64 << 10;

/// Most arguments after the format of `string.format` in a sandbox.
pub const SANDBOX_FORMAT_ARGUMENTS_MAX: usize = 64;

/// Longest format of `os.date` in a sandbox, in bytes.
pub const SANDBOX_DATE_FORMAT_BYTES_MAX: usize = 256;

/// Most requests that wait at a Raft node; one more is refused.
pub const RAFT_REQUESTS_MAX: usize = 4_096;

/// Most steps of a Raft node that wait to be durable.
pub const RAFT_PERSISTS_MAX: usize = 8;

/// Bytes of entries in one message of a Raft leader; a larger entry travels alone.
pub const RAFT_MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Most messages with entries under way from a Raft leader to one member.
pub const RAFT_INFLIGHT_MESSAGES_MAX: usize = 64;

/// Bytes of entries that a Raft leader has proposed and not committed; more proposals have to wait.
pub const RAFT_UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// Bytes of entries that a Raft node keeps in memory before it takes a snapshot.
pub const RAFT_LOG_BYTES_MAX: usize = 64 << 20;

/// Bytes of a snapshot up to which it is kept in memory.
pub const RAFT_SNAPSHOT_KEPT_BYTES: u64 = 1 << 20;

/// Bytes of a snapshot in one message.
pub const RAFT_CHUNK_BYTES: usize = 256 << 10;

/// Most chunks of a snapshot under way to one member.
pub const RAFT_CHUNKS_MAX: u64 = 4;

/// Milliseconds after which a leader stamps the log while a deadline is pending.
pub const RAFT_STAMP_PERIOD_MS: u64 = 10_000;

/// Most founders of a cluster.
pub const RAFT_FOUNDERS_MAX: usize = 16;

/// Most members of a cluster, those without a vote included.
pub const RAFT_MEMBERS_MAX: usize = 64;

/// Entries by which a learner may be behind when it becomes a voter.
pub const RAFT_PROMOTION_LAG_MAX: u64 = 1_024;

/// How far ahead the bound of a hybrid clock is made durable, in milliseconds.
pub const CLOCK_RESERVE_MS: u64 = 1_000;

/// How long another node's report of its clock counts, in milliseconds.
pub const CLOCK_REPORT_MS_MAX: u64 = 60_000;

/// Milliseconds by which the clocks of replicas may differ, unless configured.
pub const CRDT_CLOCK_BOUND_MS_DEFAULT: u64 = 5_000;

/// Most tombstones of a replica, unless configured; beyond it no new key is written or deleted.
pub const CRDT_TOMBSTONES_DEFAULT: usize = 1_000_000;

/// Bytes of entries in one message between replicas; a larger entry travels alone.
pub const CRDT_CHUNK_BYTES: usize = 256 << 10;

/// Most nodes of a hash trie in one message between replicas.
pub const CRDT_PATHS_MAX: usize = 256;

/// Most keys of a replica whose writes wait to be pushed; what comes beyond it is left to exchanges.
pub const CRDT_QUEUE_KEYS_MAX: usize = 100_000;

/// Most writes of one key that a push of a replica names; those before are left to exchanges.
pub const CRDT_SUPERSEDED_MAX: usize = 1_024;

/// Most entries from the future that a replica remembers not to ask for.
pub const CRDT_REFUSED_MAX: usize = 10_000;

/// Most records of a durable replica that wait to be durable.
pub const CRDT_RECORDS_MAX: usize = 8;

/// Largest packet about who is there, in bytes.
pub const GOSSIP_PACKET_BYTES_MAX: usize = 8 << 10;

/// Longest address of a node that gossips, in bytes.
pub const GOSSIP_ADDRESS_BYTES_MAX: usize = 512;

/// Longest text that a node tells of itself by gossip, in bytes.
pub const GOSSIP_ABOUT_BYTES_MAX: usize = 1_024;

/// Most nodes that gossip remembers.
pub const GOSSIP_PEERS_MAX: usize = 4_096;

/// Bytes of an entry up to which it is pushed; a larger one is told of, and asked for by who lacks it.
pub const GOSSIP_PUSHED_BYTES_MAX: usize = 8 << 10;

/// Bytes of entries that a node goes on pushing; what comes beyond it is left to exchanges.
pub const GOSSIP_RUMOR_BYTES_MAX: usize = 8 << 20;

/// Largest frame of a connection between nodes, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// How long the handshake of a connection takes at most, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;

/// Longest name and longest address in the greeting of a connection, in bytes each.
pub const GREETING_TEXT_BYTES_MAX: usize = 1_024;

/// Inputs that wait for a node, before whoever has another one waits too.
pub const NODE_INBOX_MAX: usize = 4_096;

/// Calls that wait for the replicas of a node, before whoever has another one waits too.
pub const CRDT_INBOX_MAX: usize = 4_096;

/// Bytes of messages that wait for the replicas of a node; more are lost, and what they said comes again.
pub const CRDT_INBOX_BYTES_MAX: usize = 64 << 20;

/// Bytes of records of the durable replica that are written and synced together; one more may be larger.
pub const CRDT_BATCH_BYTES: usize = 16 << 20;

/// Bytes of records of the durable replica from which on a snapshot may replace them.
pub const CRDT_SNAPSHOT_BYTES_MIN: u64 = 4 << 20;

/// Connections that a node has on each of its addresses, if its process may open so many files; beyond
/// it new ones are told so and closed.
pub const CONNECTIONS_MAX: usize = 4_096;

/// Bytes that wait to be sent to one member; what comes beyond it is lost, and sent again later.
pub const LINK_BYTES_MAX: usize = 64 << 20;

/// Longest time for which a client's request waits at a node, in milliseconds; more is cut to it.
pub const CLIENT_TIMEOUT_MS_MAX: u64 = 600_000;

/// Requests of one client's connection that are under way; beyond it the connection is not read.
pub const CLIENT_REQUESTS_MAX: usize = 1_024;

/// Bytes of requests of one client's connection that are under way; beyond it it is not read.
pub const CLIENT_REQUEST_BYTES_MAX: usize = 16 << 20;

/// Bytes of answers that wait to be sent to one client; more of them are not made.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Watches of one client's connection; one more is refused.
pub const CLIENT_WATCHES_MAX: usize = 1_024;

/// Bytes of changes that wait in a client for one watch; beyond it the node is asked to hold on.
pub const CLIENT_WATCH_BYTES_MAX: usize = 8 << 20;

/// Backups of a node that clients take at once; one more is refused.
pub const CLIENT_BACKUPS_MAX: usize = 2;

/// Bytes of a chunk of a backup.
pub const BACKUP_CHUNK_BYTES: usize = 256 << 10;

/// Connections that a node has over HTTP; beyond it new ones are closed at once.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Largest head of a request over HTTP, in bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;

/// How long a connection over HTTP lasts at most, with its request and the answer, in milliseconds.
pub const HTTP_CONNECTION_MS_MAX: u64 = 5_000;

/// How long a probe over HTTP waits for the node at most, in milliseconds: less than the second that
/// those who probe wait.
pub const HTTP_PROBE_MS_MAX: u64 = 900;

/// Bytes of a segment of the write-ahead log; a larger batch gets a segment of its own.
pub const SEGMENT_BYTES: usize = 16 << 20;

/// Longest identity of a data directory, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 4_096;

/// Longest line of a file of a history, in bytes.
pub const HISTORY_LINE_BYTES_MAX: usize = 64 << 20;

/// Most lines of a file of a history.
pub const HISTORY_LINES_MAX: usize = 100_000_000;

/// Longest chunk of `plimsoll repl`, in bytes: it is compiled anew with each line.
pub const REPL_CHUNK_BYTES_MAX: usize = 256 << 10;

/// Most chunks that `plimsoll repl` keeps in its history.
pub const REPL_HISTORY_CHUNKS_MAX: usize = 1_000;

/// Most candidates that `plimsoll repl` offers to complete a word.
pub const REPL_CANDIDATES_MAX: usize = 500;

/// Deepest nesting of tables that `plimsoll repl` prints.
pub const REPL_SHOWN_DEPTH_MAX: usize = 16;

/// Most fields that `plimsoll repl` prints of one value, those of nested tables included.
pub const REPL_SHOWN_FIELDS_MAX: usize = 1_000;

/// Most bytes that `plimsoll repl` prints of one string.
pub const REPL_SHOWN_STRING_BYTES_MAX: usize = 16 << 10;

/// Lines of the log of `plimsoll node` that wait to be written; more are left out, and counted.
pub const LOG_LINES_MAX: usize = 4_096;

/// Largest batch of the write-ahead log, in bytes of its encoding.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
