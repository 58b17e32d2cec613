//! The store module in Lua: methods, constants, what is returned and what is raised, and waiting.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use host::{Host, KINDS, MEMORY, show};
use plimsoll::clock::{ManualClock, UnixMillis};
use plimsoll::lua::mlua::{Lua, Value};
use plimsoll::store::{MemoryOptions, MemoryStore, StoreHandle};

#[tokio::test]
async fn every_method_answers_as_documented() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        for (chunk, expected) in [
            ("return cache:get('k')", "nil NotFound: the key \"k\" is absent"),
            ("return cache:entry('k')", "nil NotFound: the key \"k\" is absent"),
            ("return cache:has('k')", "false"),
            ("return cache:delete('k')", "false"),
            ("return cache:set('k', 'v')", "true"),
            ("return cache:get('k')", "v"),
            ("return cache:has('k')", "true"),
            ("local e = cache:entry('k') return e.key, e.value, e.expires_at", "k v nil"),
            ("return cache:put('k', 'w').value", "w"),
            ("return cache:put('k', 'w', {ttl = 60}).expires_at > time.now() + 50", "true"),
            ("return cache:put('k', 'w').expires_at", "nil"),
            ("return cache:set('f', false)", "true"),
            ("return cache:get('f')", "false"),
            ("local p = cache:list() return #p.items, p.cursor, p.has_more", "2 k false"),
            ("local p = cache:list{prefix='x'} return #p.items, p.cursor, p.has_more", "0  false"),
            ("return cache:list{limit=1}.items[1].key", "f"),
            ("return cache:list{limit=1}.has_more", "true"),
            ("return cache:list{limit=2.0, after='f'}.items[1].key", "k"),
            ("return cache:delete('k')", "true"),
            ("return cache:info().id", "app:cache"),
            ("return tostring(cache)", "store.Store{}"),
            ("return cache:release()", "true"),
            ("return cache:release()", "true"),
            ("return tostring(cache)", "store.Store{released}"),
            ("return cache:get('f')", "nil Invalid: the handle of app:cache is released"),
            ("return cache:has('f')", "false Invalid: the handle of app:cache is released"),
        ] {
            assert_eq!(host.show(chunk).await, expected, "{chunk} on {kind:?}");
        }
    }
}

#[tokio::test]
async fn conditions_versions_and_transactions() {
    let host = Host::new(MEMORY).await;
    host.run(
        r#"
        local first = cache:put("k", 1, {only_if_absent = true})
        local refused, err = cache:put("k", 2, {only_if_absent = true})
        assert(refused == nil and err:kind() == errors.ALREADY_EXISTS and not err:retryable())
        assert(err:details().outcome == "none")

        local second = assert(cache:put("k", 2, {if_version = first.version, ttl = 100}))
        assert(second.version ~= first.version and second.expires_at)
        refused, err = cache:put("k", 3, {if_version = first.version})
        assert(refused == nil and err:kind() == errors.CONFLICT and err:retryable())
        assert(err:details().version == second.version)
        refused, err = cache:put("absent", 3, {if_version = first.version})
        assert(refused == nil and err:kind() == errors.NOT_FOUND)
        assert(cache:put("k", 3, {only_if_absent = false}).value == 3)

        refused, err = cache:delete("k", {if_version = first.version})
        assert(refused == nil and err:kind() == errors.CONFLICT)
        assert(cache:delete("k", {if_version = cache:entry("k").version}) == true)
        refused, err = cache:delete("k", {if_version = first.version})
        assert(refused == nil and err:kind() == errors.NOT_FOUND)

        local results = assert(cache:transact {
          {op = "put", key = "a", value = {1}, ttl = 5},
          {op = "delete", key = "none"},
          {op = "check", key = "b", absent = true},
        })
        assert(results[1].value[1] == 1 and results[1].expires_at)
        assert(results[2] == false and results[3] == true and #results == 3)
        refused, err = cache:transact {
          {op = "put", key = "c", value = 1},
          {op = "put", key = "a", value = 1, only_if_absent = true},
        }
        assert(refused == nil and err:kind() == errors.ALREADY_EXISTS)
        assert(err:details().index == 2 and not cache:has("c"))
        refused, err = cache:transact {{op = "check", key = "a", if_version = first.version}}
        assert(err:kind() == errors.CONFLICT and err:details().index == 1)
        "#,
    )
    .await;
}

#[tokio::test]
async fn methods_are_reachable_as_functions() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        let chunk = "local get, set = cache.get, cache.set
            set(cache, 'k', 1)
            return get(cache, 'k'), type(cache.watch), cache.nothing, pcall(cache.get)";
        let expected = "1 function nil false Invalid: this is a method of a store, but was called \
                        on nil: call it as store:method(...)";
        assert_eq!(host.show(chunk).await, expected);
    }
}

