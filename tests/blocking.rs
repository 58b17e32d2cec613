//! The blocking types do what the async ones do, from plain threads, and never hang in async code.
#![cfg(all(feature = "blocking", feature = "sql"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::blocking::{Plimsoll, Store, Watch};
use plimsoll::entry::{
    Condition, EventKind, Key, ListQuery, Operation, OperationResult, PutOptions, Ttl,
};
use plimsoll::error::{ErrorKind, Outcome};
use plimsoll::policy::{Actor, Effect, Pattern, Policy};
use plimsoll::registry::ConfigBuilder;
use plimsoll::sql::{Identifier, SqliteFile, SqliteOptions};
use plimsoll::store::{Backend, MemoryOptions, SqlOptions, WatchQuery};
use plimsoll::{Config, value::Value};

fn config() -> ConfigBuilder {
    let table = SqlOptions { create_table: true, ..SqlOptions::new(Identifier::new("t").unwrap()) };
    Config::builder()
        .memory("app:memory", MemoryOptions::default())
        .sqlite("app:db", SqliteOptions::new(SqliteFile::Memory))
        .sql_store("app:sql", "app:db", table)
}

fn open() -> (Plimsoll, [Store; 2]) {
    let engine = Plimsoll::open(config().build().unwrap()).unwrap();
    let stores = ["app:memory", "app:sql"].map(|id| engine.store(id).unwrap());
    (engine, stores)
}

#[test]
fn every_store_reads_and_writes() {
    let (engine, stores) = open();
    for store in &stores {
        assert_eq!(store.get("k").unwrap(), None);
        store.set("k", 1, None).unwrap();
        assert_eq!(store.get("k").unwrap(), Some(1.into()));
        assert!(store.has("k").unwrap());
        let entry = store.put("k", "two", PutOptions::default()).unwrap();
        assert_eq!(store.entry("k").unwrap(), Some(entry));
        store.set("l", true, Ttl::from_seconds(60.0).unwrap()).unwrap();
        assert!(store.entry("l").unwrap().unwrap().expires_at.is_some());
        let page = store.list(&ListQuery::new()).unwrap();
        assert_eq!(
            page.items.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(),
            ["k", "l"]
        );
        assert!(store.delete("k", None).unwrap());
        assert!(!store.delete("k", None).unwrap());
        let error = store.set("", 1, None).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Some(Outcome::None)));
    }
    let [memory, sql] = stores;
    assert_eq!((memory.id(), memory.backend()), ("app:memory", Backend::Memory));
    assert_eq!(sql.info().unwrap().backend, Backend::Sql);
    engine.close();
    assert_eq!(sql.get("l").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(engine.store("app:sql").unwrap_err().kind(), ErrorKind::Unavailable);
    engine.close();
}

