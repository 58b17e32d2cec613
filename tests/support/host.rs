//! Engines and Lua states for the tests of the Lua surface.
//!
//! [`KINDS`] lists the kinds of store that exist; a test of the surface runs on each that its
//! behaviour applies to.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses what it needs")]

use std::sync::{Arc, Mutex, PoisonError};

use plimsoll::lua::mlua::{Lua, MultiValue, Value};
use plimsoll::policy::Actor;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use tempfile::TempDir;

/// A kind of store under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// As `store.backend` names it.
    pub backend: &'static str,
    /// The entries that make the store `app:cache`.
    entries: &'static str,
}

pub const MEMORY: Kind = Kind {
    backend: "memory",
    entries: "
  - name: cache
    kind: store.memory
",
};

#[cfg(feature = "sql")]
pub const SQL: Kind = Kind {
    backend: "sql",
    entries: "
  - name: database
    kind: db.sql.sqlite
    file: data/test.db
  - name: cache
    kind: store.sql
    database: app:database
    table_name: kv_store
    create_table: true
",
};

#[cfg(feature = "node")]
pub const RAFT: Kind = Kind {
    backend: "kv.raft",
    entries: "
  - name: cache
    kind: store.kv.raft
    namespace: cache
cluster:
  enabled: true
  name: solo
  raft: {data_dir: data, heartbeat_timeout: 10ms, election_timeout: 50ms}
",
};

#[cfg(feature = "node")]
pub const CRDT: Kind = Kind {
    backend: "kv.crdt",
    entries: "
  - name: cache
    kind: store.kv.crdt
    namespace: cache
cluster:
  enabled: true
  name: solo
  raft: {data_dir: data, heartbeat_timeout: 10ms, election_timeout: 50ms}
",
};

pub const KINDS: &[Kind] = &[
    MEMORY,
    #[cfg(feature = "node")]
    CRDT,
    #[cfg(feature = "node")]
    RAFT,
    #[cfg(feature = "sql")]
    SQL,
];

/// A state with an engine of one store, `app:cache`, which is also the global `cache`.
pub struct Host {
    pub lua: Lua,
    pub engine: Plimsoll,
    printed: Arc<Mutex<Vec<u8>>>,
    folder: TempDir,
}

impl Host {
    pub async fn new(kind: Kind) -> Self {
        let text = format!("version: \"1.0\"\nnamespace: app\nentries:{}", kind.entries);
        Self::on(&text, Actor::anonymous()).await
    }

    /// A state on a configuration with a store `app:cache`, for an actor who may acquire it.
    pub async fn on(text: &str, actor: Actor) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            Config::parse(text, folder.path(), "app.yaml", LoadOptions::default()).unwrap();
        let engine = Plimsoll::open(config).await.unwrap().as_actor(actor);
        let lua = Lua::new();
        plimsoll::lua::install(&lua, &engine).unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        replace_print(&lua, Arc::clone(&printed));
        let host = Self { lua, engine, printed, folder };
        host.run("store = require('store') time = require('time') cache = store.get('app:cache')")
            .await;
        host
    }

    /// Runs a chunk; its results.
    pub async fn try_run(&self, chunk: &str) -> plimsoll::lua::mlua::Result<MultiValue> {
        self.lua.load(chunk).set_name("=script").eval_async().await
    }

    /// Runs a chunk that must not raise; its results.
    pub async fn run(&self, chunk: &str) -> MultiValue {
        self.try_run(chunk).await.unwrap_or_else(|error| panic!("{chunk}\n{error}"))
    }

    /// Runs a chunk and shows its results, separated by a blank.
    pub async fn show(&self, chunk: &str) -> String {
        let results = self.run(chunk).await;
        results.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    /// Runs a statement in the database of the kind `sql`, as another program would.
    #[cfg(feature = "sql")]
    pub fn in_database(&self, statement: &str) {
        let database = rusqlite::Connection::open(self.folder.path().join("data/test.db")).unwrap();
        database.execute(statement, []).unwrap();
    }

    /// What was printed since the last call.
    pub fn printed(&self) -> String {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&std::mem::take(&mut *printed)).into_owned()
    }
}

/// A value as `tostring` shows it.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string_lossy(),
        value => value.to_string().unwrap(),
    }
}

/// Makes `print` write where a test can read it.
pub fn replace_print(lua: &Lua, printed: Arc<Mutex<Vec<u8>>>) {
    let write = lua
        .create_function(move |_, text: plimsoll::lua::mlua::LuaString| {
            printed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&text.as_bytes());
            Ok(())
        })
        .unwrap();
    lua.load(
        "local write = ...
        function print(...)
          local texts = table.pack(...)
          for i = 1, texts.n do texts[i] = tostring(texts[i]) end
          write(table.concat(texts, '\\t') .. '\\n')
        end",
    )
    .call::<()>(write)
    .unwrap();
}
