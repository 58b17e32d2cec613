//! Encrypted connections: every mode, against a server whose certificate is for `localhost` and
//! comes from an authority of the tests' own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::sql::{PostgresDatabase, PostgresOptions, RootCertificates, SslMode};
use plimsoll::store::{SqlOptions, SqlStore, StoreHandle};

use super::name;
use super::postgres::{Server, skipped};

/// Makes two authorities in the folder of the server, and its certificate by the first.
const CERTIFICATES: &str = "cd \"$folder\" && \
    for ca in ca other; do \
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem \
            -addext basicConstraints=critical,CA:TRUE || exit; \
    done; \
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr && \
    echo subjectAltName=DNS:localhost >server.ext && \
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile server.ext -out server.pem && \
    chmod 600 server.key && chmod 755 . && chmod 644 ca.pem other.pem";

/// A server with TLS; none, and a word on why, where it can't be had.
fn server() -> Option<Server> {
    if Command::new("openssl").arg("version").output().is_err() {
        skipped("openssl is not installed");
        return None;
    }
    let server = Server::start(&[])?;
    server.request(CERTIFICATES);
    let file = |file: &str| server.folder().join(file).display().to_string();
    server.run(&format!("ALTER SYSTEM SET ssl_cert_file = '{}'", file("server.pem")));
    server.run(&format!("ALTER SYSTEM SET ssl_key_file = '{}'", file("server.key")));
    server.run("ALTER SYSTEM SET ssl = on");
    server.stop();
    server.resume();
    Some(server)
}

async fn open(options: PostgresOptions) -> Result<StoreHandle, Error> {
    let table = SqlOptions { create_table: true, ..SqlOptions::new(name("kv_store")) };
    let store = SqlStore::open(PostgresDatabase::open(options), table).await?;
    Ok(StoreHandle::new("app:records", store))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_encrypts_and_checks_what_it_says() {
    let Some(server) = server() else { return };
    let role = server.new_role();
    let roots = |file: &str| RootCertificates(server.folder().join(file));
    let options = |host: &str, ssl_mode| PostgresOptions {
        host: host.to_owned(),
        ssl_mode,
        ..server.options(&role)
    };
    let is_encrypted = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                        WHERE usename = current_user AND application_name = 'plimsoll'";
    for (host, ssl_mode, expected) in [
        ("127.0.0.1", SslMode::Disable, "f"),
        ("127.0.0.1", SslMode::Prefer, "t"),
        ("127.0.0.1", SslMode::Require, "t"),
        ("127.0.0.1", SslMode::VerifyCa(roots("ca.pem")), "t"),
        ("localhost", SslMode::VerifyFull(roots("ca.pem")), "t"),
    ] {
        let database = PostgresDatabase::open(options(host, ssl_mode.clone()));
        let table = SqlOptions { create_table: true, ..SqlOptions::new(name("kv_store")) };
        let store = SqlStore::open(database.clone(), table).await.unwrap();
        let store = StoreHandle::new("app:records", store);
        let large = vec![b'x'; 1_000_000];
        store.set("k", large.clone(), None).await.unwrap();
        assert_eq!(store.get("k").await, Ok(Some(large.into())), "{ssl_mode:?}");
        assert_eq!(server.value(&role, is_encrypted).as_deref(), Some(expected), "{ssl_mode:?}");
        database.close().await;
    }

    let garbage: PathBuf = std::env::current_exe().unwrap();
    for (host, ssl_mode, field, message) in [
        ("127.0.0.1", SslMode::VerifyFull(roots("ca.pem")), "sslmode", "not valid for name"),
        ("127.0.0.1", SslMode::VerifyCa(roots("other.pem")), "sslmode", "invalid peer certificate"),
        (
            "localhost",
            SslMode::VerifyFull(roots("other.pem")),
            "sslmode",
            "invalid peer certificate",
        ),
        ("localhost", SslMode::VerifyFull(roots("no.pem")), "sslrootcert", "No such file"),
        ("localhost", SslMode::VerifyCa(RootCertificates(garbage)), "sslrootcert", "in PEM"),
    ] {
        let error = open(options(host, ssl_mode.clone())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.detail("field"), Some(&field.into()), "{error}");
        assert!(error.message().contains(message), "{ssl_mode:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_canceled_over_an_encrypted_connection() {
    let Some(server) = server() else { return };
    let role = server.new_role();
    let options = PostgresOptions {
        ssl_mode: SslMode::VerifyCa(RootCertificates(server.folder().join("ca.pem"))),
        statement_timeout: Duration::from_millis(200),
        ..server.options(&role)
    };
    let store = open(options).await.unwrap();
    store.set("k", 1, None).await.unwrap();
    let other = server.connect(&role).await.unwrap();
    other.batch_execute("BEGIN; SELECT * FROM kv_store FOR UPDATE").await.unwrap();
    let error = store.set("k", 2, None).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Some(Outcome::None)),
        "{error}"
    );
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1.into())));
}
