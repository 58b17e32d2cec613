//! Configurations, good and bad: each bad input is a row with what its error has to say.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use plimsoll::error::{Error, ErrorKind};
use plimsoll::registry::{Config, EntryKind, Environment, LoadOptions};

/// What every text below starts with, so that the first line of a body is line 4.
const HEAD: &str = "version: \"1.0\"\nnamespace: app\nentries:\n";

/// A database for the references of `store.sql`; two lines.
const DATABASE: &str = "  - {name: db, kind: db.sql.sqlite, file: ':memory:'}\n";

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

#[test]
fn the_top_of_a_file_is_checked() {
    let table: &[(&str, &[&str])] = &[
        ("", &["t.yaml: the file is empty; it needs version"]),
        ("# nothing\n", &["t.yaml: the file is empty"]),
        ("---\n", &["expected a mapping of fields, found nothing"]),
        ("- a\n", &["t.yaml:1:1: expected a mapping of fields, found a list"]),
        (
            "just text",
            &["t.yaml:1:1: expected a mapping of fields, found the string \"just text\""],
        ),
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
            "version: \"1.0\"\nnamespace: app\ncluster: {enabled: true}\nentries: []\n",
            &["t.yaml:3:20: cluster.enabled: this build has no cluster; write false"],
        ),
        (
            "version: \"1.0\"\nnamespace: app\ncluster: {enabled: maybe}\nentries: []\n",
            &["cluster.enabled: expected true or false, found the string \"maybe\""],
        ),
        (
            "version: \"1.0\"\nnamespace: app\ncluster: {}\nentries: []\n",
            &["cluster.enabled: the field is missing"],
        ),
        (
            "version: \"1.0\"\nnamespace: app\ncluster: {enabled: false, name: n}\nentries: []\n",
            &["cluster.name: the field is unknown"],
        ),
        (
            "version: \"1.0\"\nnamespace: app\ncluster: yes\nentries: []\n",
            &["cluster: expected a mapping of fields, found the string \"yes\""],
        ),
    ];
    for (text, fragments) in table {
        assert_refused(text, fragments);
    }
}

