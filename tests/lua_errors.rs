//! The table `errors` and its objects, and the modules that raise: `json` and `time`.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;

use host::{Host, MEMORY};
use plimsoll::error::{Error, ErrorKind, Outcome};
use plimsoll::lua::mlua::Value;
use plimsoll::store::{MemoryOptions, MemoryStore, StoreHandle};

async fn check(rows: &[(&str, &str)]) {
    let host = Host::new(MEMORY).await;
    for (chunk, expected) in rows {
        assert_eq!(host.show(chunk).await, *expected, "{chunk}");
    }
}

#[tokio::test]
async fn constants_are_the_strings_of_the_kinds() {
    let host = Host::new(MEMORY).await;
    for kind in ErrorKind::ALL {
        let constant = kind.constant();
        assert_eq!(host.show(&format!("return errors.{constant}")).await, kind.as_str());
        let chunk = format!("return errors.new(errors.{constant}, 'x'):kind()");
        assert_eq!(host.show(&chunk).await, kind.as_str());
        let chunk = format!("return errors.new('{constant}', 'x'):kind()");
        assert_eq!(host.show(&chunk).await, kind.as_str());
    }
    assert_eq!(host.show("return require('errors') == errors").await, "true");
}

#[tokio::test]
async fn new_takes_a_message_a_table_or_a_kind_and_a_message() {
    check(&[
        ("local e = errors.new('m') return e:message(), e:kind() == errors.UNKNOWN", "m true"),
        ("local e = errors.new('m') return e:retryable(), e:details()", "nil nil"),
        (
            "local e = errors.new{message = 'm'} return e:message(), e:kind(), e:retryable()",
            "m  nil",
        ),
        ("return errors.new{message = 'm', retryable = false}:retryable()", "false"),
        ("return errors.new{message = 'm', retryable = true}:retryable()", "true"),
        ("return errors.new{message = 'm', details = {a = 1}}:details().a", "1"),
        ("return errors.new{message = 'm', details = {}}:details()", "nil"),
        ("return errors.new{message = 'm', kind = errors.TIMEOUT}:kind()", "Timeout"),
        ("return errors.new{message = 'm', kind = 'TIMEOUT'}:kind()", "Timeout"),
        ("return errors.new('CONFLICT', 'm'):kind()", "Conflict"),
        ("return errors.new('Conflict', 'm'):kind()", "Conflict"),
        ("return errors.new('Teapot', 'm'):kind()", "Teapot"),
        ("return errors.new(418, 'm'):kind() + 1", "419"),
        ("local kind = {} return errors.new(kind, 'm'):kind() == kind", "true"),
        (
            "local d = {f = print} return errors.new{message = 'm', details = d}:details() == d",
            "true",
        ),
        ("return #errors.new('\\xff\\0'):message()", "2"),
        ("return errors.new(5):message()", "5"),
        ("return pcall(errors.new)", "false Invalid: the message must be a string, not nil"),
        ("return pcall(errors.new, {})", "false Invalid: an error needs a message"),
        (
            "return pcall(errors.new, {message = 'm', retriable = true})",
            "false Invalid: \"retriable\" is no field of an error: there are message, kind, \
             retryable, details",
        ),
        (
            "return pcall(errors.new, {message = 'm', retryable = 1})",
            "false Invalid: retryable of an error must be a boolean, not an integer",
        ),
        (
            "return pcall(errors.new, {message = 'm', details = 'd'})",
            "false Invalid: details of an error must be a table, not a string",
        ),
        (
            "return pcall(errors.new, 'INVALID', {})",
            "false Invalid: the message must be a string, not a table",
        ),
    ])
    .await;
}

