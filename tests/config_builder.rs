//! The builder and a text that says the same: equal configurations, equal errors.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::error::{Error, ErrorKind};
use plimsoll::keyspace::Keyspace;
use plimsoll::policy::{Effect, Field, Operand, Operator, Pattern, Policy, PolicyCondition};
use plimsoll::registry::{
    Config, ConfigBuilder, CrdtStoreOptions, EntryKind, LoadOptions, RaftStoreOptions,
    RegistryEntry,
};
use plimsoll::sql::{
    Identifier, Password, PoolOptions, PostgresOptions, RootCertificates, SqlClock, SqliteFile,
    SqliteOptions, SslMode, Synchronous,
};
use plimsoll::store::{MemoryOptions, SqlOptions};
use plimsoll::{Plimsoll, value::Value};
use proptest::prelude::*;

fn parse(entries: &str) -> Result<Config, Error> {
    let text = format!("version: \"1.0\"\nnamespace: app\nentries:\n{entries}");
    Config::parse(&text, "/folder", "t.yaml", LoadOptions::default())
}

fn builder() -> ConfigBuilder {
    Config::builder().folder("/folder")
}

fn table(name: &str) -> SqlOptions {
    SqlOptions::new(Identifier::new(name).unwrap())
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn condition(field: &str, operator: &str, operand: Operand) -> PolicyCondition {
    let (field, operator) = (Field::parse(field), Operator::parse(operator));
    PolicyCondition::new(field.unwrap(), operator.unwrap(), operand).unwrap()
}

fn replicas(namespace: &str, durable: bool) -> CrdtStoreOptions {
    CrdtStoreOptions { keyspace: Keyspace::new(namespace).unwrap(), durable }
}

/// All that an entry says, its place aside.
fn shown(entry: &RegistryEntry) -> String {
    let kind = match entry.kind() {
        EntryKind::MemoryStore(options) => format!("{options:?}"),
        EntryKind::Policy(policy) => format!("{policy:?}"),
        EntryKind::SqlStore(store) => format!("{} {:?}", store.database(), store.options()),
        EntryKind::SqliteDatabase(options) => format!("{options:?}"),
        EntryKind::PostgresDatabase(options) => {
            let password = options.password == Some(Password::new("pass ${env:word}"));
            format!("{options:?} {password}")
        }
        EntryKind::Kv(kv) => kv.store().to_string(),
        EntryKind::RaftStore(options) => options.keyspace.to_string(),
        EntryKind::CrdtStore(options) => format!("{options:?}"),
        other => panic!("no comparison of {other:?}"),
    };
    format!("{} {} {}: {kind}", entry.id(), entry.kind().name(), entry.auto_start())
}

const EVERY_KIND: &str = r#"
  - {name: plain, kind: store.memory}
  - {name: small, kind: store.memory, max_size: 7, cleanup_interval: 1h30m, lifecycle: {auto_start: true}}
  - {name: unswept, kind: store.memory, cleanup_interval: 0}
  - {name: memory, kind: db.sql.sqlite, file: ":memory:"}
  - {name: file, kind: db.sql.sqlite, file: data/x.db, synchronous: normal, busy_timeout: 250ms}
  - {name: records, kind: store.sql, database: app:file, table_name: records, create_table: true}
  - {name: foreign, kind: store.sql, database: app:pg, table_name: T, id_column_name: id,
     payload_column_name: body, expire_column_name: until, cleanup_interval: 500us, lifecycle: {auto_start: false}}
  - {name: pg, kind: db.sql.postgres, host: localhost, database: app, username: me}
  - {name: tls, kind: db.sql.postgres, host: db.example, port: 5433, database: app, username: me,
     password: "pass $${env:word}", pool: {max_open: 3, max_idle: 1, max_lifetime: 0},
     options: {sslmode: verify-full, sslrootcert: ca.pem, connect_timeout: 1s, statement_timeout: 1m,
               application_name: shop}}
  - {name: namespaces, kind: kv, store: app:records}
  - {name: deployments, kind: store.kv.raft, namespace: deploy.v-1_x}
  - {name: sessions, kind: store.kv.crdt, namespace: sess}
  - {name: kept, kind: store.kv.crdt, namespace: kept, durable: true}
  - {name: read, kind: security.policy,
     policy: {effect: allow, actions: "store.key.*", resources: app:plain}}
  - {name: deny, kind: security.policy, groups: [staff, guests], policy: {effect: deny,
     actions: [store.get, "http.*"], resources: ["*", "app:r*"], conditions: [
       {field: key, operator: matches, value: "^a"}, {field: actor.id, operator: nexists},
       {field: actor.meta.team.level, operator: in, value: [1, 2.0, "3", true]},
       {field: actor.meta.age, operator: lte, value: -1.5e300}, {field: prefix, operator: ne, value: "5"}]}}
"#;

fn every_kind() -> ConfigBuilder {
    let sqlite = SqliteOptions {
        synchronous: Synchronous::Normal,
        busy_timeout: Duration::from_millis(250),
        ..SqliteOptions::new(SqliteFile::Path("data/x.db".into()))
    };
    let column = |name| Identifier::new(name).unwrap();
    let foreign = SqlOptions {
        key_column: column("id"),
        payload_column: column("body"),
        expire_column: column("until"),
        cleanup_interval: Some(Duration::from_secs(1)),
        ..table("T")
    };
    let tls = PostgresOptions {
        port: 5433,
        password: Some(Password::new("pass ${env:word}")),
        ssl_mode: SslMode::VerifyFull(RootCertificates("ca.pem".into())),
        connect_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(60),
        application_name: "shop".to_owned(),
        pool: PoolOptions { max_open: 3, max_idle: 1, max_lifetime: None },
        ..PostgresOptions::new("db.example", "app", "me")
    };
    let small = MemoryOptions { max_size: 7, cleanup_interval: Some(Duration::from_secs(5_400)) };
    let levels = vec![1.into(), 2.0.into(), "3".into(), true.into()];
    let one = |value: Value| Operand::One(value);
    let keyspace = Keyspace::new("deploy.v-1_x").unwrap();
    let deny =
        Policy::new(Effect::Deny, patterns(&["store.get", "http.*"]), patterns(&["*", "app:r*"]))
            .with_groups(["staff", "guests"])
            .with_condition(condition("key", "matches", one("^a".into())))
            .with_condition(condition("actor.id", "nexists", Operand::None))
            .with_condition(condition("actor.meta.team.level", "in", Operand::Many(levels)))
            .with_condition(condition("actor.meta.age", "lte", one((-1.5e300).into())))
            .with_condition(condition("prefix", "ne", one("5".into())));
    builder()
        .auto_start("app:small")
        .memory("app:plain", MemoryOptions::default())
        .memory("app:small", small)
        .memory("app:unswept", MemoryOptions { cleanup_interval: None, ..Default::default() })
        .sqlite("app:memory", SqliteOptions::new(SqliteFile::Memory))
        .sqlite("app:file", sqlite)
        .sql_store("app:records", "app:file", SqlOptions { create_table: true, ..table("records") })
        .sql_store("app:foreign", "app:pg", foreign)
        .postgres("app:pg", PostgresOptions::new("localhost", "app", "me"))
        .postgres("app:tls", tls)
        .kv("app:namespaces", "app:records")
        .raft_store("app:deployments", RaftStoreOptions { keyspace })
        .crdt_store("app:sessions", replicas("sess", false))
        .crdt_store("app:kept", replicas("kept", true))
        .policy(
            "app:read",
            Policy::new(Effect::Allow, patterns(&["store.key.*"]), patterns(&["app:plain"])),
        )
        .policy("app:deny", deny)
}

#[test]
fn a_builder_and_a_text_make_the_same_configuration() {
    let text = EVERY_KIND.replace("500us", "1s");
    let (parsed, built) = (parse(&text).unwrap(), every_kind().build().unwrap());
    let kinds: std::collections::BTreeSet<_> =
        built.entries().iter().map(|entry| entry.kind().name()).collect();
    assert_eq!(kinds.len(), 8, "every kind of this build is compared: {kinds:?}");
    assert_eq!(parsed.entries().len(), built.entries().len());
    for (parsed, built) in parsed.entries().iter().zip(built.entries()) {
        assert_eq!(shown(built), shown(parsed));
    }
    assert_eq!(built.kv().unwrap().store().as_str(), "app:records");
    assert_eq!(built.entry("app:small").unwrap().kind().name(), "store.memory");
}

/// A message without the places in it.
fn without_places(error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let is_place = |word: &str| {
        let mut parts = word.trim_end_matches([':', ';']).rsplitn(3, ':');
        let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
        is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some()
    };
    let words = error.message().split(' ');
    words.map(|word| if is_place(word) { "@" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Checks that both are refused in the same words; some of them are given.
#[track_caller]
fn assert_refused(entries: &str, builder: ConfigBuilder, says: &str) {
    let (parsed, built) = (parse(entries).unwrap_err(), builder.build().unwrap_err());
    assert_eq!(without_places(&built), without_places(&parsed), "{entries}");
    assert!(built.message().contains(says), "{built}");
    assert_eq!(built.detail("field"), parsed.detail("field"));
    assert_eq!(built.detail("limit"), parsed.detail("limit"));
    assert_eq!(built.detail("file"), Some(&file!().into()));
}

fn interval(interval: Duration) -> MemoryOptions {
    MemoryOptions { cleanup_interval: Some(interval), ..MemoryOptions::default() }
}

const SHORT: Duration = Duration::from_micros(500);

#[test]
fn stores_are_checked_in_the_same_words() {
    assert_refused(
        "  - {name: a, kind: store.memory, cleanup_interval: 500us}\n",
        builder().memory("app:a", interval(SHORT)),
        "entries[0].cleanup_interval: 500us is too short: write 1ms or longer",
    );
    assert_refused(
        "  - {name: a b, kind: store.memory}\n",
        builder().memory("app:a b", MemoryOptions::default()),
        "\"a b\" is no name of an entry",
    );
    assert_refused(
        "  - {name: a, kind: store.memory}\n  - {name: a, kind: store.memory}\n",
        builder()
            .memory("app:a", MemoryOptions::default())
            .memory("app:a", MemoryOptions::default()),
        "app:a is already defined at",
    );
    assert_refused(
        "  - {name: a, kind: store.sql, database: app:b, table_name: t}\n  - {name: b, kind: store.memory}\n",
        builder().sql_store("app:a", "app:b", table("t")).memory("app:b", MemoryOptions::default()),
        "entries[0].database: app:b is a store.memory; name a database",
    );
    assert_refused(
        "  - {name: a, kind: store.sql, database: cache, table_name: t}\n",
        builder().sql_store("app:a", "cache", table("t")),
        "entries[0].database: \"cache\" is no entry id",
    );
    let twice = SqlOptions { key_column: Identifier::new("value").unwrap(), ..table("t") };
    assert_refused(
        "  - {name: a, kind: store.sql, database: app:b, table_name: t, id_column_name: value,
     payload_column_name: value, expire_column_name: expires_at}\n",
        builder().sql_store("app:a", "app:b", twice),
        "rename one of them",
    );
    assert_refused(
        "  - {name: a, kind: kv, store: app:a}\n",
        builder().kv("app:a", "app:a"),
        "app:a -> app:a is a cycle of references",
    );
    assert_refused(
        "  - {name: a, kind: kv, store: app:c}\n  - {name: b, kind: kv, store: app:c}\n  - {name: c, kind: store.memory}\n",
        builder()
            .kv("app:a", "app:c")
            .kv("app:b", "app:c")
            .memory("app:c", MemoryOptions::default()),
        "app:b is a second entry of kind kv, the first stands at",
    );
    assert_refused(
        "  - {name: a, kind: store.memory, cleanup_interval: 500us}\n  - {name: b, kind: store.memory, cleanup_interval: 3000000h}\n",
        builder()
            .memory("app:a", interval(SHORT))
            .memory("app:b", interval(Duration::from_hours(3_000_000))),
        "the configuration has 2 problems:",
    );
}

#[test]
fn databases_are_checked_in_the_same_words() {
    let file = |path: &str| SqliteOptions::new(SqliteFile::Path(path.into()));
    for path in ["", "~/x.db"] {
        assert_refused(
            &format!("  - {{name: a, kind: db.sql.sqlite, file: \"{path}\"}}\n"),
            builder().sqlite("app:a", file(path)),
            "entries[0].file: ",
        );
    }
    let patient = SqliteOptions { busy_timeout: Duration::from_hours(25), ..file("x") };
    assert_refused(
        "  - {name: a, kind: db.sql.sqlite, file: x, busy_timeout: 25h}\n",
        builder().sqlite("app:a", patient),
        "25h is too long; write 24h or less",
    );
    let socket =
        PostgresOptions { ssl_mode: SslMode::Require, ..PostgresOptions::new("/run", "app", "me") };
    let pool = |max_open, max_idle| PoolOptions { max_open, max_idle, max_lifetime: None };
    let here = || PostgresOptions::new("localhost", "app", "me");
    for (fields, options, says) in [
        ("host: \"a,b\"", PostgresOptions::new("a,b", "app", "me"), "\"a,b\" is no host"),
        ("host: localhost, port: 0", PostgresOptions { port: 0, ..here() }, "it is no port"),
        (
            "host: localhost, pool: {max_open: 3, max_idle: 4}",
            PostgresOptions { pool: pool(3, 4), ..here() },
            "pool.max_idle: 4 is more than max_open",
        ),
        (
            "host: localhost, pool: {max_open: 1001}",
            PostgresOptions { pool: pool(1_001, 3), ..here() },
            "write 1000 or fewer",
        ),
        (
            "host: localhost, options: {connect_timeout: 0}",
            PostgresOptions { connect_timeout: Duration::ZERO, ..here() },
            "a call has to end some time",
        ),
        ("host: /run, options: {sslmode: require}", socket, "a Unix socket has no TLS"),
        (
            "host: localhost, password: \"a\\0b\"",
            PostgresOptions { password: Some(Password::new("a\0b")), ..here() },
            "it has a NUL character",
        ),
    ] {
        assert_refused(
            &format!(
                "  - {{name: a, kind: db.sql.postgres, database: app, username: me, {fields}}}\n"
            ),
            builder().postgres("app:a", options),
            says,
        );
    }
}

#[test]
fn policies_are_checked_in_the_same_words() {
    let policy = |actions: &[&str]| Policy::new(Effect::Allow, patterns(actions), patterns(&["*"]));
    let text = |actions: &str, further: &str| {
        format!(
            "  - {{name: a, kind: security.policy, {further}policy: {{effect: allow, actions: {actions}, resources: \"*\"}}}}\n"
        )
    };
    assert_refused(
        &text("[store.key.gett]", ""),
        builder().policy("app:a", policy(&["store.key.gett"])),
        "no action is \"store.key.gett\"; did you mean store.key.get?",
    );
    assert_refused(&text("[]", ""), builder().policy("app:a", policy(&[])), "the list is empty");
    assert_refused(
        &text("[store.get]", "groups: [\"\"], "),
        builder().policy("app:a", policy(&["store.get"]).with_groups([""])),
        "the name of the group is empty",
    );
}

#[test]
fn what_only_a_builder_can_say_is_checked_too() {
    let error = builder().memory("cache", interval(SHORT)).build().unwrap_err();
    assert!(error.message().contains("entries[0].id: \"cache\" is no entry id"), "{error}");
    assert!(error.message().contains("entries[0].cleanup_interval: 500us is too short"), "{error}");
    let error = builder().memory(":x", MemoryOptions::default()).build().unwrap_err();
    assert!(error.message().contains("entries[0].namespace: \"\" is no namespace"), "{error}");

    let cache = builder().memory("app:cache", MemoryOptions::default());
    let (error, line) = (cache.auto_start("app:cashe").build().unwrap_err(), line!());
    let says = "auto_start: there is no entry app:cashe; did you mean app:cache?";
    assert!(error.message().ends_with(says), "{error}");
    assert_eq!(error.detail("line"), Some(&line.into()));

    let float = PolicyCondition::new(
        Field::parse("actor.meta.x").unwrap(),
        Operator::Eq,
        Operand::One(f64::NAN.into()),
    );
    let policy = Policy::new(Effect::Allow, patterns(&["*"]), patterns(&["*"]));
    let error =
        builder().policy("app:a", policy.with_condition(float.unwrap())).build().unwrap_err();
    assert!(error.message().contains("conditions[0].value: .nan is no number"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_path_that_no_text_could_name_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"\xff.db"));
    let error =
        builder().sqlite("app:a", SqliteOptions::new(SqliteFile::Path(path.clone()))).build();
    assert!(
        error.unwrap_err().message().ends_with("entries[0].file: the path is not UTF-8; rename it")
    );
    let ssl_mode = SslMode::VerifyCa(RootCertificates(path));
    let options = PostgresOptions { ssl_mode, ..PostgresOptions::new("localhost", "app", "me") };
    let error = builder().postgres("app:a", options).build().unwrap_err();
    assert!(
        error
            .message()
            .ends_with("entries[0].options.sslrootcert: the path is not UTF-8; rename it")
    );
}

#[test]
fn text_means_itself_and_paths_resolve_from_the_folder() {
    let options = |path: &str| SqliteOptions::new(SqliteFile::Path(path.into()));
    let config = builder()
        .sqlite("app:a", options("${env:HOME}/$${x}.db"))
        .sqlite("app:b", options("/elsewhere/x.db"))
        .sqlite("app:c", options(":memory:"))
        .build()
        .unwrap();
    let files: Vec<_> = config
        .entries()
        .iter()
        .map(|entry| match entry.kind() {
            EntryKind::SqliteDatabase(SqliteOptions { file: SqliteFile::Path(path), .. }) => {
                path.clone()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = ["/folder/${env:HOME}/$${x}.db", "/elsewhere/x.db", "/folder/./:memory:"];
    assert_eq!(files, expected.map(PathBuf::from));
    let config = Config::builder().sqlite("app:a", options("x.db")).build().unwrap();
    let here = std::env::current_dir().unwrap().join("x.db");
    assert!(format!("{:?}", config.entries()[0].kind()).contains(here.to_str().unwrap()));
}

#[tokio::test]
async fn a_built_configuration_opens_and_keeps_its_clock() {
    let clock = ManualClock::new(UnixMillis(1_000_000));
    let options = SqlOptions {
        create_table: true,
        clock: SqlClock::Bound(Arc::new(clock.clone())),
        ..table("t")
    };
    let config = builder()
        .sqlite("app:db", SqliteOptions::new(SqliteFile::Memory))
        .sql_store("app:store", "app:db", options)
        .auto_start("app:store")
        .build()
        .unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    let store = engine.store("app:store").await.unwrap();
    let ttl = plimsoll::entry::Ttl::from_seconds(10.0).unwrap();
    store.set("k", "v", ttl).await.unwrap();
    clock.advance_ms(9_999);
    assert!(store.has("k").await.unwrap());
    clock.advance_ms(1);
    assert!(!store.has("k").await.unwrap());
    engine.close().await;
}

fn durations() -> impl Strategy<Value = Option<Duration>> {
    let some = (1_000_000..i64::MAX as u64).prop_map(Duration::from_nanos);
    prop_oneof![
        Just(None),
        some.prop_map(Some),
        (1..9_u64).prop_map(|m| Some(Duration::from_mins(m)))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_builder_is_given_is_what_the_configuration_has(
        max_size in any::<u64>(),
        cleanup_interval in durations(),
        port in 1..=u16::MAX,
        max_open in 1..=1_000_usize,
        idle in 0.0..=1.0_f64,
        name in "[^\0]{1,20}",
        password in "[^\0]{1,20}",
        timeout in 1..86_400_000_u64,
    ) {
        let memory = MemoryOptions { max_size, cleanup_interval };
        let postgres = PostgresOptions {
            port,
            password: Some(Password::new(&password)),
            statement_timeout: Duration::from_millis(timeout),
            application_name: name.clone(),
            pool: PoolOptions {
                max_open,
                max_idle: (max_open as f64 * idle) as usize,
                max_lifetime: cleanup_interval,
            },
            ..PostgresOptions::new("localhost", &name, &name)
        };
        let config = builder().memory("a:m", memory).postgres("a:p", postgres.clone()).build().unwrap();
        let [EntryKind::MemoryStore(m), EntryKind::PostgresDatabase(p)] =
            [config.entries()[0].kind(), config.entries()[1].kind()] else { panic!("other kinds") };
        prop_assert_eq!(*m, memory);
        prop_assert_eq!(p, &postgres);
    }
}
