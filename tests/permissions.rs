//! Permissions through the engine: every method of a store in Rust and in Lua, ids, watches,
//! listings, and what refusals say.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use plimsoll::entry::{Condition, Key, ListQuery, Operation, PutOptions, Version};
use plimsoll::error::{Error, ErrorKind, Outcome, Result};
use plimsoll::limits::PAGE_ITEMS_MAX;
use plimsoll::lua::mlua::Lua;
use plimsoll::policy::Actor;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::store::{StoreHandle, WatchQuery};
use plimsoll::value::Value;

/// An engine with the store app:cache and policies; nobody but root may do anything without them.
async fn engine(policies: &str) -> Plimsoll {
    let text = format!(
        "version: '1.0'
namespace: app
entries:
  - {{name: cache, kind: store.memory}}
  - {{name: vault, kind: store.memory}}
  - name: root
    kind: security.policy
    policy:
      effect: allow
      actions: '*'
      resources: '*'
      conditions: [{{field: actor.id, operator: eq, value: root}}]
{policies}"
    );
    let config = Config::parse(&text, ".", "app.yaml", LoadOptions::default()).unwrap();
    Plimsoll::open(config).await.unwrap()
}

/// A policy that allows everyone some actions on app:cache.
fn allow(actions: &str) -> String {
    format!(
        "
  - name: p
    kind: security.policy
    policy: {{effect: allow, actions: {actions}, resources: 'app:cache'}}
"
    )
}

/// What ann can do with app:cache, and root too, who has written `user:1` and `secret:1`.
async fn handles(engine: &Plimsoll) -> (StoreHandle, StoreHandle) {
    let root = engine.as_actor(Actor::new("root")).store("app:cache").await.unwrap();
    for key in ["user:1", "secret:1"] {
        root.set(key, "written by root", None).await.unwrap();
    }
    (engine.as_actor(Actor::new("ann")).store("app:cache").await.unwrap(), root)
}

/// Reads all of `user:`, and nothing else.
const USERS_ONLY: &str = "
  - name: stores
    kind: security.policy
    policy: {effect: allow, actions: [store.get, store.key.list], resources: '*'}
  - name: users
    kind: security.policy
    policy:
      effect: allow
      actions: 'store.key.*'
      resources: app:cache
      conditions: [{field: key, operator: matches, value: '^user:'}]
";

fn key(key: &str) -> Key {
    Key::new(key).unwrap()
}

fn put(name: &str, condition: Condition) -> Operation {
    let options = PutOptions { ttl: None, condition };
    Operation::Put { key: key(name), value: 1.into(), options }
}