#[tokio::test]
async fn wrapping_keeps_everything_and_shows_the_context() {
    check(&[
        (
            "local e = errors.wrap(errors.new{message = 'm', kind = 'X', retryable = true,
              details = {a = 1}}, 'loading')
            return e:kind(), e:message(), e:retryable(), e:details().a, tostring(e)",
            "X m true 1 loading: X: m",
        ),
        (
            "local inner = select(2, cache:get('k'))
            local e = errors.wrap(errors.wrap(inner, 'one'), 'two')
            return e:kind(), e:message(), e:retryable(), e, inner",
            "NotFound the key \"k\" is absent false two: one: NotFound: the key \"k\" is absent \
             NotFound: the key \"k\" is absent",
        ),
        ("return errors.wrap(select(2, cache:set('k')), 'x'):details().outcome", "none"),
        (
            "local e = errors.wrap('plain', 'ctx') return e, e:message(), e:kind()",
            "ctx: plain plain ",
        ),
        ("local e = errors.wrap(select(2, pcall(error, {})), 'ctx') return type(e)", "userdata"),
        ("return errors.wrap(nil, 'ctx')", "nil"),
        (
            "return errors.is(errors.wrap(errors.new('CONFLICT', 'm'), 'c'), errors.CONFLICT)",
            "true",
        ),
        (
            "return pcall(errors.wrap, errors.new('m'))",
            "false Invalid: the message must be a string, not nil",
        ),
    ])
    .await;
}

#[tokio::test]
async fn is_asks_for_a_kind_and_is_false_for_what_is_no_error() {
    check(&[
        ("return errors.is(select(2, cache:get('k')), errors.NOT_FOUND)", "true"),
        ("return errors.is(select(2, cache:get('k')), 'NOT_FOUND')", "true"),
        ("return errors.is(select(2, cache:get('k')), errors.INVALID)", "false"),
        ("return errors.is(errors.new('m'), errors.UNKNOWN)", "true"),
        ("return errors.is(errors.new('Teapot', 'm'), 'Teapot')", "true"),
        (
            "return errors.is(errors.new(418, 'm'), 418), errors.is(errors.new(418, 'm'), 419)",
            "true false",
        ),
        (
            "return errors.is(nil, errors.UNKNOWN), errors.is('NotFound', errors.NOT_FOUND)",
            "false false",
        ),
        ("return errors.is({}, errors.UNKNOWN), errors.is(cache, errors.UNKNOWN)", "false false"),
        ("return errors.is()", "false"),
    ])
    .await;
}

#[tokio::test]
async fn errors_are_thrown_caught_printed_and_concatenated() {
    check(&[
        (
            "local e = errors.new('CONFLICT', 'busy')
            local ok, caught = pcall(error, e)
            return ok, caught == e, caught:kind()",
            "false true Conflict",
        ),
        (
            "local _, e = cache:get('k') return 'failed: ' .. e .. '!'",
            "failed: NotFound: the key \"k\" is absent!",
        ),
        ("return errors.new('a') .. errors.new('b') .. 1", "ab1"),
        ("return tostring(errors.new('m')), tostring(errors.new('INVALID', 'm'))", "m Invalid: m"),
        ("return type(errors.new('m')), errors.new('m').nothing", "userdata nil"),
        (
            "local co = coroutine.create(function() error(errors.new('TIMEOUT', 'm')) end)
            local ok, e = coroutine.resume(co)
            return ok, e:kind()",
            "false Timeout",
        ),
        (
            "return pcall(cache.get, cache, 1)",
            "false Invalid: the key must be a string, not an integer",
        ),
        ("return select(2, pcall(cache.get, 1)):kind() == errors.INVALID", "true"),
    ])
    .await;
}

/// The stack begins at the line that made the call, whatever of ours lies between.
#[tokio::test]
async fn the_stack_is_that_of_the_script() {
    let host = Host::new(MEMORY).await;
    let chunk = "local function load()
  return select(2, cache:get('k'))
end
local function outer() local e = load() return e end
local e = outer()
return e:stack()";
    assert_eq!(
        host.show(chunk).await,
        "NotFound: the key \"k\" is absent\nstack traceback:\n\tscript:2: in function 'load'\n\
         \tscript:4: in function 'outer'\n\tscript:5: in main chunk"
    );
    let chunk = "local e
e = errors.new('m')
e = errors.wrap(e, 'context')
return e:stack()";
    assert_eq!(
        host.show(chunk).await,
        "context: m\nstack traceback:\n\tscript:2: in main chunk\nwrapped with \"context\" at:\n\
         \tscript:3: in main chunk"
    );
    // After a wait, too.
    let chunk = "local watch = cache:watch()
local _, e = watch:next(0.001)
local stack = errors.call_stack(e)
return #stack.frames, stack.frames[1].source, stack.frames[1].line, stack.frames[1].name";
    assert_eq!(host.show(chunk).await, "1 script 2 main chunk");
}

