//! The kind `db.sql.postgres` in configurations, good and bad; and that a password is never told.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll::error::{Error, ErrorKind};
use plimsoll::registry::{Config, EntryKind, Environment, LoadOptions};
use plimsoll::sql::{Password, PoolOptions, PostgresOptions, RootCertificates, SslMode};

/// What every text starts with; the fields of the entry follow from line 6, column 5.
const HEAD: &str =
    "version: \"1.0\"\nnamespace: app\nentries:\n  - name: db\n    kind: db.sql.postgres\n";

/// The fields that are required.
const REQUIRED: &str = "    host: localhost\n    database: app\n    username: me\n";

/// What no error and no listing may show.
const SECRET: &str = "hunter2";

fn parse(fields: &str) -> Result<Config, Error> {
    let variables = [("PORT", "5433"), ("SECRET", SECRET), ("NUMBER", "12345")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::Fixed(BTreeMap::from(variables));
    let options = LoadOptions { environment, ..LoadOptions::default() };
    Config::parse(&format!("{HEAD}{fields}"), "/folder", "t.yaml", options)
}

fn options(fields: &str) -> PostgresOptions {
    let config = parse(fields).unwrap();
    match config.entries()[0].kind() {
        EntryKind::PostgresDatabase(options) => options.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(options(REQUIRED), PostgresOptions::new("localhost", "app", "me"));
    let empty = options(&format!("{REQUIRED}    pool: {{}}\n    options: {{}}\n"));
    assert_eq!(empty, PostgresOptions::new("localhost", "app", "me"));
}

#[test]
fn every_field_is_read() {
    let given = options(&format!(
        "{REQUIRED}    port: ${{env:PORT}}\n    password: ${{env:SECRET}}\n    \
         pool: {{max_open: 20, max_idle: 0, max_lifetime: 0}}\n    \
         options:\n      sslmode: verify-full\n      sslrootcert: certs/ca.pem\n      \
         connect_timeout: 2s\n      statement_timeout: 1m\n      application_name: shop\n"
    ));
    let roots = RootCertificates(PathBuf::from("/folder/certs/ca.pem"));
    let expected = PostgresOptions {
        port: 5433,
        password: Some(Password::new(SECRET)),
        ssl_mode: SslMode::VerifyFull(roots),
        connect_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(60),
        application_name: "shop".to_owned(),
        pool: PoolOptions { max_open: 20, max_idle: 0, max_lifetime: None },
        ..PostgresOptions::new("localhost", "app", "me")
    };
    assert_eq!(given, expected);
    let pool = options(&format!("{REQUIRED}    pool: {{max_open: 3}}\n")).pool;
    assert_eq!((pool.max_open, pool.max_idle), (3, 3));
    let pool = options(&format!("{REQUIRED}    pool: {{max_open: 0}}\n")).pool;
    assert_eq!(pool, PoolOptions::default());
    let socket = "    host: /run/postgresql\n    database: app\n    username: me\n";
    assert!(options(socket).is_unix_socket());
}

/// Fields after the required ones, from line 9, and what the error has to say.
const WRONG: &[(&str, &str)] = &[
    ("port: 0", "t.yaml:9:11: entries[0].port: it is no port; write a number from 1 to 65535"),
    ("port: 70000", "entries[0].port: it is no port"),
    ("port: '5432'", "entries[0].port: expected a whole number, found the string \"5432\""),
    ("ports: 1", "entries[0].ports: the field is unknown; did you mean port?"),
    ("pool: 5", "entries[0].pool: expected a mapping of fields, found the integer 5"),
    ("pool: {max: 5}", "entries[0].pool.max: the field is unknown"),
    ("pool: {max_open: -1}", "entries[0].pool.max_open: -1 is negative"),
    ("pool: {max_open: 1001}", "entries[0].pool.max_open: too many connections; write 1000 or"),
    (
        "pool: {max_open: 2, max_idle: 3}",
        "entries[0].pool.max_idle: 3 is more than max_open, which is 2",
    ),
    ("pool: {max_lifetime: 60}", "entries[0].pool.max_lifetime: \"60\" is no duration"),
    (
        "options: {ssl_mode: require}",
        "entries[0].options.ssl_mode: the field is unknown; did you mean",
    ),
    (
        "options: {sslmode: on}",
        "entries[0].options.sslmode: \"on\" is unknown; write disable, prefer",
    ),
    (
        "options: {sslmode: true}",
        "entries[0].options.sslmode: expected a string, found the boolean",
    ),
    (
        "options: {sslmode: verify-full}",
        "entries[0].options.sslmode: it needs the certificates to trust; add sslrootcert",
    ),
    (
        "options: {sslmode: require, sslrootcert: ca.pem}",
        "entries[0].options: the certificates are used by verify-ca and verify-full only",
    ),
    (
        "options: {sslmode: verify-ca, sslrootcert: ~/ca.pem}",
        "entries[0].options.sslrootcert: it starts with ~",
    ),
    ("options: {connect_timeout: 10}", "entries[0].options.connect_timeout: \"10\" is no duration"),
    ("options: {connect_timeout: 0}", "entries[0].options.connect_timeout: a call has to end"),
    ("options: {statement_timeout: 25h}", "entries[0].options.statement_timeout: too long"),
    ("options: {application_name: ''}", "entries[0].options.application_name: it is empty"),
];

#[test]
fn wrong_fields_are_refused_with_their_place_and_a_remedy() {
    for (field, expected) in WRONG {
        let error = parse(&format!("{REQUIRED}    {field}\n")).expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(expected), "{field}: {error}");
    }
    for (fields, expected) in [
        ("    database: app\n    username: me\n", "host: the field is missing"),
        ("    host: h\n    username: me\n", "database: the field is missing"),
        ("    host: h\n    database: app\n", "username: the field is missing"),
        ("    host: ''\n    database: a\n    username: me\n", "host: it is empty"),
        ("    host: postgres://h/a\n    database: a\n    username: me\n", "is no host; write one"),
        ("    host: a,b\n    database: a\n    username: me\n", "is no host; write one name"),
        (
            "    host: /run\n    database: a\n    username: me\n    options: {sslmode: require}\n",
            "sslmode: a Unix socket has no TLS",
        ),
    ] {
        let error = parse(fields).expect_err(fields);
        assert!(error.message().contains(expected), "{fields}: {error}");
    }
}

#[test]
fn a_password_is_told_by_no_error_and_no_listing() {
    for (password, expected) in [
        ("[hunter2]", "expected a string, found something else; put it in quotes"),
        ("{a: hunter2}", "expected a string"),
        ("12345", "expected a string"),
        ("\"hunter2\\0\"", "it has a NUL character"),
        ("hunter2${", "its variable can't be read"),
        ("a${hunter2}b", "its variable can't be read"),
        ("${env:hunter2 x}", "its variable can't be read"),
        ("hunter2${env:MISSING}", "its variable can't be read"),
    ] {
        let fields = format!("{REQUIRED}    password: {password}\n    port: 70000\n");
        let error = parse(&fields).expect_err(password);
        assert!(error.message().contains(expected), "{password}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("12345"), "{shown}");
    }
    for password in ["hunter2", "'hunter2'", "${env:SECRET}", "x${env:SECRET}x"] {
        let fields = format!("{REQUIRED}    password: {password}\n");
        let config = parse(&fields).unwrap();
        let shown = format!("{:?} {:#?}", config.entries(), config.entries());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    // What the environment holds is text, whatever it looks like.
    let number = options(&format!("{REQUIRED}    password: ${{env:NUMBER}}\n")).password;
    assert_eq!(number, Some(Password::new("12345")));
}

#[test]
fn a_store_refers_to_it() {
    let store = "  - {name: s, kind: store.sql, database: app:db, table_name: t}\n";
    assert_eq!(parse(&format!("{REQUIRED}{store}")).unwrap().entries().len(), 2);
    let store = "  - {name: s, kind: store.sql, database: app:dv, table_name: t}\n";
    let error = parse(&format!("{REQUIRED}{store}")).unwrap_err();
    assert!(error.message().contains("did you mean app:db?"), "{error}");
    assert!(error.message().contains("a database (db.sql.sqlite, db.sql.postgres)"), "{error}");
}
