//! The configuration blocks of the documentation that the stores follow, and its table: each is
//! read word for word and does what its text says. The Lua blocks are in `seed_blocks.rs`.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use plimsoll::entry::{Key, Ttl};
use plimsoll::error::{ErrorKind, Result};
use plimsoll::registry::{Config, EntryKind, LoadOptions};
use plimsoll::store::MemoryOptions;
use plimsoll::{Plimsoll, store::StoreHandle};

fn block(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seed_blocks");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// A configuration with the entries of a block, and others beside it.
fn config(folder: &Path, block: &str, others: &str) -> Result<Config> {
    let text = format!("version: \"1.0\"\nnamespace: app\nentries:\n{block}{others}");
    Config::parse(&text, folder, "app.yaml", LoadOptions::default())
}

/// The block names its database `app:postgres`; what a store needs of it SQLite has too.
const DATABASE: &str = "- name: postgres\n  kind: db.sql.sqlite\n  file: data.db\n";

#[tokio::test]
async fn the_memory_store_of_the_documents_starts_with_its_options() {
    let config = config(Path::new("."), &block("memory_store.yaml"), "").unwrap();
    let entry = &config.entries()[0];
    assert_eq!(entry.id().as_str(), "app:sessions");
    assert!(entry.auto_start());
    let EntryKind::MemoryStore(options) = entry.kind() else { panic!("{entry:?}") };
    let five_minutes = Duration::from_secs(300);
    let expected = MemoryOptions { max_size: 10_000, cleanup_interval: Some(five_minutes) };
    assert_eq!(*options, expected);
    assert_eq!(*options, MemoryOptions::default(), "the block writes the defaults out");

    let engine = Plimsoll::open(config).await.unwrap();
    let sessions = engine.store("app:sessions").await.unwrap();
    for i in 0..10_000 {
        sessions.set(&format!("k{i}"), i, None).await.unwrap();
    }
    let refused = sessions.set("one more", 1, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "new entries are rejected");
    assert!(sessions.set("k1", 2, None).await.is_ok(), "existing ones are not");
}

#[tokio::test]
async fn the_sql_store_of_the_documents_works_on_the_table_of_the_documents() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || -> Result<StoreHandle> {
        let config = config(folder.path(), &block("sql_store.yaml"), DATABASE)?;
        Plimsoll::open(config).await?.store("app:cache").await
    };

    let file = folder.path().join("data.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let missing = open().await.unwrap_err();
    assert!(missing.message().contains("table_name"), "{missing:?}");
    assert!(missing.message().contains("CREATE TABLE"), "the error prints the statements");

    connection.execute_batch(&block("sql_table.sql")).unwrap();
    let cache = open().await.unwrap();
    let longest = "k".repeat(255);
    cache.set(&longest, 1, Ttl::from_seconds(60.0).unwrap()).await.unwrap();
    assert!(cache.set(&"k".repeat(256), 1, None).await.is_err(), "VARCHAR(255)");
    let row = "SELECT key, typeof(value), expires_at > 1e12 FROM kv_store";
    let row: (String, String, bool) =
        connection.query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(row, (longest.clone(), "blob".to_owned(), true), "milliseconds");
    drop(cache);

    let kept = open().await.unwrap().get(&longest).await.unwrap();
    assert_eq!(kept, Some(1.into()), "with persistence");
    assert!(Key::new(&longest).is_ok());
}

/// The block says nothing of the cluster that its text requires.
#[tokio::test]
async fn the_raft_store_of_the_documents_loads_and_asks_for_its_cluster() {
    let config = config(Path::new("."), &block("raft_store.yaml"), "").unwrap();
    let entry = config.entry("app:deployments").unwrap();
    let EntryKind::RaftStore(options) = entry.kind() else { panic!("{entry:?}") };
    assert_eq!(options.keyspace.as_str(), "deploy");
    let engine = Plimsoll::open(config).await.unwrap();
    let refused = engine.store("app:deployments").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("cluster.enabled: true"), "{refused:?}");
}

/// Nor does this one.
#[tokio::test]
async fn the_crdt_store_of_the_documents_loads_and_asks_for_its_cluster() {
    let config = config(Path::new("."), &block("crdt_store.yaml"), "").unwrap();
    let EntryKind::CrdtStore(options) = config.entry("app:sessions").unwrap().kind() else {
        panic!("{config:?}")
    };
    assert_eq!((options.keyspace.as_str(), options.durable), ("sess", false));
    let engine = Plimsoll::open(config).await.unwrap();
    let refused = engine.store("app:sessions").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("cluster.enabled: true"), "{refused:?}");
}