#[tokio::test]
async fn call_stack_answers_frames_and_the_coroutine() {
    let host = Host::new(MEMORY).await;
    let chunk = "local e, thread
local co = coroutine.create(function()
  e = errors.new('m')
  thread = tostring(coroutine.running())
end)
coroutine.resume(co)
local stack = errors.call_stack(e)
local frame = stack.frames[1]
return stack.thread == thread, frame.source, frame.line, frame.name, #stack.frames";
    assert_eq!(host.show(chunk).await, "true script 3 anonymous function 1");
    assert_eq!(host.show("return errors.call_stack('x'), errors.call_stack()").await, "nil nil");
    let chunk = "local function deep(n) if n == 0 then return errors.new('m') end
          local e = deep(n - 1) return e end
        return #errors.call_stack(deep(100)).frames";
    assert_eq!(host.show(chunk).await, "32", "the innermost frames are kept");
}

#[tokio::test]
async fn hosts_make_and_read_errors() {
    let host = Host::new(MEMORY).await;
    let error = Error::conflict("made by the host").with_detail("n", 7);
    let value = plimsoll::lua::error_value(&host.lua, error.clone()).unwrap();
    host.lua.globals().set("given", value).unwrap();
    assert_eq!(
        host.show("return given:kind(), given:details().n, given:retryable()").await,
        "Conflict 7 true"
    );
    let wrapped = host.run("return errors.wrap(given, 'ctx'), errors.new('m'), 'text'").await;
    let wrapped: Vec<Value> = wrapped.into_iter().collect();
    assert_eq!(plimsoll::lua::engine_error(&wrapped[0]), Some(error));
    assert_eq!(plimsoll::lua::engine_error(&wrapped[1]), None);
    assert_eq!(plimsoll::lua::engine_error(&wrapped[2]), None);
    assert!(plimsoll::lua::describe(&wrapped[0]).starts_with("ctx: Conflict: made by the host\n"));
    assert_eq!(plimsoll::lua::describe(&wrapped[2]), "text");
    assert_eq!(plimsoll::lua::describe(&Value::Nil), "nil");
}

/// Whatever a script hangs on an error, its state can be collected.
#[tokio::test]
async fn an_error_in_a_cycle_with_its_details_is_collected() {
    let host = Host::new(MEMORY).await;
    let chunk = "local seen = setmetatable({}, {__mode = 'k'})
        do
          local details = {}
          local e = errors.new{message = 'm', kind = details, details = details}
          details.back, seen[e] = e, true
          details, e = nil, nil
        end
        collectgarbage() collectgarbage()
        return next(seen)";
    assert_eq!(host.show(chunk).await, "nil");
}

/// Each kind with a call that yields it: expression, whether it is retryable, outcome.
///
/// Not here are the kinds that no store of this build yields: `PERMISSION_DENIED` (policies) and
/// `RATE_LIMITED` (replicated stores); scripts can make them all the same.
const KINDS_AND_CALLS: &[(ErrorKind, &str, bool, &str)] = &[
    (ErrorKind::NotFound, "cache:get('absent')", false, "nil"),
    (ErrorKind::NotFound, "store.get('app:nowhere')", false, "nil"),
    (ErrorKind::AlreadyExists, "cache:put('k', 1, {only_if_absent = true})", false, "none"),
    (ErrorKind::Invalid, "cache:set('', 1)", false, "none"),
    (ErrorKind::Invalid, "cache:list{limit = -1}", false, "nil"),
    (ErrorKind::Conflict, "cache:put('k', 1, {if_version = '0000000000000001-1'})", true, "none"),
    (ErrorKind::Unavailable, "full:set('second', 1)", true, "none"),
    (ErrorKind::Timeout, "cache:watch():next(0)", true, "nil"),
    (ErrorKind::Internal, "broken:get('k')", false, "nil"),
    (ErrorKind::Canceled, "given_up()", false, "nil"),
    (ErrorKind::Unknown, "nil, errors.new('made by a script')", false, "nil"),
    (ErrorKind::PermissionDenied, "nil, errors.new('PERMISSION_DENIED', 'm')", false, "nil"),
    (ErrorKind::RateLimited, "nil, errors.new('RATE_LIMITED', 'm')", false, "nil"),
];