#[tokio::test]
async fn success_is_one_value_and_failure_two() {
    let host = Host::new(MEMORY).await;
    let chunk = "cache:set('k', false)
        return select('#', cache:get('k')), select('#', cache:get('none')),
            select('#', cache:set('k', 1)), select('#', cache:has('none'))";
    assert_eq!(host.show(chunk).await, "1 2 1 1");
}

#[tokio::test]
async fn constants_are_read_only() {
    let host = Host::new(MEMORY).await;
    for (chunk, expected) in [
        ("return store.backend.KV_RAFT, store.backend.nothing", "kv.raft nil"),
        (
            "return pcall(function() store.backend.MEMORY = 'x' end)",
            "false script:1: store.backend is read-only: MEMORY can't be set",
        ),
        (
            "return pcall(function() store.consistency.NEW = 'x' end)",
            "false script:1: store.consistency is read-only: NEW can't be set",
        ),
        (
            "return pcall(setmetatable, store.backend, nil)",
            "false cannot change a protected metatable",
        ),
        ("local n = 0 for _ in pairs(store.backend) do n = n + 1 end return n", "5"),
    ] {
        assert_eq!(host.show(chunk).await, expected, "{chunk}");
    }
}

#[tokio::test]
async fn ids_are_told_apart() {
    let host = Host::new(MEMORY).await;
    for (chunk, expected) in [
        ("return select(2, store.get('')):kind()", "Invalid"),
        ("return select(2, store.get('app:nowhere')):kind()", "NotFound"),
        ("return select(2, store.get('\\xff')):kind()", "Invalid"),
        ("return pcall(store.get)", "false Invalid: the id must be a string, not nil"),
        ("return pcall(store.get, 7)", "false Invalid: the id must be a string, not an integer"),
    ] {
        assert_eq!(host.show(chunk).await, expected, "{chunk}");
    }
}

#[tokio::test]
async fn handles_of_one_store_are_released_one_by_one() {
    let host = Host::new(MEMORY).await;
    let chunk = "local other = store.get('app:cache')
        do local scoped <close> = other end
        return tostring(other), tostring(cache), cache:set('k', 1)";
    assert_eq!(host.show(chunk).await, "store.Store{released} store.Store{} true");
}

#[tokio::test]
async fn deadlines_follow_the_clock_of_the_store() {
    let clock = ManualClock::new(UnixMillis(1_000_000));
    let options = MemoryOptions { max_size: 2, cleanup_interval: None };
    let memory = MemoryStore::with_clock(options, 7, Arc::new(clock.clone()));
    let host = Host::new(MEMORY).await;
    let handle = StoreHandle::new("app:timed", memory);
    let handle = plimsoll::lua::handle_value(&host.lua, handle).unwrap();
    host.lua.globals().set("timed", handle).unwrap();
    host.run("assert(timed:set('k', 1, 0.25) and timed:entry('k').expires_at == 1000.25)").await;
    clock.advance_ms(249);
    host.run("assert(timed:has('k'))").await;
    clock.advance_ms(1);
    host.run(
        "assert(not timed:has('k') and select(2, timed:get('k')):kind() == errors.NOT_FOUND)
        assert(timed:put('k', 2, {only_if_absent = true}))
        assert(timed:set('l', 1))
        local refused, err = timed:set('m', 1)
        assert(refused == nil and err:kind() == errors.UNAVAILABLE and err:retryable())
        assert(err:details().outcome == 'none' and err:details().limit == 2)",
    )
    .await;
}

