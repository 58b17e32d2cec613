//! Entries of kind `kv`: how they are read, what they refer to, and the namespaces they make.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::lua::mlua::Lua;
use plimsoll::namespaces::{PutOptions, Query};
use plimsoll::policy::Actor;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::value::Value;
use tempfile::TempDir;

fn parse(entries: &str) -> Result<Config, Error> {
    parse_in(&tempfile::tempdir().unwrap(), entries)
}

fn parse_in(folder: &TempDir, entries: &str) -> Result<Config, Error> {
    let text = format!("version: \"1.0\"\nnamespace: app\nentries:\n{entries}");
    let options = LoadOptions { skip_foreign_kinds: true, ..LoadOptions::default() };
    Config::parse(&text, folder.path(), "app.yaml", options)
}

const STORE: &str = "
  - name: deployments
    kind: store.memory
";
const KV: &str = "
  - name: kv
    kind: kv
    store: app:deployments
";

#[test]
fn an_entry_of_kind_kv_is_checked_like_any_other() {
    let config = parse(&format!("{KV}{STORE}")).unwrap();
    assert_eq!(config.kv().unwrap().store().as_str(), "app:deployments");
    assert!(parse(STORE).unwrap().kv().is_none());
    let second = KV.replace("name: kv", "name: kv2");
    for (entries, message) in [
        (KV.to_owned(), "there is no entry app:deployments (it has to be a store)"),
        (
            format!("{}{STORE}", KV.replace("    store: app:deployments\n", "")),
            "store: the field is missing",
        ),
        (format!("{KV}{STORE}    x: 1\n"), "the field is unknown"),
        (format!("{KV}    namespace: users\n{STORE}"), "the field is unknown"),
        (KV.replace("app:deployments", "deployments"), "no entry id"),
        (KV.replace("app:deployments", "app:kv"), "a cycle of references; name a store"),
        (
            format!(
                "{}  - name: db\n    kind: db.sql.sqlite\n    file: x.db\n",
                KV.replace("app:deployments", "app:db")
            ),
            "app:db is a db.sql.sqlite; name a store",
        ),
        (
            format!("{STORE}{KV}{second}"),
            "app:kv2 is a second entry of kind kv, the first stands at app.yaml:8:",
        ),
    ] {
        let error = parse(&entries).expect_err(&entries);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(message), "{entries}\n{error}");
    }
}

#[tokio::test]
async fn it_is_no_store_and_an_engine_without_one_has_no_namespaces() {
    let engine = Plimsoll::open(parse(&format!("{STORE}{KV}")).unwrap()).await.unwrap();
    let error = engine.store("app:kv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("app:kv is a kv, not a store"), "{error}");
    let other = Plimsoll::open(parse(STORE).unwrap()).await.unwrap();
    assert!(other.namespaces().is_none());
}

#[tokio::test]
async fn what_scripts_put_is_in_the_store_and_back() {
    let engine = Plimsoll::open(parse(&format!("{STORE}{KV}")).unwrap()).await.unwrap();
    let lua = Lua::new();
    plimsoll::lua::install(&lua, &engine).unwrap();
    plimsoll::lua::install_kv(&lua, &engine.namespaces().unwrap()).unwrap();
    lua.load(
        r#"
        local store = require("store").get("app:deployments")
        local kv = KV.namespace("a/b")
        kv:put("k", {n = 1}, {metadata = {by = "alice"}, expirationTtl = 60})
        local entry = store:entry("612f62/k")
        assert(entry.value.bytes == '{"n":1}' and entry.value.metadata.by == "alice")
        local _, about = kv:getWithMetadata("k")
        assert(math.abs(entry.expires_at - about.expiration) < 1)
        -- What is written in that form by others is an entry.
        store:set("612f62/theirs", {bytes = "\xff", metadata = {x = 1}}, 100)
        local value, about = kv:getWithMetadata("theirs")
        assert(value == "\xff" and about.metadata.x == 1 and about.expiration > os.time() + 98)
        -- What is not is listed, and told where it is read.
        store:set("612f62/odd", 5)
        assert(kv:list().keys[2].name == "odd")
        local ok, err = pcall(kv.get, kv, "odd")
        assert(not ok and err:kind() == errors.INTERNAL and err:details().key == "612f62/odd")
        kv:delete("odd")
        assert(not store:has("612f62/odd"))
        "#,
    )
    .exec_async()
    .await
    .unwrap();
    engine.close().await;
    let namespace = engine.namespaces().unwrap().namespace(b"ns").await.unwrap();
    let error = namespace.get(b"k").await.unwrap_err();
    assert!(error.message().contains("closed"), "{error}");
}

#[tokio::test]
async fn the_store_is_opened_by_the_first_call_or_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let entries = "
  - name: db
    kind: db.sql.sqlite
    file: app.db
  - name: deployments
    kind: store.sql
    database: app:db
    table_name: missing
  - name: kv
    kind: kv
    store: app:deployments
";
    let config = parse_in(&folder, entries).unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    let namespace = engine.namespaces().unwrap().namespace(b"ns").await.unwrap();
    let error = namespace.put(b"k", "v", PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Some(Outcome::None)));
    assert_eq!(error.detail("field"), Some(&Value::from("file")), "{error}");

    let at_start = format!("{entries}    lifecycle:\n      auto_start: true\n");
    let error = Plimsoll::open(parse_in(&folder, &at_start).unwrap()).await.unwrap_err();
    assert!(error.message().contains("app:deployments"), "{error}");
}