#[tokio::test]
async fn every_kind_has_a_call_that_yields_it() {
    let host = Host::new(MEMORY).await;
    let full = MemoryStore::open(MemoryOptions { max_size: 1, cleanup_interval: None });
    let full = StoreHandle::new("app:full", full);
    full.set("first", 1, None).await.unwrap();
    let broken = Host::new(host::SQL).await;
    broken.run("assert(cache:set('k', 1))").await;
    broken.in_database("UPDATE kv_store SET value = 'no JSON'");
    let broken = broken.engine.store("app:cache").await.unwrap();
    for (name, handle) in [("full", full), ("broken", broken)] {
        let handle = plimsoll::lua::handle_value(&host.lua, handle).unwrap();
        host.lua.globals().set(name, handle).unwrap();
    }
    // `table.sort` is a C function: nothing can wait while it compares.
    let given_up = "function given_up()
          local _, err = pcall(table.sort, {2, 1}, function() time.sleep(1) end)
          return nil, err
        end
        cache:set('k', 'v')";
    host.run(given_up).await;
    for (kind, call, retryable, outcome) in KINDS_AND_CALLS {
        let chunk = format!(
            "local _, e = {call}
            return e:kind(), e:retryable() or false, (e:details() or {{}}).outcome"
        );
        let expected = format!("{} {retryable} {outcome}", kind.as_str());
        assert_eq!(host.show(&chunk).await, expected, "{call}");
    }
    for kind in ErrorKind::ALL {
        assert!(KINDS_AND_CALLS.iter().any(|row| row.0 == kind), "no call for {kind:?}");
    }
}

/// A write that has begun where nothing can wait may have been done.
#[tokio::test]
async fn a_write_that_is_given_up_has_an_unknown_outcome() {
    let host = Host::new(host::SQL).await;
    let (value, error): (Value, Value) = host.lua.load("return cache:set('k', 1)").eval().unwrap();
    assert!(value.is_nil());
    let error = plimsoll::lua::engine_error(&error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Canceled);
    assert_eq!(error.outcome(), Some(Outcome::Unknown));
    assert!(!error.retryable());
    let error = plimsoll::lua::error_value(&host.lua, error).unwrap();
    host.lua.globals().set("unknown", error).unwrap();
    assert_eq!(
        host.show("return cache:resolve(unknown)").await,
        "nil Invalid: app:cache is a sql store, which can't tell what became of an operation: read \
         the key to find out"
    );
}

/// At Lua's own pause the collector falls behind objects with finalizers for ever.
#[tokio::test]
async fn the_errors_of_a_loop_do_not_pile_up() {
    let host = Host::new(MEMORY).await;
    let chunk = "for _ = 1, 150000 do cache:get('absent') end return collectgarbage('count') < 512";
    assert_eq!(host.show(chunk).await, "true");
    assert_eq!(host.show("return collectgarbage('setpause', 160)").await, "160");
}

/// What a host has set stays, where it does no harm.
#[tokio::test]
async fn the_collector_keeps_its_mode_and_a_shorter_pause() {
    let host = Host::new(MEMORY).await;
    let lua = plimsoll::lua::mlua::Lua::new();
    lua.load("collectgarbage('generational') collectgarbage('setpause', 120)").exec().unwrap();
    plimsoll::lua::install(&lua, &host.engine).unwrap();
    let state: (u32, String) = lua
        .load("return collectgarbage('setpause', 200), collectgarbage('incremental')")
        .eval()
        .unwrap();
    assert_eq!(state, (120, "generational".to_owned()));
}

