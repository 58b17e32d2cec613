//! Servers that are down, go down, or do not let us in; statements that are killed or take too long.
//! Whatever happens, the store goes on, and says what became of a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::entry::ListQuery;
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::limits::POSTGRES_ACCESSES_MAX;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::sql::{Password, PoolOptions, PostgresDatabase, PostgresOptions, SqlClock, SslMode};
use plimsoll::store::{SqlOptions, SqlStore, StoreHandle};

use super::postgres::{PASSWORD, Server};
use super::{Fixture, NOW_MS, SEED_DDL, name};

#[track_caller]
fn assert_down(error: &Error, outcome: Option<Outcome>) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.outcome(), outcome, "{error:?}");
    assert_eq!(error.retryable(), outcome != Some(Outcome::Unknown), "{error:?}");
}

/// A store on a server that a test has for itself.
async fn store_on(server: &Server, options: PostgresOptions) -> StoreHandle {
    let clock = SqlClock::Bound(Arc::new(ManualClock::new(UnixMillis(NOW_MS))));
    let table = SqlOptions { clock, create_table: true, ..SqlOptions::new(name("kv_store")) };
    let store = SqlStore::open(PostgresDatabase::open(options), table).await;
    StoreHandle::new("app:records", store.unwrap_or_else(|e| panic!("{e}\n{}", server.log())))
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_until_it_is_back() {
    let Some(server) = Server::start(&[]) else { return };
    let role = server.new_role();
    server.stop();

    // The store opens although nobody is there.
    let store = store_on(&server, server.options(&role)).await;
    for _ in 0..2 {
        assert_down(&store.get("k").await.unwrap_err(), None);
        assert_down(&store.set("k", 1, None).await.unwrap_err(), Some(Outcome::None));
    }
    server.resume();
    store.set("k", 1, None).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1.into())));

    // A restart between two calls is not even noticed, by reads and writes alike.
    for round in 0..3 {
        server.stop();
        server.resume();
        if round % 2 == 0 {
            store.set("k", round, None).await.unwrap();
        }
        assert_eq!(store.get("k").await, Ok(Some((round / 2 * 2).into())));
    }

    // An end in the midst of calls: each has its answer, and afterwards all is as they say.
    let calls: Vec<_> = (0..16)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut last = None;
                for round in 0..1_000_000 {
                    match store.set(&format!("k{i}"), round, None).await {
                        Ok(()) => last = Some(round),
                        Err(error) => return (i, last, round, error),
                    }
                }
                panic!("the server was stopped");
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    server.resume();
    for (i, last, failed, error) in answers {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        let value = store.get(&format!("k{i}")).await.unwrap();
        let is_applied = value == Some(failed.into());
        assert!(is_applied || value == last.map(Into::into), "{value:?} after {last:?}");
        assert!(!is_applied || error.outcome() == Some(Outcome::Unknown), "{error:?}");
        assert!(error.outcome().is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_down_does_not_stop_the_start_and_a_wrong_password_does() {
    let Some(fixture) = Fixture::available() else { return };
    let config = |port: u16, password: &str| {
        let text = format!(
            "version: \"1.0\"\nnamespace: app\nentries:\n  \
             - {{name: db, kind: db.sql.postgres, host: 127.0.0.1, port: {port}, database: postgres, \
             username: {}, password: {password}, lifecycle: {{auto_start: true}}}}\n  \
             - {{name: s, kind: store.sql, database: app:db, table_name: kv_store, \
             lifecycle: {{auto_start: true}}}}\n",
            fixture.role
        );
        Config::parse(&text, ".", "t.yaml", LoadOptions::default()).unwrap()
    };
    let engine = Plimsoll::open(config(1, PASSWORD)).await.unwrap();
    let store = engine.store("app:s").await.unwrap();
    assert_down(&store.get("k").await.unwrap_err(), None);
    engine.close().await;

    let engine = Plimsoll::open(config(fixture.server.port(), PASSWORD)).await.unwrap();
    engine.store("app:s").await.unwrap().set("k", 1, None).await.unwrap();
    engine.close().await;

    let error = Plimsoll::open(config(fixture.server.port(), "hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(error.detail("field"), Some(&"password".into()), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let Some(fixture) = Fixture::available() else { return };
    let good = fixture.postgres_options();
    let wrong = Some(Password::new("wrong"));
    for (options, field) in [
        (PostgresOptions { password: wrong, ..good.clone() }, "password"),
        (PostgresOptions { password: None, ..good.clone() }, "password"),
        (PostgresOptions { username: "nobody".to_owned(), ..good.clone() }, "password"),
        (PostgresOptions { database: "nowhere".to_owned(), ..good.clone() }, "database"),
        (PostgresOptions { ssl_mode: SslMode::Require, ..good.clone() }, "sslmode"),
    ] {
        let database = PostgresDatabase::open(options);
        let error = database.check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail("field"), Some(&field.into()), "{error}");
        assert!(!error.retryable());
        let error = fixture.open(database, fixture.options()).await.unwrap_err();
        assert_eq!(error.detail("field"), Some(&field.into()), "{error}");
    }
    let unknown_host = PostgresOptions { host: "nowhere.invalid".to_owned(), ..good };
    assert_down(&PostgresDatabase::open(unknown_host).check().await.unwrap_err(), None);
}

/// Answers that are no PostgreSQL server's, or none at all.
#[tokio::test]
async fn what_is_no_server_is_an_error_within_the_connect_timeout() {
    let Some(fixture) = Fixture::available() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = PostgresOptions {
        port: listener.local_addr().unwrap().port(),
        connect_timeout: Duration::from_millis(200),
        ..fixture.postgres_options()
    };
    let start = Instant::now();
    let error = PostgresDatabase::open(silent.clone()).check().await.unwrap_err();
    assert_down(&error, None);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // The call from above is still in line; then a web server, and one whose messages have no length.
    let answers = [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\0"];
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().flatten().zip(answers) {
            let _ = std::io::Write::write_all(&mut &stream, answer);
        }
    });
    let patient = PostgresOptions { connect_timeout: Duration::from_secs(20), ..silent };
    for (kind, field) in [(ErrorKind::Unavailable, None), (ErrorKind::Invalid, Some("port"))] {
        let error = PostgresDatabase::open(patient.clone()).check().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.detail("field"), field.map(Into::into).as_ref(), "{error}");
    }
}

/// Has a write wait for a lock; answers the write, the lock, and the server's process for it.
async fn blocked_write(
    fixture: &Fixture,
    store: &StoreHandle,
) -> (tokio::task::JoinHandle<plimsoll::error::Result<()>>, tokio_postgres::Client, String) {
    store.set("k", "before", None).await.unwrap();
    let other = fixture.session().await;
    other.batch_execute("BEGIN; SELECT * FROM kv_store FOR UPDATE").await.unwrap();
    let write = {
        let store = store.clone();
        tokio::spawn(async move { store.set("k", "after", None).await })
    };
    let waiting = format!(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '{}'",
        fixture.role
    );
    // Asked once for each look: the write may wait for a moment only.
    let pid = std::cell::RefCell::new(None);
    fixture.eventually("the write waits", || {
        *pid.borrow_mut() = fixture.value(&waiting);
        pid.borrow().is_some()
    });
    (write, other, pid.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_terminated_is_certainly_not_written() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    for function in ["pg_terminate_backend", "pg_cancel_backend"] {
        let (write, other, pid) = blocked_write(&fixture, &store).await;
        fixture.server.run(&format!("SELECT {function}({pid})"));
        let error = write.await.unwrap().unwrap_err();
        let expected = match function {
            "pg_terminate_backend" => ErrorKind::Unavailable,
            _ => ErrorKind::Timeout,
        };
        assert_eq!(error.kind(), expected, "{error:?}");
        assert_eq!(error.outcome(), Some(Outcome::None), "{error:?}");
        assert!(error.retryable());
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(store.get("k").await, Ok(Some("before".into())), "{function}");
        store.set("k", 1, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_whose_server_process_is_killed_has_an_unknown_outcome() {
    let Some(server) = Server::start(&[]) else { return };
    // For ever, as statics live; the shell ends with the process.
    let server: &'static Server = Box::leak(Box::new(server));
    let clock = ManualClock::new(UnixMillis(NOW_MS));
    let fixture = Fixture { server, role: server.new_role(), clock };
    fixture.run(SEED_DDL);
    let store = fixture.store().await;
    let (write, other, pid) = blocked_write(&fixture, &store).await;
    server.request(&format!("kill -9 {pid}"));
    let error = write.await.unwrap().unwrap_err();
    assert_down(&error, Some(Outcome::Unknown));
    drop(other);

    // The server closes all connections and starts anew by itself, and the store goes on. Until then
    // a write may be cut off on a new connection too.
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.set("k", "later", None).await {
        assert_down(&error, error.outcome());
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.get("k").await, Ok(Some("later".into())));
}

#[tokio::test]
async fn idle_connections_that_were_terminated_are_replaced_unnoticed() {
    let Some(fixture) = Fixture::available() else { return };
    let store = fixture.store().await;
    let terminate = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE usename = '{}' AND application_name = 'plimsoll'",
        fixture.role
    );
    for round in 0..20 {
        let (a, b, c) = tokio::join!(store.has("a"), store.has("b"), store.has("c"));
        assert_eq!((a, b, c), (Ok(false), Ok(false), Ok(false)));
        fixture.server.run(&terminate);
        store.set("k", round, None).await.unwrap();
        fixture.server.run(&terminate);
        assert_eq!(store.get("k").await, Ok(Some(round.into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_canceled_and_not_written() {
    let Some(fixture) = Fixture::available() else { return };
    let timeout = Duration::from_millis(300);
    let options = PostgresOptions { statement_timeout: timeout, ..fixture.postgres_options() };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    let (write, other, _) = blocked_write(&fixture, &store).await;
    let error = write.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Some(Outcome::None)));
    assert!(error.retryable() && error.message().contains("statement_timeout"), "{error}");
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some("before".into())));
}

/// A server that is stopped like a debugger stops it: it holds the connection and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_leaves_the_outcome_unknown() {
    let Some(fixture) = Fixture::available() else { return };
    let options = PostgresOptions {
        statement_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(400),
        ..fixture.postgres_options()
    };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    store.set("k", "before", None).await.unwrap();
    let pid = format!(
        "SELECT pid FROM pg_stat_activity WHERE usename = '{}' AND application_name = 'plimsoll'",
        fixture.role
    );
    let pid = fixture.value(&pid).unwrap();
    fixture.server.request(&format!("kill -STOP {pid}"));
    let start = Instant::now();
    let error = store.set("k", "after", None).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Some(Outcome::Unknown)));
    assert!(!error.retryable());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // Others are served meanwhile, on another connection.
    assert_eq!(store.get("k").await, Ok(Some("before".into())));
    fixture.server.request(&format!("kill -CONT {pid}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_exhausted_says_so_in_time() {
    let Some(fixture) = Fixture::available() else { return };
    let options = PostgresOptions {
        pool: PoolOptions { max_open: 1, max_idle: 1, max_lifetime: None },
        connect_timeout: Duration::from_millis(200),
        ..fixture.postgres_options()
    };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    let (write, other, _) = blocked_write(&fixture, &store).await;
    let error = store.set("other", 1, None).await.unwrap_err();
    assert_down(&error, Some(Outcome::None));
    assert!(error.message().contains("max_open"), "{error}");
    assert_eq!(error.detail("limit"), Some(&1.into()));
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    store.set("other", 1, None).await.unwrap();
}

/// More calls than there is room for are refused at once, and the others are not disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_limit_are_refused_at_once() {
    let Some(fixture) = Fixture::available() else { return };
    let options = PostgresOptions {
        pool: PoolOptions { max_open: 2, max_idle: 2, max_lifetime: None },
        connect_timeout: Duration::from_secs(60),
        statement_timeout: Duration::from_secs(60),
        ..fixture.postgres_options()
    };
    let store = fixture.open(PostgresDatabase::open(options), fixture.options()).await.unwrap();
    let (write, other, _) = blocked_write(&fixture, &store).await;
    let calls: Vec<_> = (0..POSTGRES_ACCESSES_MAX + 10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.set("k", "after", None).await })
        })
        .collect();
    fixture.eventually("some are refused", || {
        calls.iter().filter(|call| call.is_finished()).count() >= 11
    });
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(write.await.unwrap(), Ok(()));
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_down(&error, Some(Outcome::None));
            assert_eq!(error.detail("limit"), Some(&POSTGRES_ACCESSES_MAX.into()), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 11, "one was there before");
}