#[test]
fn conditions_transactions_and_releases_are_those_of_the_handle() {
    let (_engine, [memory, _]) = open();
    let key = |key| Key::new(key).unwrap();
    let put =
        |name, value| Operation::Put { key: key(name), value, options: PutOptions::default() };
    let done = memory.transact(&[put("a", 1.into()), put("b", 2.into())]).unwrap();
    assert!(
        matches!(&done[..], [OperationResult::Put(a), OperationResult::Put(b)] if a.version == b.version)
    );
    let absent = PutOptions { condition: Condition::Absent, ttl: None };
    assert_eq!(memory.put("a", 3, absent).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let clone = memory.clone();
    assert!(memory.release() && clone.is_released());
    assert_eq!(clone.check_released().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(clone.to_string(), "store.Store{released}");
}

#[test]
fn a_watch_waits_on_its_own_thread() {
    let (engine, [memory, _]) = open();
    let query = WatchQuery { prefix: b"k".to_vec(), after: None };
    let mut watch: Watch = memory.watch(&query).unwrap();
    let error = watch.next(Some(Duration::from_millis(5))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let watcher = thread::spawn(move || {
        let kinds: Vec<_> =
            watch.by_ref().take(2).map(|change| change.unwrap().events[0].kind).collect();
        watch.close();
        assert_eq!(watch.next(None).unwrap(), None);
        kinds
    });
    memory.set("k", 1, None).unwrap();
    memory.set("other", 1, None).unwrap();
    memory.delete("k", None).unwrap();
    assert_eq!(watcher.join().unwrap(), [EventKind::Put, EventKind::Delete]);
    let watch = memory.watch(&query).unwrap();
    let ended =
        thread::spawn(move || watch.map(|change| change.unwrap_err().kind()).collect::<Vec<_>>());
    engine.close();
    assert_eq!(ended.join().unwrap(), [ErrorKind::Canceled]);
}

#[test]
fn threads_share_an_engine_and_lose_no_update() {
    let (engine, stores) = open();
    let memory = &stores[0];
    memory.set("sum", 0, None).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            let store = engine.store("app:memory").unwrap();
            scope.spawn(move || {
                for _ in 0..50 {
                    loop {
                        let entry = store.entry("sum").unwrap().unwrap();
                        let condition = Condition::Version(entry.version);
                        let next = entry.value.as_integer().unwrap() + 1;
                        match store.put("sum", next, PutOptions { condition, ttl: None }) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(memory.get("sum").unwrap(), Some(200.into()));
}

#[test]
fn background_work_goes_on_while_nobody_calls() {
    let swept = MemoryOptions { max_size: 1, cleanup_interval: Some(Duration::from_millis(2)) };
    let engine = Plimsoll::open(Config::builder().memory("app:m", swept).build().unwrap()).unwrap();
    let store = engine.store("app:m").unwrap();
    let mut watch = store.watch(&WatchQuery::default()).unwrap();
    store.set("k", 1, Ttl::from_ms(1).unwrap()).unwrap();
    assert_eq!(watch.next(None).unwrap().unwrap().events[0].kind, EventKind::Put);
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let expired = watch.next(Some(Duration::from_secs(10))).unwrap().unwrap();
    assert_eq!(expired.events[0].kind, EventKind::Expire);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn actors_have_their_rights() {
    let all = || vec![Pattern::parse("*").unwrap()];
    let policy = Policy::new(Effect::Allow, all(), all()).with_groups(["staff"]);
    let engine = Plimsoll::open(config().policy("app:p", policy).build().unwrap()).unwrap();
    assert_eq!(engine.store("app:sql").unwrap_err().kind(), ErrorKind::PermissionDenied);
    let ann = engine.as_actor(Actor::new("ann").with_group("staff"));
    assert_eq!(ann.actor().id(), "ann");
    ann.store("app:sql").unwrap().set("k", 1, None).unwrap();
}

/// The messages of what panics in `calls`, each called in async code.
fn panics_within_async(calls: Vec<Box<dyn FnOnce() + '_>>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let panicked = calls.into_iter().map(|call| {
        let panic = runtime.block_on(async { catch_unwind(AssertUnwindSafe(call)) });
        panic.unwrap_err().downcast_ref::<&str>().map(ToString::to_string).unwrap_or_default()
    });
    panicked.collect()
}

#[test]
fn within_async_code_a_call_panics_instead_of_waiting_for_ever() {
    let (engine, [memory, _]) = open();
    let mut watch = memory.watch(&WatchQuery::default()).unwrap();
    let messages = panics_within_async(vec![
        Box::new(|| drop(memory.get("k"))),
        Box::new(|| drop(engine.store("app:memory"))),
        Box::new(|| drop(watch.next(None))),
        Box::new(|| engine.close()),
        Box::new(|| drop(Plimsoll::open(Config::default()))),
    ]);
    assert_eq!(messages.len(), 5);
    for message in messages {
        assert!(message.contains("Cannot start a runtime from within a runtime"), "{message}");
    }
    assert_eq!(memory.get("k").unwrap(), None, "it goes on outside");
}

#[test]
fn async_code_may_drop_an_engine_and_block_in_its_place() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (engine, stores) = open();
    runtime.block_on(async move {
        let store = stores[1].clone();
        let written = tokio::task::spawn_blocking(move || store.set("k", 1, None));
        written.await.unwrap().unwrap();
        drop((engine, stores));
    });
}

#[test]
fn the_async_engine_is_within_reach() {
    let (engine, [memory, _]) = open();
    memory.set("k", 1, None).unwrap();
    let both = engine.wait(async {
        let store = engine.engine().store("app:memory").await?;
        Ok::<_, plimsoll::error::Error>((store.get("k").await?, memory.handle().get("k").await?))
    });
    assert_eq!(both.unwrap(), (Some(Value::from(1)), Some(Value::from(1))));
}

#[cfg(feature = "serde")]
#[test]
fn types_go_in_and_out() {
    let (_engine, stores) = open();
    for store in stores {
        store.set_as("k", &("a", 1), None).unwrap();
        assert_eq!(store.get_as::<(String, i64)>("k").unwrap(), Some(("a".to_owned(), 1)));
        store.put_as("k", &[1, 2], PutOptions::default()).unwrap();
        assert_eq!(store.entry_as::<[i64; 2]>("k").unwrap().unwrap().value, [1, 2]);
    }
}

/// The public methods in some sources.
fn methods(files: &[&str]) -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for file in files {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        for line in text.lines().map(str::trim_start) {
            let declared = ["pub fn ", "pub async fn ", "pub const fn "]
                .iter()
                .find_map(|start| line.strip_prefix(start));
            if let Some(declared) = declared {
                methods.insert(declared.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    methods
}

#[test]
fn no_call_of_a_handle_is_missing() {
    let mut wanted = methods(&["src/store/handle.rs", "src/store/typed.rs"]);
    // These make handles, which is the engine's part here.
    assert!(wanted.remove("new") && wanted.remove("with_rights"));
    assert!(wanted.len() >= 19, "{wanted:?}");
    let mut there = methods(&["src/blocking/store.rs", "src/blocking/typed.rs"]);
    assert!(there.remove("handle"));
    assert_eq!(there, wanted);
}