fn denied<T>(answer: Result<T>) -> Option<Error> {
    answer.err().filter(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Every call on `user:1`, with what it is called here and the actions that it needs.
async fn calls(store: &StoreHandle) -> Vec<(&'static str, &'static [&'static str], Option<Error>)> {
    let absent = PutOptions { ttl: None, condition: Condition::Absent };
    let version = Some(Version::Numbered { epoch: 1, revision: 1 });
    let check = Operation::Check { key: key("user:1"), condition: Condition::Absent };
    let delete = |if_version| Operation::Delete { key: key("user:1"), if_version };
    let transact = |operation: Operation| async move { denied(store.transact(&[operation]).await) };
    vec![
        ("info", &["store.info"], denied(store.info())),
        ("get", &["store.key.get"], denied(store.get("user:1").await)),
        ("entry", &["store.key.get"], denied(store.entry("user:1").await)),
        ("has", &["store.key.has"], denied(store.has("user:1").await)),
        ("set", &["store.key.set"], denied(store.set("user:1", 1, None).await)),
        ("put", &["store.key.set"], denied(store.put("user:1", 1, PutOptions::default()).await)),
        (
            "put if absent",
            &["store.key.set", "store.key.get"],
            denied(store.put("user:1", 1, absent).await),
        ),
        ("list", &["store.key.list"], denied(store.list(&ListQuery::new()).await)),
        ("watch", &["store.key.get"], denied(store.watch(&WatchQuery::default()).await)),
        ("transact put", &["store.key.set"], transact(put("user:1", Condition::None)).await),
        (
            "transact put if absent",
            &["store.key.set", "store.key.get"],
            transact(put("user:1", Condition::Absent)).await,
        ),
        ("transact check", &["store.key.get"], transact(check).await),
        ("transact delete", &["store.key.delete"], transact(delete(None)).await),
        (
            "transact delete if version",
            &["store.key.delete", "store.key.get"],
            transact(delete(version)).await,
        ),
        ("delete", &["store.key.delete"], denied(store.delete("user:1", None).await)),
        (
            "delete if version",
            &["store.key.delete", "store.key.get"],
            denied(store.delete("user:1", version).await),
        ),
    ]
}

const ACTIONS: [&str; 6] = [
    "store.info",
    "store.key.get",
    "store.key.set",
    "store.key.delete",
    "store.key.has",
    "store.key.list",
];

#[tokio::test]
async fn every_call_needs_its_actions_and_no_other() {
    let pairs = ACTIONS.iter().flat_map(|a| ACTIONS.iter().map(move |b| [*a, *b]));
    for given in pairs {
        let engine = engine(&allow(&format!("[store.get, {}, {}]", given[0], given[1]))).await;
        let (ann, _) = handles(&engine).await;
        for (call, needed, denied) in calls(&ann).await {
            let is_given = needed.iter().all(|action| given.contains(action));
            assert_eq!(denied.is_none(), is_given, "{call} with {given:?}: {denied:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_what_was_asked_and_nothing_else() {
    let engine = engine(&allow("store.get")).await;
    let (ann, _) = handles(&engine).await;
    for (call, needed, denied) in calls(&ann).await {
        let error = denied.expect(call);
        let action = error.detail("action").and_then(Value::as_str).unwrap();
        assert_eq!(action, needed[0], "{call}");
        assert_eq!(error.detail("resource"), Some(&"app:cache".into()), "{call}");
        let says = format!("the actor \"ann\" has no right to {action}");
        assert!(error.message().starts_with(&says), "{call}: {error}");
        assert!(!error.retryable(), "{call}");
        let is_write = ["set", "put", "delete", "transact"].iter().any(|w| call.starts_with(w));
        assert_eq!(error.outcome(), is_write.then_some(Outcome::None), "{call}");
        let is_transaction = call.starts_with("transact");
        assert_eq!(error.detail("index").is_some(), is_transaction, "{call}");
    }
}

/// The same words for keys that are there and keys that are not.
#[tokio::test]
async fn a_refusal_is_the_same_whether_the_key_is_there_or_not() {
    let engine = engine(&allow("store.get")).await;
    let (ann, root) = handles(&engine).await;
    let mut before = Vec::new();
    for (_, _, denied) in calls(&ann).await {
        before.push(denied);
    }
    root.delete("user:1", None).await.unwrap();
    let after: Vec<_> = calls(&ann).await.into_iter().map(|(_, _, denied)| denied).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn nothing_is_written_by_a_transaction_of_which_one_operation_is_denied() {
    let engine = engine(USERS_ONLY).await;
    let (ann, root) = handles(&engine).await;
    let operations = [
        put("user:2", Condition::None),
        put("secret:1", Condition::None),
        put("x", Condition::None),
    ];
    let error = denied(ann.transact(&operations).await).unwrap();
    assert_eq!(error.detail("index"), Some(&2.into()));
    assert_eq!(error.detail("key"), Some(&"secret:1".into()));
    assert!(!root.has("user:2").await.unwrap());
    assert_eq!(ann.transact(&operations[..1]).await.unwrap().len(), 1);
}

/// Who may not acquire a store can't find out whether it is there, nor what others are.
#[tokio::test]
async fn an_id_that_is_denied_and_one_that_is_unknown_look_the_same() {
    let engine = engine(&allow("store.get")).await;
    let ann = engine.as_actor(Actor::new("ann"));
    let mut refusals = Vec::new();
    for id in ["app:vault", "app:vaults", "app:root", "no id at all"] {
        let error = ann.store(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{id}");
        assert_eq!(error.detail("resource"), Some(&id.into()));
        refusals.push(error.message().replace(id, "ID"));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    assert_eq!(ann.store("").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(ann.store("app:cache").await.is_ok());
}

/// A suggestion is an answer too.
#[tokio::test]
async fn an_unknown_id_suggests_only_what_may_be_acquired() {
    let anything = "
  - name: p
    kind: security.policy
    policy: {effect: allow, actions: store.get, resources: '*'}
  - name: q
    kind: security.policy
    policy: {effect: deny, actions: store.get, resources: app:vault}
";
    let engine = engine(anything).await;
    let error = engine.store("app:vaultt").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!error.message().contains("did you mean"), "{error}");
    let error = engine.as_actor(Actor::new("ann")).store("app:cach").await.unwrap_err();
    assert!(error.message().contains("did you mean app:cache?"), "{error}");
    let error = engine.store("app:root").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("app:root is a security.policy, not a store"), "{error}");
}

#[tokio::test]
async fn without_policies_everyone_may_do_everything() {
    let text = "{version: '1.0', namespace: app, entries: [{name: cache, kind: store.memory}]}";
    let config = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    for engine in [engine.clone(), engine.as_actor(Actor::new("ann"))] {
        let store = engine.store("app:cache").await.unwrap();
        for (call, _, denied) in calls(&store).await {
            assert_eq!(denied, None, "{call}");
        }
    }
}

/// The engine that was opened is used by nobody in particular, and views of it don't change it.
#[tokio::test]
async fn an_actor_has_a_view_of_its_own_on_the_engine() {
    let engine = engine(&allow("'store.*'")).await;
    assert_eq!(engine.actor(), &Actor::anonymous());
    let root = engine.as_actor(Actor::new("root"));
    assert_eq!(root.actor().id(), "root");
    assert!(root.store("app:vault").await.is_ok());
    let error = engine.store("app:vault").await.unwrap_err();
    assert!(
        error.message().starts_with("an anonymous actor has no right to store.get in app:vault")
    );
    // One store, whoever uses it.
    root.store("app:cache").await.unwrap().set("k", 1, None).await.unwrap();
    assert_eq!(engine.store("app:cache").await.unwrap().get("k").await.unwrap(), Some(1.into()));
    engine.close().await;
    assert_eq!(root.store("app:cache").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_listing_scans_on_until_its_page_is_full() {
    let engine = engine(USERS_ONLY).await;
    let (ann, root) = handles(&engine).await;
    let many = 3 * PAGE_ITEMS_MAX;
    for i in 0..many {
        root.set(&format!("secret:{i:05}"), 1, None).await.unwrap();
        root.set(&format!("zz:{i:05}"), 1, None).await.unwrap();
    }
    for i in 1..=3 {
        root.set(&format!("user:{i}"), 1, None).await.unwrap();
    }
    let keys = |page: &plimsoll::entry::Page| {
        page.items.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>()
    };
    let first = ann.list(&ListQuery::new().limit(2)).await.unwrap();
    assert_eq!(keys(&first), ["user:1", "user:2"]);
    assert_eq!((first.cursor.as_str(), first.has_more), ("user:2", true));
    let last = ann.list(&ListQuery::new().limit(2).after(first.cursor)).await.unwrap();
    assert_eq!(keys(&last), ["user:3"]);
    assert_eq!((last.cursor.as_str(), last.has_more), ("user:3", false), "nothing that counts");
    let none = ann.list(&ListQuery::new().prefix("secret:")).await.unwrap();
    assert_eq!((keys(&none), none.cursor.as_str(), none.has_more), (vec![], "", false));
}

/// A page may have to pass over many keys. Meanwhile the host's other tasks go on.
#[tokio::test]
async fn a_long_listing_does_not_block_the_runtime() {
    let engine = engine(USERS_ONLY).await;
    let (ann, root) = handles(&engine).await;
    let is_ready_at_once = async |store: &StoreHandle| {
        let query = ListQuery::new();
        let mut list = std::pin::pin!(store.list(&query));
        let first =
            std::future::poll_fn(|context| std::task::Poll::Ready(list.as_mut().poll(context)));
        let is_ready = first.await.is_ready();
        if !is_ready {
            assert_eq!(list.await.unwrap().items.len(), 1);
        }
        is_ready
    };
    assert!(is_ready_at_once(&ann).await);
    // So many that the scan takes longer than the step from its start to the first look at it.
    for i in 0..9_000 {
        root.set(&format!("secret:{i}"), 1, None).await.unwrap();
    }
    assert!(!is_ready_at_once(&ann).await);
}

#[tokio::test]
async fn a_watch_tells_the_changes_of_keys_that_may_be_read() {
    let engine = engine(USERS_ONLY).await;
    let (ann, root) = handles(&engine).await;
    let mut watch = ann.watch(&WatchQuery::default()).await.unwrap();
    root.set("secret:2", 1, None).await.unwrap();
    let both = [put("secret:3", Condition::None), put("user:3", Condition::None)];
    root.transact(&both).await.unwrap();
    root.delete("secret:2", None).await.unwrap();
    let change = watch.next(None).await.unwrap().unwrap();
    let told: Vec<_> = change.events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(told, ["user:3"], "the rest of the transaction is left out");
    let error = watch.next(Some(Duration::from_millis(5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// A reader that has fallen behind is told where it stood, which is no revision it was not told.
#[tokio::test]
async fn a_watch_that_ends_names_the_last_revision_that_was_told() {
    let engine = engine(USERS_ONLY).await;
    let (ann, root) = handles(&engine).await;
    let mut watch = ann.watch(&WatchQuery::default()).await.unwrap();
    root.set("user:2", 1, None).await.unwrap();
    let told = watch.next(None).await.unwrap().unwrap().revision;
    root.set("secret:2", 1, None).await.unwrap();
    let after_that = watch.next(Some(Duration::ZERO)).await;
    assert_eq!(after_that.unwrap_err().kind(), ErrorKind::Timeout);
    for i in 0..=plimsoll::limits::HISTORY_REVISIONS_MAX {
        root.set("secret:3", i, None).await.unwrap();
    }
    let error = watch.next(None).await.unwrap_err();
    assert_eq!(error.detail("reason"), Some(&"compacted".into()));
    assert_eq!(error.detail("delivered"), Some(&told.to_string().as_str().into()));
}

/// A handle is a capability: it keeps the rights of the actor who acquired it.
#[tokio::test]
async fn a_handle_given_to_a_script_keeps_its_rights() {
    let engine = engine(&allow("store.get")).await;
    let (_, root) = handles(&engine).await;
    let lua = Lua::new();
    plimsoll::lua::install(&lua, &engine.as_actor(Actor::new("ann"))).unwrap();
    lua.globals().set("given", plimsoll::lua::handle_value(&lua, root).unwrap()).unwrap();
    let script = "local own = require('store').get('app:cache')
        return given:get('user:1'), select(2, own:get('user:1')):kind()";
    let answer: (String, String) = lua.load(script).eval_async().await.unwrap();
    assert_eq!(answer, ("written by root".to_owned(), "PermissionDenied".to_owned()));
}

/// Every method in Lua: what it returns without its right.
#[tokio::test]
async fn scripts_are_told_of_denials_as_of_other_errors() {
    let engine = engine(&allow("store.get")).await;
    handles(&engine).await;
    let lua = Lua::new();
    plimsoll::lua::install(&lua, &engine.as_actor(Actor::new("ann"))).unwrap();
    let prepare = "cache = require('store').get('app:cache')
        function told(result, err)
            local details = err:details()
            return table.concat({tostring(result), err:kind(), tostring(err:retryable()),
                tostring(details.outcome), details.action, tostring(details.index)}, ' ')
        end";
    lua.load(prepare).exec_async().await.unwrap();
    let read = |action: &str| format!("nil PermissionDenied false nil {action} nil");
    let write = |action: &str| format!("nil PermissionDenied false none {action} nil");
    for (call, expected) in [
        ("cache:get('user:1')", read("store.key.get")),
        ("cache:entry('user:1')", read("store.key.get")),
        ("cache:has('user:1')", "false PermissionDenied false nil store.key.has nil".to_owned()),
        ("cache:set('user:1', 1)", write("store.key.set")),
        ("cache:put('user:1', 1)", write("store.key.set")),
        ("cache:delete('user:1')", write("store.key.delete")),
        ("cache:list()", read("store.key.list")),
        ("cache:watch()", read("store.key.get")),
        ("cache:info()", read("store.info")),
        (
            "cache:transact({{op = 'check', key = 'a', absent = true}})",
            "nil PermissionDenied false none store.key.get 1".to_owned(),
        ),
        ("require('store').get('app:vault')", read("store.get")),
        ("require('store').get('app:nothing')", read("store.get")),
    ] {
        let answer: String = lua.load(format!("return told({call})")).eval_async().await.unwrap();
        assert_eq!(answer, expected, "{call}");
    }
    let released: bool = lua.load("return cache:release()").eval_async().await.unwrap();
    assert!(released, "giving back needs no right");
    let answer: String =
        lua.load("return select(2, cache:get('user:1')):kind()").eval_async().await.unwrap();
    assert_eq!(answer, "Invalid", "a released handle says that first");
}

/// Policies about the actor's groups and metadata, as a host states them.
#[tokio::test]
async fn rights_follow_from_what_the_host_says_of_the_actor() {
    let policies = "
  - name: staff
    kind: security.policy
    groups: [staff]
    policy: {effect: allow, actions: '*', resources: app:cache}
  - name: juniors
    kind: security.policy
    policy:
      effect: deny
      actions: [store.key.set, store.key.delete]
      resources: '*'
      conditions: [{field: actor.meta.level, operator: lt, value: 3}]
";
    let engine = engine(policies).await;
    let staff = |level: i64| Actor::new("ann").with_group("staff").with_meta("level", level);
    for (actor, may_acquire, may_write) in [
        (Actor::anonymous(), false, false),
        (Actor::new("staff"), false, false),
        (Actor::new("ann").with_group("staff"), true, true),
        (staff(3), true, true),
        (staff(2), true, false),
    ] {
        let text = format!("{actor:?}");
        match engine.as_actor(actor).store("app:cache").await {
            Ok(store) => {
                assert!(may_acquire, "{text}");
                assert_eq!(store.set("k", 1, None).await.is_ok(), may_write, "{text}");
            }
            Err(_) => assert!(!may_acquire, "{text}"),
        }
    }
}

/// A row that is no entry is an error that names its key, to those who may read the key.
#[cfg(feature = "sql")]
#[tokio::test]
async fn a_damaged_row_is_not_told_to_those_who_may_not_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "version: '1.0'
namespace: app
entries:
  - {{name: db, kind: db.sql.sqlite, file: data.db}}
  - {{name: cache, kind: store.sql, database: app:db, table_name: t, create_table: true}}
{USERS_ONLY}
  - name: root
    kind: security.policy
    groups: [admins]
    policy: {{effect: allow, actions: '*', resources: '*'}}
"
    );
    let config = Config::parse(&text, folder.path(), "app.yaml", LoadOptions::default()).unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    let root = engine.as_actor(Actor::new("root").with_group("admins"));
    let root = root.store("app:cache").await.unwrap();
    root.set("user:1", 1, None).await.unwrap();
    let database = rusqlite::Connection::open(folder.path().join("data.db")).unwrap();
    database.execute("INSERT INTO t (key, value) VALUES ('secret:1', 'no JSON')", []).unwrap();

    let error = root.list(&ListQuery::new()).await.unwrap_err();
    assert_eq!(error.detail("key"), Some(&"secret:1".into()));
    let ann = engine.as_actor(Actor::new("ann")).store("app:cache").await.unwrap();
    let page = ann.list(&ListQuery::new()).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (1, false));
}