#[tokio::test]
async fn json_encodes_and_decodes() {
    check(&[
        ("return json.encode({})", "{}"),
        ("return json.encode({1, 'a', true, 2.0})", "[1,\"a\",true,2.0]"),
        ("return json.encode({b = 1, a = {x = {}}})", "{\"a\":{\"x\":{}},\"b\":1}"),
        ("return json.encode({1, nil, 3})", "[1,null,3]"),
        ("return json.encode('a\"\\n\\u{e9}')", "\"a\\\"\\né\""),
        ("return json.encode(nil), json.encode(false)", "null false"),
        ("return json.encode(math.mininteger), json.encode(1e300)", "-9223372036854775808 1e+300"),
        ("return json.decode('[1,2.0,null,4]')[4]", "4"),
        ("return math.type(json.decode('1')), math.type(json.decode('1.0'))", "integer float"),
        ("return math.type(json.decode('9223372036854775808'))", "float"),
        ("return json.decode('null'), json.decode('{\"a\":null}').a", "nil nil"),
        ("return json.decode('{\"a\":1,\"a\":2}').a", "2"),
        ("return json.decode(json.encode({k = {1, {2.5}}})).k[2][1]", "2.5"),
        ("return require('json') == json", "true"),
        ("local ok, e = pcall(json.decode, '{') return ok, e:kind()", "false Invalid"),
        (
            "return pcall(json.decode, '[1,]')",
            "false Invalid: this is no JSON: trailing comma at line 1 column 4",
        ),
        (
            "return pcall(json.decode, 5)",
            "false Invalid: json.decode takes a string, not an integer",
        ),
        (
            "return pcall(json.encode, {a = {print}})",
            "false Invalid: value.a[1]: a function can't be encoded as JSON",
        ),
        (
            "return pcall(json.encode, {a = 0/0})",
            "false Invalid: value.a: NaN and infinities can't be JSON",
        ),
        (
            "return pcall(json.encode, {['b c'] = '\\xff'})",
            "false Invalid: value[\"b c\"]: a string that is not UTF-8 can't be JSON",
        ),
        (
            "return pcall(json.encode, {1, 2, x = 3})",
            "false Invalid: value: a table can be JSON only if its keys are all strings, or all \
             positions counted from 1",
        ),
        (
            "return pcall(json.encode, {[0] = 1})",
            "false Invalid: value: a table can be JSON only if its keys are all strings, or all \
             positions counted from 1",
        ),
        (
            "return pcall(json.encode, {[1] = 1, [5] = 1})",
            "false Invalid: value: an array with more holes than values can't be JSON",
        ),
        (
            "local t = {} t.t = t return pcall(json.encode, t)",
            "false Invalid: value.t: the table contains itself",
        ),
        (
            "local t = {} for _ = 1, 126 do t = {t} end
            local text = json.encode(t)
            local ok, e = pcall(json.encode, {t})
            return #text, #json.encode(json.decode(text)), ok, e:details().limit",
            "254 254 false 127",
        ),
    ])
    .await;
}

#[tokio::test]
async fn time_sleeps_and_tells() {
    check(&[
        ("local t = time.now() time.sleep(0.01) return time.now() - t >= 0.01", "true"),
        ("local t = time.now() time.sleep('10ms') return time.now() - t >= 0.01", "true"),
        ("return time.sleep(0)", "nil"),
        ("return math.type(time.now()), require('time') == time", "float true"),
        (
            "return pcall(time.sleep, -1)",
            "false Invalid: the time to sleep must be 0 or a positive number of seconds, not -1",
        ),
        ("return pcall(time.sleep)", "false Invalid: the time to sleep must be a number, not nil"),
        ("local ok, e = pcall(time.sleep, '1 hour') return ok, e:kind()", "false Invalid"),
    ])
    .await;
}