#[tokio::test]
async fn a_watch_delivers_changes_in_order_and_ends_when_closed() {
    let host = Host::new(MEMORY).await;
    host.run(
        r#"
        local watch = cache:watch {prefix = "w:"}
        local first = cache:put("w:1", "a")
        cache:set("other", "b")
        cache:transact {{op = "put", key = "w:2", value = "c"}, {op = "delete", key = "w:1"}}

        local change = assert(watch:next(1))
        assert(change.revision == first.version and #change.events == 1)
        local event = change.events[1]
        assert(event.type == "put" and event.key == "w:1" and event.entry.value == "a")
        change = assert(watch:next())
        assert(#change.events == 2)
        assert(change.events[1].entry.value == "c")
        assert(change.events[2].type == "delete" and change.events[2].entry == nil)

        local nothing, err = watch:next(0)
        assert(nothing == nil and err:kind() == errors.TIMEOUT and err:retryable())
        assert(tostring(watch) == "store.Watch{}")
        cache:set("w:3", 1)
        assert(watch:next(1).events[1].key == "w:3")
        assert(watch:close() and watch:close())
        assert(tostring(watch) == "store.Watch{closed}")
        assert(select('#', watch:next()) == 1 and watch:next() == nil)

        -- Resumed after a version.
        local resumed = cache:watch {after = first.version, prefix = "w:"}
        assert(resumed:next(1).events[1].key == "w:2")
        local _, err = cache:watch {after = "0000000000000001-1"}
        assert(err:kind() == errors.INVALID and err:details().reason == "compacted")
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_for_loop_ends_with_its_watch() {
    let host = Host::new(MEMORY).await;
    let chunk = r#"
        local seen, watch = {}, cache:watch()
        for i = 1, 3 do cache:set("k" .. i, i) end
        for change in watch do
          seen[#seen + 1] = change.events[1].key
          if #seen == 3 then watch:close() end
        end
        local opened
        local real = cache.watch
        for change in (function() return cache:watch {after = cache:entry("k1").version} end)() do
          seen[#seen + 1] = change.events[1].key
          break
        end
        return table.unpack(seen)"#;
    assert_eq!(host.show(chunk).await, "k1 k2 k3 k2");
}

/// Closing from another coroutine ends a `next` that waits, and so does the store's end.
#[tokio::test]
async fn a_waiting_next_ends_when_the_watch_or_the_engine_does() {
    let host = Host::new(MEMORY).await;
    host.run("watch = cache:watch()").await;
    let waiting = host.try_run("return watch:next()");
    let closing = async {
        tokio::task::yield_now().await;
        host.run("watch:close()").await;
    };
    let (ended, ()) = tokio::join!(waiting, closing);
    assert_eq!(ended.unwrap().iter().map(show).collect::<String>(), "nil");

    let waiting = host.try_run(
        "watch = cache:watch()
        for _ in watch do end
        local nothing, err = watch:next()
        local again = select(2, watch:next())
        return nothing, err:kind(), again:kind()",
    );
    let closing = async {
        tokio::task::yield_now().await;
        host.engine.close().await;
    };
    let (ended, ()) = tokio::join!(waiting, closing);
    let ended: Vec<_> = ended.unwrap().iter().map(show).collect();
    assert_eq!(ended, ["nil", "Canceled", "Canceled"]);
}

/// A task that counts how often the runtime gives it a turn while a script runs.
async fn turns_while(script: impl Future<Output = ()>) -> usize {
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    script.await;
    counter.abort();
    turns.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_waiting_script_lets_other_tasks_run() {
    let host = Host::new(MEMORY).await;
    for chunk in ["time.sleep(0.02)", "time.sleep('20ms')", "cache:watch():next(0.02)"] {
        let turns = turns_while(async {
            host.run(chunk).await;
        })
        .await;
        assert!(turns > 10, "{chunk} left {turns} turns");
    }
}

/// On a runtime of one thread a script that never waits would otherwise keep it for itself.
#[tokio::test]
async fn a_script_that_never_waits_lets_other_tasks_run_too() {
    let host = Host::new(MEMORY).await;
    let turns = turns_while(async {
        host.run("for i = 1, 2000 do cache:set('k', i) end").await;
    })
    .await;
    assert!(turns >= 10, "2000 calls left {turns} turns");
}

#[tokio::test]
async fn waiting_works_within_the_coroutines_of_a_script() {
    let host = Host::new(MEMORY).await;
    let chunk = r#"
        local inner = coroutine.wrap(function(first)
          time.sleep(0.001)
          local second = coroutine.yield(first + 1)
          local nested = coroutine.create(function()
            time.sleep(0.001)
            coroutine.yield("from the depth")
            time.sleep(0.001)
            return "its end"
          end)
          local _, text = coroutine.resume(nested)
          coroutine.yield(text)
          _, text = coroutine.resume(nested)
          coroutine.yield(text .. coroutine.status(nested))
          return second
        end)
        return inner(1), inner(5), inner(), inner()"#;
    assert_eq!(host.show(chunk).await, "2 from the depth its enddead 5");
    let chunk = "for _ = 1, 300 do
          coroutine.wrap(function() for _ = 1, 3 do cache:set('k', 1) end end)()
        end
        return cache:get('k')";
    assert_eq!(host.show(chunk).await, "1", "a spent budget is passed up as well");
}

/// Async functions of the host's own wait in coroutines as ours do. Where nothing can wait they hand
/// their pending value to the script, as mlua has it, and our calls are not mistaken for theirs.
#[tokio::test]
async fn functions_of_the_host_wait_beside_ours() {
    let host = Host::new(MEMORY).await;
    let nap = host.lua.create_async_function(async |_, ()| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok("rested")
    });
    host.lua.globals().set("nap", nap.unwrap()).unwrap();
    let chunk = "return coroutine.wrap(function()
          time.sleep(0.001)
          return nap()
        end)()";
    assert_eq!(host.show(chunk).await, "rested");
    let chunk = "local pending
        table.sort({2, 1}, function() pending = coroutine.wrap(nap)() end)
        time.sleep(0.001)
        return type(pending), 'and still waiting works'";
    assert_eq!(host.show(chunk).await, "userdata and still waiting works");
}

/// The future of a script is `Send`: a runtime of several threads may move it while it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_may_wake_up_on_another_thread() {
    let mut scripts = Vec::new();
    for _ in 0..8 {
        let host = Host::new(MEMORY).await;
        scripts.push(tokio::spawn(async move {
            let chunk = "for i = 1, 50 do time.sleep(0.0005) cache:set('k', i) end
                return cache:get('k')";
            host.show(chunk).await
        }));
    }
    for script in scripts {
        assert_eq!(script.await.unwrap(), "50");
    }
}

/// Two scripts in one state take turns while they wait.
#[tokio::test]
async fn scripts_of_one_state_wait_side_by_side() {
    let host = Host::new(MEMORY).await;
    host.run("order = {}").await;
    let script =
        |name: &str| format!("for i = 1, 3 do time.sleep(0.002) order[#order + 1] = '{name}' end");
    let (a, b) = (script("a"), script("b"));
    let (a, b) = tokio::join!(host.try_run(&a), host.try_run(&b));
    a.unwrap();
    b.unwrap();
    let order = host.show("return table.concat(order)").await;
    assert_eq!(order.len(), 6);
    assert!(!order.contains("aaa"), "{order}");
}

/// The replaced functions behave as the ones of the standard library.
#[tokio::test]
async fn coroutines_fail_as_they_always_did() {
    let host = Host::new(MEMORY).await;
    let stock = Lua::new();
    for chunk in [
        "local co = coroutine.wrap(function() error('boom') end)
        return pcall(function() co() end)",
        "local co = coroutine.wrap(function() error({code = 1}) end)
        return select(2, pcall(co)).code",
        "local co = coroutine.wrap(function() return 1, nil, 3 end) return co()",
        "local co = coroutine.wrap(function() end) co() return pcall(co)",
        "local co co = coroutine.wrap(function() return pcall(co) end) return co()",
        "return coroutine.resume(coroutine.create(function(...) return select('#', ...) end), nil, nil)",
        "local co = coroutine.create(function() error('boom') end)
        local ok, err = coroutine.resume(co) return ok, err, coroutine.status(co)",
        "local closed
        local co = coroutine.wrap(function()
          local x <close> = setmetatable({}, {__close = function() closed = true end})
          error('boom', 0)
        end)
        return select(2, pcall(co)), closed",
        "return pcall(coroutine.wrap(function() coroutine.yield(coroutine.isyieldable()) end))",
    ] {
        let expected = stock.load(chunk).set_name("=script").eval_async().await;
        let expected: plimsoll::lua::mlua::MultiValue = expected.unwrap();
        let expected = expected.iter().map(show).collect::<Vec<_>>().join(" ");
        assert_eq!(host.show(chunk).await, expected, "{chunk}");
    }
}

/// What is ready at once works without an async caller; what would wait is given up, and says so.
#[tokio::test]
async fn without_an_async_caller_only_waiting_fails() {
    let host = Host::new(MEMORY).await;
    let results: (bool, bool) = host
        .lua
        .load("for i = 1, 500 do cache:set('k', i) end return cache:has('k'), cache:delete('k')")
        .eval()
        .unwrap();
    assert_eq!(results, (true, true), "no budget is spent where nothing could yield");

    for chunk in [
        "return cache:watch():next()",
        "local t = {2, 1}
        local ok, err = pcall(table.sort, t, function() time.sleep(1) end)
        return nil, err",
        "return coroutine.wrap(function() return cache:watch():next() end)()",
        "return coroutine.wrap(function()
          return coroutine.wrap(function() return cache:watch():next() end)()
        end)()",
    ] {
        let (value, error): (Value, Value) = host.lua.load(chunk).eval().unwrap();
        assert!(value.is_nil());
        let error = plimsoll::lua::engine_error(&error).expect("an engine error");
        assert_eq!(error.kind().constant(), "CANCELED", "{chunk}");
    }
    let chunk = "local ok, err = pcall(time.sleep, 1) return ok, err";
    let (is_ok, error): (bool, Value) = host.lua.load(chunk).eval().unwrap();
    assert!(!is_ok);
    assert!(plimsoll::lua::engine_error(&error).is_some());
}

/// Dropping the future of a script drops what it waits for.
#[tokio::test]
async fn a_dropped_script_stops() {
    let host = Host::new(MEMORY).await;
    let script = host.try_run("time.sleep(0.001) time.sleep(60) cache:set('late', 1)");
    assert!(tokio::time::timeout(Duration::from_millis(20), script).await.is_err());
    assert_eq!(host.show("return cache:has('late')").await, "false");
}

#[tokio::test]
async fn installing_twice_changes_nothing() {
    let host = Host::new(MEMORY).await;
    let before = host.lua.globals().get::<Value>("errors").unwrap();
    plimsoll::lua::install(&host.lua, &host.engine).unwrap();
    assert_ne!(host.lua.globals().get::<Value>("errors").unwrap(), before, "a fresh table");
    let chunk = "local e = select(2, cache:get('none'))
        return errors.is(e, errors.NOT_FOUND), require('store').get('app:cache'):set('k', 1),
            coroutine.wrap(function() time.sleep(0.001) return 'woke' end)()";
    assert_eq!(host.show(chunk).await, "true true woke");
}