#[tokio::test]
async fn a_full_store_says_so() {
    let entries = format!("{KV}{STORE}    max_size: 1\n");
    let engine = Plimsoll::open(parse(&entries).unwrap()).await.unwrap();
    let namespace = engine.namespaces().unwrap().namespace(b"ns").await.unwrap();
    namespace.put(b"a", "v", PutOptions::default()).await.unwrap();
    let error = namespace.put(b"b", "v", PutOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Some(Outcome::None)));
    namespace.put(b"a", "w", PutOptions::default()).await.unwrap();
}

/// Policies see the store and its keys: `6e73` is `ns`.
#[tokio::test]
async fn policies_hold_for_namespaces_too() {
    let entries = format!(
        "{STORE}{KV}
  - name: readers
    kind: security.policy
    policy:
      effect: allow
      actions: [store.get, store.key.get, store.key.list]
      resources: app:deployments
      conditions:
        - {{field: actor.id, operator: exists}}
  - name: writers
    kind: security.policy
    groups: [writers]
    policy: {{effect: allow, actions: store.key.*, resources: app:deployments}}
  - name: secrets
    kind: security.policy
    policy:
      effect: deny
      actions: store.key.*
      resources: \"*\"
      conditions:
        - {{field: key, operator: matches, value: \"^6e73/secret\"}}
        - {{field: actor.id, operator: ne, value: root}}
"
    );
    let engine = Plimsoll::open(parse(&entries).unwrap()).await.unwrap();
    let namespace = async |actor: Actor| {
        engine.as_actor(actor).namespaces().unwrap().namespace(b"ns").await.unwrap()
    };
    let root = namespace(Actor::new("root").with_group("writers")).await;
    for key in ["public", "secret:1", "secret:2", "zebra"] {
        root.put(key.as_bytes(), "v", PutOptions::default()).await.unwrap();
    }
    let ann = namespace(Actor::new("ann")).await;
    assert!(ann.get(b"public").await.unwrap().is_some());
    let page = ann.list(&Query::new().limit(2.0).unwrap()).await.unwrap();
    let names: Vec<_> = page.keys.iter().map(|row| &row.name[..]).collect();
    assert_eq!((names, page.is_complete()), (vec![&b"public"[..], b"zebra"], true));
    for error in [
        ann.get(b"secret:1").await.unwrap_err(),
        ann.put(b"public", "w", PutOptions::default()).await.unwrap_err(),
        ann.delete(b"public").await.unwrap_err(),
        namespace(Actor::new("")).await.get(b"public").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
}