#[tokio::test]
async fn a_server_without_free_connections_is_unavailable() {
    let Some(fixture) = Fixture::available() else { return };
    fixture.server.run(&format!("ALTER ROLE {} CONNECTION LIMIT 1", fixture.role));
    let other = fixture.session().await;
    let store = fixture.store().await;
    let error = store.get("k").await.unwrap_err();
    assert_down(&error, None);
    assert_eq!(error.detail("sqlstate"), Some(&"53300".into()), "{error}");
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.get("k").await {
        assert_down(&error, None);
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_role_that_may_only_read_is_denied_to_write() {
    let Some(fixture) = Fixture::available() else { return };
    fixture.store().await.set("k", 1, None).await.unwrap();
    let reader = fixture.server.new_role();
    let (owner, server) = (&fixture.role, fixture.server);
    server.run(&format!(
        "GRANT USAGE ON SCHEMA {owner} TO {reader}; GRANT SELECT ON {owner}.kv_store TO {reader}; \
         ALTER ROLE {reader} SET search_path = {owner}"
    ));
    let database = PostgresDatabase::open(server.options(&reader));
    let store = fixture.open(database, fixture.options()).await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
    assert_eq!(store.list(&ListQuery::new()).await.unwrap().items.len(), 1);
    for error in
        [store.set("k", 2, None).await.unwrap_err(), store.delete("k", None).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert_eq!(error.outcome(), Some(Outcome::None));
        assert!(!error.retryable());
    }
    assert_eq!(store.get("k").await, Ok(Some(1.into())));

    let nobody = server.new_role();
    server.run(&format!(
        "GRANT USAGE ON SCHEMA {owner} TO {nobody}; ALTER ROLE {nobody} SET search_path = {owner}"
    ));
    let database = PostgresDatabase::open(server.options(&nobody));
    let store = fixture.open(database, fixture.options()).await.unwrap();
    assert_eq!(store.get("k").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_unavailable_until_it_does() {
    let Some(fixture) = Fixture::available() else { return };
    let read_only = |on: &str| {
        let role = &fixture.role;
        fixture.server.run(&format!("ALTER ROLE {role} SET default_transaction_read_only = {on}"));
    };
    read_only("on");
    let store = fixture.store().await;
    let error = store.set("k", 1, None).await.unwrap_err();
    assert_down(&error, Some(Outcome::None));
    assert_eq!(error.detail("reason"), Some(&"read_only".into()), "{error}");
    assert_eq!(store.get("k").await, Ok(None));
    read_only("off");
    assert_down(&store.set("k", 1, None).await.unwrap_err(), Some(Outcome::None));
    // That connection is given up: the next one may lead to another server.
    store.set("k", 1, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_in_the_way_are_a_reason_to_try_again() {
    let Some(fixture) = Fixture::available() else { return };
    let role = &fixture.role;
    fixture.server.run(&format!("ALTER ROLE {role} SET lock_timeout = '1s'"));
    let store = fixture.store().await;
    let (write, other, _) = blocked_write(&fixture, &store).await;
    let error = write.await.unwrap().unwrap_err();
    assert_down(&error, Some(Outcome::None));
    assert_eq!(error.detail("reason"), Some(&"contended".into()), "{error}");
    other.batch_execute("COMMIT").await.unwrap();

    fixture.server.run(&format!(
        "ALTER ROLE {role} RESET lock_timeout; \
         ALTER ROLE {role} SET default_transaction_isolation = 'serializable'"
    ));
    let store = fixture.store().await;
    let (write, other, _) = blocked_write(&fixture, &store).await;
    other.batch_execute("UPDATE kv_store SET value = '2'; COMMIT").await.unwrap();
    let error = write.await.unwrap().unwrap_err();
    assert_down(&error, Some(Outcome::None));
    assert_eq!(error.detail("sqlstate"), Some(&"40001".into()), "{error}");
    assert_eq!(store.get("k").await, Ok(Some(2.into())));
}