#[test]
fn every_entry_has_a_name_and_a_kind() {
    let table: &[(&str, &[&str])] = &[
        (
            "  - kind: store.memory\n",
            &["t.yaml:4:5: entries[0].name: the field is missing; add one such as name: cache"],
        ),
        (
            "  - name: a\n",
            &[
                "t.yaml:4:5: entries[0].kind: the field is missing; add one such as kind: store.memory",
            ],
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
                "entries[0].kind: \"http.service\" is no kind of entry (known are store.memory, store.sql, db.sql.sqlite)",
            ],
        ),
        (
            "  - name: a\n    kind: [store.memory]\n",
            &["entries[0].kind: expected a string, found a list"],
        ),
        (
            "  - name: a\n    kind: store.kv.raft\n    namespace: x\n",
            &["t.yaml:5:11: entries[0].kind: store.kv.raft is not supported by this build"],
        ),
        (
            "  - name: a\n    kind: store.kv.crdt\n",
            &["store.kv.crdt is not supported by this build"],
        ),
        (
            "  - name: a\n    kind: db.sql.postgres\n",
            &["db.sql.postgres is not supported by this build"],
        ),
        ("  - name: a\n    kind: kv\n", &["kv is not supported by this build"]),
        (
            "  - name: a\n    kind: security.policy\n",
            &["security.policy is not supported by this build"],
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
    for (body, fragments) in table {
        assert_refused(&format!("{HEAD}{body}"), fragments);
    }
}

#[test]
fn the_fields_of_memory_stores_are_checked() {
    let table: &[(&str, &[&str])] = &[
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
        (
            "max_size: 0x10",
            &["entries[0].max_size: \"0x10\" is no whole number; write decimal digits"],
        ),
        (
            "max_size: 99999999999999999999",
            &["entries[0].max_size: 99999999999999999999 is too large"],
        ),
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
            &[
                "entries[0].cleanup_interval: \"3000000h\" is no duration: it is longer than 292 years",
            ],
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
    for (field, fragments) in table {
        let text = format!("{HEAD}  - name: cache\n    kind: store.memory\n    {field}\n");
        assert_refused(&text, fragments);
    }
}

#[test]
fn the_fields_of_sqlite_databases_are_checked() {
    let table: &[(&str, &[&str])] = &[
        (
            "synchronous: full",
            &[
                "t.yaml:4:5: entries[0].file: the field is missing; add one such as file: records.db",
            ],
        ),
        (
            "file: ''",
            &["t.yaml:6:11: entries[0].file: the path is empty; write a path, or ':memory:'"],
        ),
        ("file: 5", &["entries[0].file: expected a string, found the integer 5; put it in quotes"]),
        (
            "file: ~/x.db",
            &[
                "entries[0].file: \"~/x.db\" starts with ~, which is not written out; write ${env:HOME}",
            ],
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
    for (fields, fragments) in table {
        let text = format!("{HEAD}  - name: db\n    kind: db.sql.sqlite\n    {fields}\n");
        assert_refused(&text, fragments);
    }
}

#[test]
fn the_fields_of_sql_stores_are_checked() {
    let table: &[(&str, &[&str])] = &[
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
    for (fields, fragments) in table {
        let text = format!("{HEAD}{DATABASE}  - name: s\n    kind: store.sql\n    {fields}\n");
        assert_refused(&text, fragments);
    }
}

#[test]
fn references_lead_to_databases_and_never_in_a_circle() {
    let table: &[(&str, &[&str])] = &[
        (
            "  - {name: a, kind: store.sql, table_name: t, database: app:dbb}\n",
            &[
                "t.yaml:5:57: entries[1].database: there is no entry app:dbb; did you mean app:db? (it has to be a database (db.sql.sqlite))",
            ],
        ),
        (
            "  - {name: a, kind: store.sql, table_name: t, database: other:thing}\n",
            &["entries[1].database: there is no entry other:thing (it has to be"],
        ),
        (
            "  - {name: m, kind: store.memory}\n  - {name: a, kind: store.sql, table_name: t, database: app:m}\n",
            &[
                "t.yaml:6:57: entries[2].database: app:m is a store.memory; name a database (db.sql.sqlite)",
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
    for (body, fragments) in table {
        assert_refused(&format!("{HEAD}{DATABASE}{body}"), fragments);
    }
}

#[test]
fn every_independent_problem_is_told_at_once_and_details_are_of_the_first() {
    let text = "version: 1\nnamespace: app\nentries:\n  - name: a\n    kind: store.memory\n    max_size: x\n    typo: 1\n  - kind: store.kv.raft\n";
    let error = refused(text);
    let expected = [
        "the configuration has 5 problems:",
        "  t.yaml:1:10: version: expected a string, found the integer 1; put it in quotes",
        "  t.yaml:6:15: entries[0].max_size: expected a whole number",
        "  t.yaml:7:5: entries[0].typo: the field is unknown",
        "  t.yaml:8:5: entries[1].name: the field is missing",
        "  t.yaml:8:11: entries[1].kind: store.kv.raft is not supported",
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

    let EntryKind::MemoryStore(memory) = config.entry("app:m").unwrap().kind() else { panic!() };
    assert_eq!(memory.max_size, 10_000);
    assert_eq!(memory.cleanup_interval, Some(Duration::from_secs(300)));
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
fn foreign_kinds_are_skipped_only_when_asked_for() {
    let text = format!(
        "{HEAD}  - {{name: 'get/{{id}}', kind: http.endpoint, method: GET, handler: [1]}}\n  - {{name: m, kind: store.memory}}\n"
    );
    assert_refused(&text, &["\"http.endpoint\" is no kind of entry"]);
    let skip = || LoadOptions { skip_foreign_kinds: true, ..LoadOptions::default() };
    let config = Config::parse(&text, ".", "t.yaml", skip()).unwrap();
    assert_eq!(config.entries().len(), 1);
    let [skipped] = config.skipped() else { panic!("one is skipped") };
    let told = (skipped.id(), skipped.kind(), skipped.location());
    assert_eq!(told, ("app:get/{id}", "http.endpoint", "t.yaml:4:5".to_owned()));

    let table = [
        ("  - {name: a, kind: store.kv.raft}\n", "store.kv.raft is not supported by this build"),
        ("  - {name: a, kind: store.memory, typo: 1}\n", "entries[0].typo: the field is unknown"),
        ("  - {kind: http.service}\n", "entries[0].name: the field is missing"),
        (
            "  - {name: a, kind: http.service}\n  - {name: a, kind: store.memory}\n",
            "app:a is already defined",
        ),
        (
            "  - {name: d, kind: db.mysql}\n  - {name: s, kind: store.sql, database: app:d, table_name: t}\n",
            "entries[1].database: app:d is of the foreign kind db.mysql and was left out",
        ),
    ];
    for (body, expected) in table {
        let error = Config::parse(&format!("{HEAD}{body}"), ".", "t.yaml", skip()).unwrap_err();
        assert_says(&error, body, &[expected]);
    }
}

fn load(path: &Path) -> Result<Config, Error> {
    Config::load(path, LoadOptions::default())
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    let error = load(&path).unwrap_err();
    assert_says(&error, "missing", &["app.yaml: can't be read: ", "check the path"]);

    let table: [(&[u8], &str); 4] = [
        (b"", "app.yaml: the file is empty"),
        (
            b"version: \"1.0\"\nnamespace: \xff\n",
            "app.yaml:2:12: the byte 0xFF is not UTF-8; save the file as UTF-8",
        ),
        (b"\xff\xfev\0e\0r\0", "app.yaml:1:1: the byte 0xFF is not UTF-8"),
        (&vec![b'#'; (4 << 20) + 1], "app.yaml: the file has more than 4194304 bytes; split it"),
    ];
    for (bytes, expected) in table {
        write(&path, bytes);
        let error = load(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_says(&error, expected, &[expected]);
    }
}

#[test]
fn a_folder_is_read_with_the_folders_below() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let error = load(root).unwrap_err();
    assert_says(
        &error,
        "empty folder",
        &["the folder has no _index.yaml", "add one, or name a file"],
    );

    let index = |namespace: &str, name: &str| {
        format!(
            "version: \"1.0\"\nnamespace: {namespace}\nentries: [{{name: {name}, kind: store.memory}}]\n"
        )
    };
    write(&root.join("_index.yaml"), index("app", "root"));
    write(&root.join("b/_index.yaml"), index("app.b", "x"));
    write(&root.join("a/_index.yaml"), index("app", "a"));
    write(&root.join("a/deep/er/_index.yaml"), index("app.b", "y"));
    write(&root.join("a/other.yaml"), "not read");
    write(&root.join(".hidden/_index.yaml"), "not read");
    let config = load(root).unwrap();
    let ids: Vec<_> = config.entries().iter().map(|entry| entry.id().as_str()).collect();
    assert_eq!(ids, ["app:root", "app:a", "app.b:y", "app.b:x"], "parents first, then by name");

    write(&root.join("c/_index.yaml"), index("app", "a"));
    write(&root.join("d/_index.yaml"), "entries: 5");
    let error = load(root).unwrap_err();
    let expected = [
        "app:a is already defined at ",
        "a/_index.yaml:3:11",
        "c/_index.yaml:3:11: entries[0]",
        "d/_index.yaml:1:1: version",
    ];
    assert_says(&error, "two files", &expected);
}

#[test]
fn a_tree_of_folders_has_limits() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    for _ in 0..33 {
        path.push("a");
    }
    std::fs::create_dir_all(&path).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert_says(&error, "deep", &["more than 32 levels deep; flatten the tree"]);

    let folder = tempfile::tempdir().unwrap();
    for i in 0..=1_000 {
        write(&folder.path().join(format!("{i}/_index.yaml")), "");
    }
    let error = load(folder.path()).unwrap_err();
    assert_says(&error, "many", &["more than 1000 _index.yaml files; merge some"]);
}

#[cfg(unix)]
#[test]
fn links_to_files_are_followed_and_links_to_folders_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let text = "version: \"1.0\"\nnamespace: app\nentries: [{name: a, kind: store.memory}]\n";
    write(&root.join("data/real.yaml"), text);
    std::os::unix::fs::symlink(root.join("data/real.yaml"), root.join("_index.yaml")).unwrap();
    std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
    assert_eq!(load(root).unwrap().entries().len(), 1);
}

/// Every block of the reference page that is a whole configuration is read; the others are
/// entries, and are read as such.
#[test]
fn the_examples_of_the_reference_page_are_right() {
    let page = include_str!("../docs/configuration.md");
    let blocks: Vec<_> =
        page.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 5, "the blocks were found");
    for block in blocks {
        let text = match block.contains("version:") {
            true => block.to_owned(),
            false => format!("{HEAD}{DATABASE}{}", block.replace("app:database", "app:db")),
        };
        parse(&text).unwrap_or_else(|error| panic!("{block}\n{error}"));
    }
    let builtin = include_str!("../src/registry/builtin.yaml");
    assert!(page.contains(builtin), "the page shows the built-in configuration as it is");
}

/// The error that the page shows is the one that its file gives.
#[test]
fn the_error_of_the_reference_page_is_real() {
    let page = include_str!("../docs/configuration.md");
    let mut blocks = page.split("```text\n").skip(1).map(|b| b.split("```").next().unwrap());
    let (shown, text) = (blocks.next().unwrap(), blocks.next().unwrap());
    let error = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap_err();
    assert_eq!(format!("{error}\n"), shown);
}
