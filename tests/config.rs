//! Configurations, good and bad: each bad input is a row with what its error has to say.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::error::{Error, ErrorKind};
use plimsoll::registry::{Config, EntryKind, Environment, LoadOptions};
use plimsoll::sql::{Identifier, SqliteFile, SqliteOptions, Synchronous};
use proptest::prelude::*;

/// What every text below starts with, so that the first line of a body is line 4.
const HEAD: &str = "version: \"1.0\"\nnamespace: app\nentries:\n";

/// A database for the references of `store.sql`; two lines.
const DATABASE: &str = "  - {name: db, kind: db.sql.sqlite, file: ':memory:'}\n";

/// A bad input, and what its error has to say.
type Row = (&'static str, &'static [&'static str]);

fn parse(text: &str) -> Result<Config, Error> {
    let variables = [("SIZE", "77"), ("TABLE", "kv_store"), ("EMPTY", ""), ("BAD", "5 minutes")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::Fixed(BTreeMap::from(variables));
    let options = LoadOptions { environment, ..LoadOptions::default() };
    Config::parse(text, "/folder", "t.yaml", options)
}

/// The error of a text, which is `INVALID`.
fn refused(text: &str) -> Error {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
    assert!(!error.retryable());
    error
}

#[track_caller]
fn assert_says(error: &Error, text: &str, fragments: &[&str]) {
    for fragment in fragments {
        let message = error.message();
        assert!(message.contains(fragment), "\n{text}\nsays: {message}\nwithout: {fragment}");
    }
}

#[track_caller]
fn assert_refused(text: &str, fragments: &[&str]) {
    assert_says(&refused(text), text, fragments);
}

/// Whole files.
const TOP: &[Row] = &[
    ("", &["t.yaml: the file is empty; it needs version"]),
    ("# nothing\n", &["t.yaml: the file is empty"]),
    ("---\n", &["expected a mapping of fields, found nothing"]),
    ("- a\n", &["t.yaml:1:1: expected a mapping of fields, found a list"]),
    ("just text", &["t.yaml:1:1: expected a mapping of fields, found the string \"just text\""]),
    (
        "namespace: app\nentries: []\n",
        &["t.yaml:1:1: version: the field is missing; add one such as version: \"1.0\""],
    ),
    (
        "version: 1.0\nnamespace: app\nentries: []\n",
        &["t.yaml:1:10: version: expected a string, found the number 1.0; put it in quotes"],
    ),
    (
        "version: \"2.0\"\nnamespace: app\nentries: []\n",
        &["t.yaml:1:10: version: the version \"2.0\" is unknown; write \"1.0\""],
    ),
    ("version: \"1.0\"\nentries: []\n", &["t.yaml:1:1: namespace: the field is missing"]),
    (
        "version: \"1.0\"\nnamespace: a b\nentries: []\n",
        &["t.yaml:2:12: namespace: \"a b\" is no namespace of an entry"],
    ),
    (
        "version: \"1.0\"\nnamespace: 5\nentries: []\n",
        &["t.yaml:2:12: namespace: expected a string, found the integer 5"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\n",
        &["t.yaml:1:1: entries: the field is missing; add one such as entries: []"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentries:\n",
        &["t.yaml:3:8: entries: expected a list, found nothing; write it as []"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentries: {a: 1}\n",
        &["t.yaml:3:10: entries: expected a list, found a mapping"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentries: [x]\n",
        &["t.yaml:3:11: entries[0]: expected a mapping of fields, found the string \"x\""],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentires: []\n",
        &[
            "t.yaml:3:1: entires: the field is unknown; did you mean entries? (known are version, namespace, cluster, entries)",
        ],
    ),
    (
        "version: \"1.0\"\nversion: \"1.0\"\nnamespace: app\nentries: []\n",
        &["t.yaml:2:1: version: the field occurs twice, first in line 1; remove one"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentries: []\n---\nversion: \"1.0\"\n",
        &["t.yaml:4:1: a second document starts here"],
    ),
    (
        "version: \"1.0\"\nnamespace: app\nentries: [\n",
        &["t.yaml:3:10: entries: this is not YAML: unclosed bracket"],
    ),
    ("version: \"1.0\"\n  namespace: app\n", &["t.yaml:2:", "this is not YAML"]),
    (
        "version: \"1.0\"\nnamespace: app\ncluster: {enabled: maybe}\nentries: []\n",
        &["cluster.enabled: expected true or false, found the string \"maybe\""],
    ),
    (
        "version: \"1.0\"\nnamespace: app\ncluster: yes\nentries: []\n",
        &["cluster: expected a mapping of fields, found the string \"yes\""],
    ),
];

#[test]
fn the_top_of_a_file_is_checked() {
    for (text, fragments) in TOP {
        assert_refused(text, fragments);
    }
}

/// Entries.
const ENTRIES: &[Row] = &[
    (
        "  - kind: store.memory\n",
        &["t.yaml:4:5: entries[0].name: the field is missing; add one such as name: cache"],
    ),
    (
        "  - name: a\n",
        &["t.yaml:4:5: entries[0].kind: the field is missing; add one such as kind: store.memory"],
    ),
    (
        "  - name: a:b\n    kind: store.memory\n",
        &["t.yaml:4:11: entries[0].name: \"a:b\" is no name of an entry"],
    ),
    (
        "  - name: ''\n    kind: store.memory\n",
        &["t.yaml:4:11: entries[0].name: \"\" is no name of an entry"],
    ),
    (
        "  - name: true\n    kind: store.memory\n",
        &["entries[0].name: expected a string, found the boolean true; put it in quotes"],
    ),
    (
        "  - name: a\n    kind: store.memroy\n",
        &[
            "t.yaml:5:11: entries[0].kind: \"store.memroy\" is no kind of entry; did you mean store.memory?",
            "--skip-foreign-kinds",
        ],
    ),
    (
        "  - name: a\n    kind: http.service\n    port: 80\n",
        &[
            "entries[0].kind: \"http.service\" is no kind of entry (known are store.memory, store.sql, store.kv.raft, store.kv.crdt, db.sql.sqlite",
        ],
    ),
    (
        "  - name: a\n    kind: [store.memory]\n",
        &["entries[0].kind: expected a string, found a list"],
    ),
    (
        "  - name: a\n    kind: store.kv.crtd\n    namespace: x\n",
        &[
            "t.yaml:5:11: entries[0].kind: \"store.kv.crtd\" is no kind of entry; did you mean store.kv.crdt? (known are",
        ],
    ),
    (
        "  - name: a\n    kind: store.memory\n    lifecycle: true\n",
        &[
            "t.yaml:6:16: entries[0].lifecycle: expected a mapping of fields, found the boolean true",
        ],
    ),
    (
        "  - name: a\n    kind: store.memory\n    lifecycle: {auto_start: 'true'}\n",
        &[
            "entries[0].lifecycle.auto_start: expected true or false, found the string \"true\"; write it without quotes",
        ],
    ),
    (
        "  - name: a\n    kind: store.memory\n    lifecycle: {autostart: true}\n",
        &[
            "t.yaml:6:17: entries[0].lifecycle.autostart: the field is unknown; did you mean auto_start?",
        ],
    ),
    (
        "  - name: a\n    kind: store.memory\n    meta: text\n",
        &["entries[0].meta: expected a mapping of fields, found the string \"text\""],
    ),
    (
        "  - {name: a, kind: store.memory}\n  - name: a\n    kind: store.memory\n",
        &["t.yaml:5:5: entries[1]: app:a is already defined at t.yaml:4:5; rename one"],
    ),
    (
        "  - name: a\n    <<: {kind: store.memory}\n",
        &["t.yaml:5:5: entries[0][\"<<\"]: merge keys are not supported; write the fields out"],
    ),
];

#[test]
fn every_entry_has_a_name_and_a_kind() {
    for (body, fragments) in ENTRIES {
        assert_refused(&format!("{HEAD}{body}"), fragments);
    }
}

/// A field of a `store.memory`, in line 6.
const MEMORY_FIELDS: &[Row] = &[
    ("max_size: -1", &["t.yaml:6:15: entries[0].max_size: -1 is negative; write 0 or more"]),
    (
        "max_size: '100'",
        &[
            "entries[0].max_size: expected a whole number, found the string \"100\"; write digits, without quotes",
        ],
    ),
    (
        "max_size: many",
        &["entries[0].max_size: expected a whole number, found the string \"many\""],
    ),
    ("max_size: 1.5", &["entries[0].max_size: expected a whole number, found the number 1.5"]),
    ("max_size: 1e3", &["entries[0].max_size: expected a whole number, found the number 1e3"]),
    ("max_size: 0x10", &["entries[0].max_size: \"0x10\" is no whole number; write decimal digits"]),
    ("max_size: 99999999999999999999", &["entries[0].max_size: 99999999999999999999 is too large"]),
    ("max_size:", &["entries[0].max_size: expected a whole number, found nothing"]),
    ("max_size: [1]", &["entries[0].max_size: expected a whole number, found a list"]),
    ("max_size: '${env:EMPTY}'", &["entries[0].max_size: \"\" is no whole number"]),
    ("max_size: ${env:BAD}", &["entries[0].max_size: \"5 minutes\" is no whole number"]),
    (
        "max_size: ${env:MISSING}",
        &["t.yaml:6:15: entries[0].max_size: the environment variable MISSING is not set"],
    ),
    ("max_size: ${SIZE}", &["entries[0].max_size: ${SIZE} is unknown: write ${env:NAME}"]),
    (
        "max_sise: 5",
        &[
            "t.yaml:6:5: entries[0].max_sise: the field is unknown; did you mean max_size? (known are name, kind, meta, lifecycle, max_size, cleanup_interval)",
        ],
    ),
    ("database: app:db", &["t.yaml:6:5: entries[0].database: the field is unknown (known are"]),
    (
        "cleanup_interval: 5 minutes",
        &[
            "t.yaml:6:23: entries[0].cleanup_interval: \"5 minutes\" is no duration: it has an unknown unit; write a number with a unit",
        ],
    ),
    (
        "cleanup_interval: 300",
        &["entries[0].cleanup_interval: \"300\" is no duration: a unit is missing"],
    ),
    (
        "cleanup_interval: 1d",
        &["entries[0].cleanup_interval: \"1d\" is no duration: it has an unknown unit"],
    ),
    ("cleanup_interval: -5m", &["entries[0].cleanup_interval: \"-5m\" is negative"]),
    (
        "cleanup_interval: 10us",
        &[
            "entries[0].cleanup_interval: 10us is too short: write 1ms or longer, or 0 to turn it off",
        ],
    ),
    (
        "cleanup_interval: 3000000h",
        &["entries[0].cleanup_interval: \"3000000h\" is no duration: it is longer than 292 years"],
    ),
    (
        "cleanup_interval:",
        &[
            "entries[0].cleanup_interval: expected a duration, found nothing; write one such as 5m, or 0",
        ],
    ),
    (
        "cleanup_interval: true",
        &["entries[0].cleanup_interval: expected a duration, found the boolean true"],
    ),
    (
        "cleanup_interval: {every: 5m}",
        &["entries[0].cleanup_interval: expected a duration, found a mapping"],
    ),
    (
        "cleanup_interval: ${env:BAD}",
        &["entries[0].cleanup_interval: \"5 minutes\" is no duration"],
    ),
];

#[test]
fn the_fields_of_memory_stores_are_checked() {
    for (field, fragments) in MEMORY_FIELDS {
        let text = format!("{HEAD}  - name: cache\n    kind: store.memory\n    {field}\n");
        assert_refused(&text, fragments);
    }
}

/// Fields of a `db.sql.sqlite`, from line 6.
const SQLITE_FIELDS: &[Row] = &[
    (
        "synchronous: full",
        &["t.yaml:4:5: entries[0].file: the field is missing; add one such as file: records.db"],
    ),
    ("file: ''", &["t.yaml:6:11: entries[0].file: the path is empty; write a path, or ':memory:'"]),
    ("file: 5", &["entries[0].file: expected a string, found the integer 5; put it in quotes"]),
    (
        "file: ~/x.db",
        &["entries[0].file: \"~/x.db\" starts with ~, which is not written out; write ${env:HOME}"],
    ),
    ("file: \"a\\0b\"", &["entries[0].file: the path has a NUL character"]),
    (
        "file: x.db\n    synchronous: fast",
        &["t.yaml:7:18: entries[0].synchronous: \"fast\" is unknown; write full or normal"],
    ),
    (
        "file: x.db\n    synchronous: true",
        &["entries[0].synchronous: expected a string, found the boolean true"],
    ),
    (
        "file: x.db\n    busy_timeout: soon",
        &["entries[0].busy_timeout: \"soon\" is no duration: a number is missing"],
    ),
    (
        "file: x.db\n    busy_timeout: 1000h",
        &["entries[0].busy_timeout: 1000h is too long; write 24h or less"],
    ),
    (
        "file: x.db\n    path: y",
        &[
            "t.yaml:7:5: entries[0].path: the field is unknown (known are name, kind, meta, lifecycle, file, synchronous, busy_timeout)",
        ],
    ),
];

#[test]
fn the_fields_of_sqlite_databases_are_checked() {
    for (fields, fragments) in SQLITE_FIELDS {
        let text = format!("{HEAD}  - name: db\n    kind: db.sql.sqlite\n    {fields}\n");
        assert_refused(&text, fragments);
    }
}

/// Fields of a `store.sql`, from line 7.
const SQL_FIELDS: &[Row] = &[
    (
        "table_name: t",
        &[
            "t.yaml:5:5: entries[1].database: the field is missing; add one such as database: app:database",
        ],
    ),
    (
        "database: app:db",
        &[
            "t.yaml:5:5: entries[1].table_name: the field is missing; add one such as table_name: kv_store",
        ],
    ),
    (
        "database: db\n    table_name: t",
        &[
            "t.yaml:7:15: entries[1].database: \"db\" is no entry id: write it as namespace:name, such as app:cache",
        ],
    ),
    (
        "database: app:db\n    table_name: a; drop",
        &["t.yaml:8:17: entries[1].table_name: \"a; drop\" is no name of a table or column"],
    ),
    (
        "database: app:db\n    table_name: ''",
        &["entries[1].table_name: \"\" is no name of a table or column"],
    ),
    (
        "database: app:db\n    table_name: t\n    id_column_name: a.b",
        &["t.yaml:9:21: entries[1].id_column_name: \"a.b\" is no name"],
    ),
    (
        "database: app:db\n    table_name: t\n    payload_column_name: 1a",
        &["entries[1].payload_column_name: \"1a\" is no name"],
    ),
    (
        "database: app:db\n    table_name: t\n    expire_column_name: a b",
        &["entries[1].expire_column_name: \"a b\" is no name"],
    ),
    (
        "database: app:db\n    table_name: t\n    id_column_name: Value",
        &[
            "t.yaml:9:21: entries[1].id_column_name: id_column_name and payload_column_name are both",
            "rename one of them",
        ],
    ),
    (
        "database: app:db\n    table_name: t\n    expire_column_name: key",
        &["entries[1].expire_column_name: id_column_name and expire_column_name are both"],
    ),
    (
        "database: app:db\n    table_name: t\n    create_table: yes",
        &["entries[1].create_table: expected true or false, found the string \"yes\""],
    ),
    (
        "database: app:db\n    table_name: t\n    cleanup_interval: x",
        &["entries[1].cleanup_interval: \"x\" is no duration"],
    ),
    (
        "database: app:db\n    table: t",
        &["t.yaml:8:5: entries[1].table: the field is unknown (known are"],
    ),
];

#[test]
fn the_fields_of_sql_stores_are_checked() {
    for (fields, fragments) in SQL_FIELDS {
        let text = format!("{HEAD}{DATABASE}  - name: s\n    kind: store.sql\n    {fields}\n");
        assert_refused(&text, fragments);
    }
}

/// Entries after a database, from line 5.
const REFERENCES: &[Row] = &[
    (
        "  - {name: a, kind: store.sql, table_name: t, database: app:dbb}\n",
        &[
            "t.yaml:5:57: entries[1].database: there is no entry app:dbb; did you mean app:db? (it has to be a database (db.sql.sqlite",
        ],
    ),
    (
        "  - {name: a, kind: store.sql, table_name: t, database: other:thing}\n",
        &["entries[1].database: there is no entry other:thing (it has to be"],
    ),
    (
        "  - {name: m, kind: store.memory}\n  - {name: a, kind: store.sql, table_name: t, database: app:m}\n",
        &[
            "t.yaml:6:57: entries[2].database: app:m is a store.memory; name a database (db.sql.sqlite",
        ],
    ),
    (
        "  - {name: a, kind: store.sql, table_name: t, database: app:a}\n",
        &[
            "t.yaml:5:57: entries[1].database: app:a -> app:a is a cycle of references; name a database",
        ],
    ),
    (
        "  - {name: a, kind: store.sql, table_name: t, database: app:b}\n  - {name: b, kind: store.sql, table_name: t, database: app:a}\n",
        &["entries[1].database: app:a -> app:b -> app:a is a cycle of references"],
    ),
    (
        "  - {name: z, kind: store.sql, table_name: t, database: app:c}\n  - {name: a, kind: store.sql, table_name: t, database: app:b}\n  - {name: b, kind: store.sql, table_name: t, database: app:c}\n  - {name: c, kind: store.sql, table_name: t, database: app:a}\n",
        &[
            "2 problems",
            "entries[4].database: app:c -> app:a -> app:b -> app:c is a cycle",
            "entries[1].database: app:c is a store.sql; name a database",
        ],
    ),
];

#[test]
fn references_lead_to_databases_and_never_in_a_circle() {
    for (body, fragments) in REFERENCES {
        assert_refused(&format!("{HEAD}{DATABASE}{body}"), fragments);
    }
}

#[test]
fn every_independent_problem_is_told_at_once_and_details_are_of_the_first() {
    let text = "version: 1\nnamespace: app\nentries:\n  - name: a\n    kind: store.memory\n    max_size: x\n    typo: 1\n  - kind: store.redis\n";
    let error = refused(text);
    let expected = [
        "the configuration has 5 problems:",
        "  t.yaml:1:10: version: expected a string, found the integer 1; put it in quotes",
        "  t.yaml:6:15: entries[0].max_size: expected a whole number",
        "  t.yaml:7:5: entries[0].typo: the field is unknown",
        "  t.yaml:8:5: entries[1].name: the field is missing",
        "  t.yaml:8:11: entries[1].kind: \"store.redis\" is no kind of entry",
    ];
    assert_eq!(error.message().lines().count(), expected.len());
    for (line, expected) in error.message().lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(error.detail("file"), Some(&"t.yaml".into()));
    assert_eq!(error.detail("line"), Some(&1.into()));
    assert_eq!(error.detail("column"), Some(&10.into()));
    assert_eq!(error.detail("field"), Some(&"version".into()));
}

#[test]
fn absent_fields_have_their_defaults() {
    let text = format!(
        "{HEAD}{DATABASE}  - {{name: m, kind: store.memory}}\n  - {{name: s, kind: store.sql, database: app:db, table_name: t}}\n"
    );
    let config = parse(&text).unwrap();
    let ids: Vec<_> = config.entries().iter().map(|entry| entry.id().as_str()).collect();
    assert_eq!(ids, ["app:db", "app:m", "app:s"], "in the order of the file");
    assert!(config.entries().iter().all(|entry| !entry.auto_start()));
    assert!(config.skipped().is_empty());
    assert_eq!(config.entry("app:m").unwrap().location(), "t.yaml:5:5");
    assert!(config.entry("app:x").is_none());

    let kind = |id| config.entry(id).unwrap().kind();
    let EntryKind::MemoryStore(memory) = kind("app:m") else { panic!() };
    assert_eq!(memory.max_size, 10_000);
    assert_eq!(memory.cleanup_interval, Some(Duration::from_secs(300)));
    let EntryKind::SqliteDatabase(database) = kind("app:db") else { panic!() };
    assert_eq!(database, &SqliteOptions::new(SqliteFile::Memory));
    assert_eq!(database.synchronous, Synchronous::Full);
    assert_eq!(database.busy_timeout, Duration::from_secs(5));
    let EntryKind::SqlStore(sql) = kind("app:s") else { panic!() };
    let options = sql.options();
    let columns = [&options.key_column, &options.payload_column, &options.expire_column];
    assert_eq!(columns.map(Identifier::as_str), ["key", "value", "expires_at"]);
    assert_eq!((options.cleanup_interval, options.create_table), (None, false));
    assert_eq!((sql.database().as_str(), options.table.as_str()), ("app:db", "t"));
}

#[test]
fn values_are_taken_as_they_are_written() {
    let memory = |fields: &str| {
        let text = format!("{HEAD}  - name: m\n    kind: store.memory\n    {fields}\n");
        let config = parse(&text).unwrap_or_else(|error| panic!("{fields}: {error}"));
        let EntryKind::MemoryStore(memory) = config.entries()[0].kind().clone() else { panic!() };
        (memory.max_size, memory.cleanup_interval.map(|interval| interval.as_millis()))
    };
    let default = (10_000, Some(300_000));
    let table = [
        ("max_size: 5", (5, default.1)),
        ("max_size: +5", (5, default.1)),
        ("max_size: ${env:SIZE}", (77, default.1)),
        ("max_size: \"${env:SIZE}\"", (77, default.1)),
        ("max_size: ${env:SIZE}0", (770, default.1)),
        ("max_size: ${env:OTHER:-12}", (12, default.1)),
        ("max_size: ${env:EMPTY:-13}", (13, default.1)),
        ("cleanup_interval: 1h30m", (default.0, Some(5_400_000))),
        ("cleanup_interval: \"10m\"", (default.0, Some(600_000))),
        ("cleanup_interval: 1.5s", (default.0, Some(1_500))),
        ("cleanup_interval: 1ms", (default.0, Some(1))),
        ("cleanup_interval: 0", (default.0, None)),
        ("cleanup_interval: \"0\"", (default.0, None)),
        ("cleanup_interval: 0s", (default.0, None)),
        ("cleanup_interval: ${env:EVERY:-2m}", (default.0, Some(120_000))),
        ("meta: {any: [1, {b: ~}], env: '${env:NOT_LOOKED_UP}'}", default),
        ("lifecycle: {}", default),
    ];
    for (fields, expected) in table {
        assert_eq!(memory(fields), expected, "{fields}");
    }
    let text = format!("{HEAD}  - name: m\n    kind: store.memory\n    max_size: 0\n");
    assert!(parse(&text).is_ok(), "0 stands for the default");
}

#[test]
fn the_fields_of_sql_kinds_are_taken_as_they_are_written() {
    let text = format!(
        "{HEAD}  - {{name: db, kind: db.sql.sqlite, file: data/x.db, synchronous: normal, busy_timeout: 1s500ms}}\n  - {{name: s, kind: store.sql, database: app:db, table_name: '${{env:TABLE}}', id_column_name: k, payload_column_name: v, expire_column_name: e, cleanup_interval: 1m, create_table: '${{env:MAKE:-true}}'}}\n"
    );
    let config = parse(&text).unwrap();
    let EntryKind::SqliteDatabase(database) = config.entries()[0].kind() else { panic!() };
    assert_eq!(database.file, SqliteFile::Path("/folder/data/x.db".into()));
    assert_eq!(database.synchronous, Synchronous::Normal);
    assert_eq!(database.busy_timeout, Duration::from_millis(1_500));
    let EntryKind::SqlStore(sql) = config.entries()[1].kind() else { panic!() };
    let options = sql.options();
    let names =
        [&options.table, &options.key_column, &options.payload_column, &options.expire_column];
    assert_eq!(names.map(Identifier::as_str), ["kv_store", "k", "v", "e"]);
    assert_eq!(options.cleanup_interval, Some(Duration::from_secs(60)));
    assert!(options.create_table);
}

#[test]
fn anchors_and_crlf_and_a_byte_order_mark_are_read() {
    let text = format!(
        "\u{feff}{HEAD}  - {{name: a, kind: store.memory, lifecycle: &on {{auto_start: true}}}}\n  - {{name: b, kind: store.memory, lifecycle: *on}}\n"
    );
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let config = parse(&text).unwrap();
        assert!(config.entries().iter().all(|entry| entry.auto_start()));
    }
}

#[test]
fn a_cluster_that_is_off_is_accepted() {
    assert!(
        parse("version: \"1.0\"\nnamespace: a\ncluster: {enabled: false}\nentries: []\n").is_ok()
    );
}

#[test]
fn a_limit_that_is_passed_stands_in_the_details() {
    let name = "a".repeat(129);
    let items = "1, ".repeat(100_001);
    let table = [
        (format!("version: \"1.0\"\nnamespace: {name}\nentries: []\n"), 128, "has 129 bytes"),
        (format!("{HEAD}  - {{name: {name}, kind: store.memory}}\n"), 128, "has 129 bytes"),
        (format!("{HEAD}  - {{meta: {{a: [{items}]}}}}\n"), 100_000, "more than 100000 values"),
        (format!("{}{}", "[".repeat(65), "]".repeat(65)), 64, "nested deeper than 64"),
    ];
    for (text, limit, expected) in table {
        let error = refused(&text);
        assert_says(&error, expected, &[expected]);
        assert_eq!(error.detail("limit"), Some(&limit.into()), "{expected}");
    }
}

proptest! {
    /// A configuration with a few characters changed is read or refused, and no more.
    #[test]
    fn no_text_panics(
        edits in prop::collection::vec((0..600_usize, 0..6_usize, "[-:,{}\\[\\]&*!|>'\"#%@`~<$ \t\n\u{0}a0.é]{0,4}"), 0..8),
    ) {
        let page = include_str!("../docs/configuration.md");
        let block = page.split("```yaml\n").nth(1).and_then(|block| block.split("```").next());
        let mut text: Vec<char> = block.expect("the first example").chars().collect();
        for (at, removed, inserted) in edits {
            let start = at.min(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text) {
            prop_assert_eq!(error.kind(), ErrorKind::Invalid);
            prop_assert!(error.message().contains("t.yaml"));
        }
    }
}
