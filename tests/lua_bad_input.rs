//! Bad input from Lua: a clear error, and nothing lost. Each case is a row with its kind, a part of
//! its message, its outcome and whether it is returned or raised.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;

use host::{Host, KINDS, Kind, MEMORY};
use plimsoll::error::ErrorKind;
use plimsoll::lua::mlua::{MultiValue, Value};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// `nil, err`.
    Returned,
    /// `false, err`.
    ReturnedFalse,
    Raised,
}
use Told::{Raised, Returned, ReturnedFalse};

struct Row {
    call: &'static str,
    kind: ErrorKind,
    message: &'static str,
    outcome: Option<&'static str>,
    told: Told,
}

const fn read(call: &'static str, message: &'static str) -> Row {
    Row { call, kind: ErrorKind::Invalid, message, outcome: None, told: Returned }
}

const fn write(call: &'static str, message: &'static str) -> Row {
    Row { outcome: Some("none"), ..read(call, message) }
}

const fn raised(row: Row) -> Row {
    Row { told: Raised, ..row }
}

/// Rows for every kind. `bad` holds values that Lua has no short literal for.
const EVERYWHERE: &[Row] = &[
    // Values.
    write("cache:set('k', nil)", "value: nil can't be stored"),
    write("cache:set('k')", "value: nil can't be stored"),
    write("cache:set('k', print)", "value: a function can't be stored"),
    write("cache:set('k', coroutine.create(print))", "value: a thread can't be stored"),
    write("cache:set('k', cache)", "value: a userdata can't be stored"),
    write("cache:set('k', errors.new('x'))", "value: a userdata can't be stored"),
    write("cache:set('k', {items = {1, 2, print}})", "value.items[3]: a function can't be stored"),
    write("cache:set('k', {['a b'] = {print}})", "value[\"a b\"][1]: a function can't be stored"),
    write("cache:set('k', {[1.5] = print})", "value[1.5]: a function can't be stored"),
    write("cache:set('k', {a = {[{}] = 1}})", "value.a: a table can't be a key"),
    write("cache:set('k', {[print] = 1})", "value: a function can't be a key"),
    write("cache:set('k', bad.cycle)", "value.child[1]: the table contains itself"),
    write("cache:set('k', bad.deep)", "nested too deeply: the limit is 64 levels"),
    write("cache:set('k', bad.large)", "value: the value is too large: the limit is 1048576"),
    write("cache:set('k', {bad.large})", "value[1]: the value is too large"),
    write("cache:set('k', bad.wide)", "the value is too large"),
    write("cache:set('k', bad.exponential)", "the value is too large"),
    write("cache:put('k', bad.cycle)", "the table contains itself"),
    // Keys.
    read("cache:get('')", "the key is empty"),
    read("cache:entry('')", "the key is empty"),
    write("cache:set('', 1)", "the key is empty"),
    write("cache:delete('')", "the key is empty"),
    read("cache:get(bad.key)", "the key has 1025 bytes, the limit is 1024"),
    write("cache:put(bad.key, 1)", "the key has 1025 bytes, the limit is 1024"),
    read("cache:get('a\\0b')", "the key has a NUL byte at byte 1"),
    write("cache:set('a\\xff', 1)", "the key is not UTF-8: bad byte at 1"),
    Row { told: ReturnedFalse, ..read("cache:has('a\\xff')", "the key is not UTF-8") },
    Row { told: ReturnedFalse, ..read("cache:has('')", "the key is empty") },
    raised(read("cache:get()", "the key must be a string, not nil")),
    raised(read("cache:get(1)", "the key must be a string, not an integer")),
    raised(read("cache:entry({})", "the key must be a string, not a table")),
    raised(read("cache:has(1.5)", "the key must be a string, not a number")),
    raised(write("cache:set(true, 1)", "the key must be a string, not a boolean")),
    raised(write("cache:put(nil, 1)", "the key must be a string, not nil")),
    raised(write("cache:delete()", "the key must be a string, not nil")),
    // Handles.
    raised(read("cache.get('k')", "called on a string: call it as store:method(...)")),
    raised(read("cache.list()", "called on nil")),
    raised(read("cache.info({})", "called on a table")),
    raised(read("cache.release(1)", "called on an integer")),
    raised(write("cache.set(errors.new('x'), 'k', 1)", "called on a userdata")),
    // Time to live.
    write("cache:set('k', 1, -1)", "ttl must be 0 or a positive number of seconds, not -1"),
    write("cache:set('k', 1, 0/0)", "ttl must be 0 or a positive number of seconds, not NaN"),
    write("cache:set('k', 1, math.huge)", "the ttl of inf seconds is too long"),
    write("cache:set('k', 1, 3155760001)", "the limit is 100 years, 3155760000 seconds"),
    write("cache:set('k', 1, '60')", "ttl must be a number, not a string"),
    write("cache:set('k', 1, {ttl = 60})", "ttl must be a number, not a table"),
    write("cache:put('k', 1, {ttl = -0.5})", "ttl must be 0 or a positive number"),
    write("cache:put('k', 1, {ttl = true})", "ttl must be a number, not a boolean"),
    // Options.
    write("cache:put('k', 1, 60)", "the options must be a table, not an integer"),
    write("cache:put('k', 1, {TTL = 60})", "unknown option \"TTL\""),
    write("cache:put('k', 1, {only_if_abscent = true})", "unknown option \"only_if_abscent\""),
    write("cache:put('k', 1, {absent = true})", "unknown option \"absent\""),
    write("cache:put('k', 1, {'ttl'})", "unknown option \"1\""),
    write("cache:put('k', 1, {only_if_absent = 1})", "only_if_absent must be a boolean"),
    write("cache:put('k', 1, {if_version = 7})", "if_version must be a string"),
    write("cache:put('k', 1, {if_version = 'newest'})", "if_version: \"newest\" is no version"),
    write("cache:put('k', 1, {if_version = ''})", "if_version: \"\" is no version"),
    write("cache:put('k', 1, {if_version = bad.version .. ' '})", "is no version"),
    write(
        "cache:put('k', 1, {if_version = bad.version, only_if_absent = true})",
        "absence and if_version can't both be required",
    ),
    write("cache:delete('k', {version = bad.version})", "unknown option \"version\""),
    write("cache:delete('k', true)", "the options must be a table, not a boolean"),
    read("cache:list('prefix')", "the options must be a table, not a string"),
    read("cache:list{prefx = 'a'}", "unknown option \"prefx\""),
    read("cache:list{prefix = 1}", "prefix must be a string, not an integer"),
    read("cache:list{after = {}}", "after must be a string, not a table"),
    read("cache:list{limit = -1}", "limit must be 0 or a positive whole number, not -1"),
    read("cache:list{limit = 2.5}", "limit must be 0 or a positive whole number, not 2.5"),
    read("cache:list{limit = 0/0}", "limit must be 0 or a positive whole number, not NaN"),
    read("cache:list{limit = '10'}", "limit must be a number, not a string"),
    read("cache:watch(1)", "the options must be a table, not an integer"),
    read("cache:watch{from = 'x'}", "unknown option \"from\""),
    read("cache:watch{after = 'newest'}", "after: \"newest\" is no version"),
    write("cache:transact()", "the operations must be an array, not nil"),
    write("cache:transact{{op = 'put', key = '', value = 1}}", "operation 1: the key is empty"),
    // Questions about errors.
    read("cache:resolve()", "resolve takes an error whose details.outcome is \"unknown\""),
    read("cache:resolve(select(2, cache:set('', 1)))", "resolve takes an error"),
    // The module.
    read("store.get('')", "the id of the store is empty"),
    Row { kind: ErrorKind::NotFound, ..read("store.get('app:cash')", "no store \"app:cash\"") },
    raised(read("store.get()", "the id must be a string, not nil")),
    raised(read("store.get(cache)", "the id must be a string, not a userdata")),
];

/// Rows for kinds with transactions, conditions, versions and watches.
const MEMORY_ONLY: &[Row] = &[
    write("cache:transact{op = 'put'}", "the operations must be an array without other keys"),
    write("cache:transact{[1] = 5}", "operation 1: an operation must be a table, not an integer"),
    write("cache:transact{{}}", "op must be \"put\", \"delete\" or \"check\""),
    write("cache:transact{{op = 'get', key = 'k'}}", "op must be \"put\", \"delete\" or \"check\""),
    write(
        "cache:transact{{op = 'delete', key = 'k'}, {op = 'put', key = 'l'}}",
        "operation 2: value: nil can't be stored",
    ),
    write(
        "cache:transact{{op = 'delete', key = 'k', ttl = 5}}",
        "operation 1: unknown option \"ttl\"",
    ),
    write("cache:transact{{op = 'check', key = 'k'}}", "a check needs if_version or absent = true"),
    write(
        "cache:transact{{op = 'check', key = 'k', absent = true, if_version = bad.version}}",
        "can't both be required",
    ),
    write(
        "cache:transact{{op = 'put', key = 'a', value = 1}, {op = 'delete', key = 'a'}}",
        "the key \"a\" occurs twice",
    ),
    write("cache:transact(bad.operations)", "the transaction has 129 operations, the limit is 128"),
    write(
        "cache:transact{{op = 'put', key = 'a', value = bad.half}, {op = 'put', key = 'b', value = bad.half}}",
        "the limit is 1048576",
    ),
    raised(write(
        "cache:transact{{op = 'put', key = 1, value = 1}}",
        "operation 1: the key must be a string, not an integer",
    )),
    Row {
        kind: ErrorKind::Conflict,
        ..write("cache:put('present', 1, {if_version = bad.version})", "has another version")
    },
    Row {
        kind: ErrorKind::NotFound,
        ..write(
            "cache:put('absent', 1, {if_version = bad.version})",
            "the key \"absent\" is absent",
        )
    },
    Row {
        kind: ErrorKind::Conflict,
        ..write(
            "cache:put('present', 1, {if_version = cache:entry('present').version .. '999'})",
            "has another version",
        )
    },
    write("cache:put('k', 1, {if_version = '0'})", "is a version of another kind of store"),
    write("cache:delete('k', {if_version = '0'})", "is a version of another kind of store"),
    write(
        "cache:transact{{op = 'check', key = 'k', if_version = '0'}}",
        "is a version of another kind of store",
    ),
    read("cache:watch{after = '0'}", "after must be a version of this store"),
    read("cache:watch{after = bad.version}", "no longer kept"),
    read("cache:watch():next('1')", "timeout must be a number, not a string"),
    read("cache:watch():next(-1)", "timeout must be 0 or a positive number of seconds, not -1"),
    raised(read("cache:watch().next(cache)", "this is a method of a watch")),
];

/// What kinds without a capability say.
const WITHOUT: &[(&str, &[Row])] = &[
    (
        "conditional_put",
        &[
            write("cache:put('k', 1, {only_if_absent = true})", "no conditional writes"),
            write("cache:put('k', 1, {if_version = '0'})", "no conditional writes"),
            write("cache:delete('k', {if_version = '0'})", "no conditional writes"),
        ],
    ),
    ("transact", &[write("cache:transact{{op = 'delete', key = 'k'}}", "no transactions")]),
    ("watch", &[read("cache:watch()", "no watches")]),
];

const BAD: &str = r#"
bad = {key = ("k"):rep(1025), large = ("x"):rep(2 * 1024 * 1024), half = ("x"):rep(600 * 1024)}
bad.version = "00000000000000aa-1"
bad.cycle = {} bad.cycle.child = {bad.cycle}
bad.deep = {} for _ = 1, 64 do bad.deep = {bad.deep} end
bad.wide = {} for i = 1, 600000 do bad.wide[i] = i end
bad.exponential = {} for _ = 1, 60 do bad.exponential = {bad.exponential, bad.exponential} end
bad.operations = {}
for i = 1, 129 do bad.operations[i] = {op = "delete", key = "k" .. i} end
cache:set("present", "before")
"#;

async fn check(kind: Kind, rows: &[Row]) {
    let host = Host::new(kind).await;
    host.run(BAD).await;
    for row in rows {
        let label = format!("{} on {}", row.call, kind.backend);
        let (told, error) = outcome_of(&host, row.call).await;
        assert_eq!(told, row.told, "{label}");
        let error = plimsoll::lua::engine_error(&error)
            .unwrap_or_else(|| panic!("{label} gave no error: {error:?}"));
        assert_eq!(error.kind(), row.kind, "{label}: {error:?}");
        assert!(error.message().contains(row.message), "{label}: {error:?}");
        let outcome = error.outcome().map(|outcome| outcome.as_str());
        assert_eq!(outcome, row.outcome, "{label}: {error:?}");
        let is_retryable = row.kind == ErrorKind::Conflict;
        assert_eq!(error.retryable(), is_retryable, "{label}: {error:?}");
        let left = "local p = cache:list() return #p.items, p.items[1].key, p.items[1].value";
        assert_eq!(host.show(left).await, "1 present before", "{label} left something");
    }
}

/// Runs a call; how its error was told, and the error.
async fn outcome_of(host: &Host, call: &str) -> (Told, Value) {
    let chunk = format!("return pcall(function() return {call} end)");
    let results: MultiValue = host.run(&chunk).await;
    let mut results = results.into_iter();
    let is_ok = results.next() == Some(Value::Boolean(true));
    let first = results.next().unwrap_or(Value::Nil);
    match (is_ok, first) {
        (false, error) => (Raised, error),
        (true, Value::Nil) => (Returned, results.next().unwrap_or(Value::Nil)),
        (true, Value::Boolean(false)) => (ReturnedFalse, results.next().unwrap_or(Value::Nil)),
        (true, value) => panic!("{call} answered {value:?}"),
    }
}

#[tokio::test]
async fn bad_input_is_refused_on_every_kind() {
    for &kind in KINDS {
        check(kind, EVERYWHERE).await;
    }
}

#[tokio::test]
async fn bad_transactions_conditions_and_watches_are_refused() {
    check(MEMORY, MEMORY_ONLY).await;
}

#[tokio::test]
async fn what_a_kind_does_not_support_is_refused() {
    for &kind in KINDS {
        for (capability, rows) in WITHOUT {
            let host = Host::new(kind).await;
            if host.show(&format!("return cache:info().{capability}")).await == "false" {
                check(kind, rows).await;
            }
        }
    }
}

#[tokio::test]
async fn a_released_handle_answers_before_anything_else_is_looked_at() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        host.run("cache:release()").await;
        for (call, told, outcome) in [
            ("cache:get()", Returned, None),
            ("cache:entry({})", Returned, None),
            ("cache:has(1)", ReturnedFalse, None),
            ("cache:set(1, print, {})", Returned, Some("none")),
            ("cache:put()", Returned, Some("none")),
            ("cache:delete(1, 2)", Returned, Some("none")),
            ("cache:list(5)", Returned, None),
            ("cache:info()", Returned, None),
            ("cache:transact(5)", Returned, Some("none")),
            ("cache:watch(5)", Returned, None),
            ("cache:resolve(5)", Returned, None),
        ] {
            let (actual, error) = outcome_of(&host, call).await;
            assert_eq!(actual, told, "{call}");
            let error = plimsoll::lua::engine_error(&error).unwrap();
            assert_eq!(error.message(), "the handle of app:cache is released", "{call}");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{call}");
            assert_eq!(error.outcome().map(|o| o.as_str()), outcome, "{call}");
        }
        assert_eq!(host.show("return cache:release()").await, "true");
    }
}

#[tokio::test]
async fn limits_stand_in_the_details() {
    let host = Host::new(MEMORY).await;
    host.run(BAD).await;
    for (call, limit) in [
        ("cache:set('k', bad.large)", 1 << 20),
        ("cache:set('k', bad.deep)", 64),
        ("cache:set(bad.key, 1)", 1_024),
        ("cache:set('k', 1, 1e12)", 3_155_760_000_i64),
        ("cache:transact(bad.operations)", 128),
    ] {
        let shown = host.show(&format!("return select(2, {call}):details().limit")).await;
        assert_eq!(shown, limit.to_string(), "{call}");
    }
}

/// Every method with every combination of three arguments out of a pool of good and bad ones: the
/// call answers, or tells a structured error the way its argument deserves, and nothing crashes.
#[tokio::test]
async fn any_arguments_are_answered_or_refused() {
    let host = Host::new(MEMORY).await;
    host.run(BAD).await;
    host.run(
        r#"
        local version = cache:entry("present").version
        local pool = {
          true, 0, -1, 2.5, 0/0, math.huge, "", "k", "present", "\xff", version,
          {}, {prefix = "p"}, {ttl = 1}, {if_version = version}, {only_if_absent = true, nope = 1},
          {{op = "put", key = "t", value = 1}}, {{op = "put", key = 1}}, bad.cycle, print,
          coroutine.create(print), errors.new("x"), cache,
        }
        local size = #pool + 1   -- and nil
        local keyed = {get = true, entry = true, has = true, set = true, put = true, delete = true}
        local writes = {set = true, put = true, delete = true, transact = true}
        local calls, refused = 0, 0
        local function check(name, a, ok, result, err)
          calls = calls + 1
          if not ok then
            assert(errors.is(result, errors.INVALID), name .. " raised " .. tostring(result))
            local has_bad_key = keyed[name] and type(a) ~= "string"
              or name == "transact" and result:details().index
            assert(has_bad_key, name .. " raised " .. result)
            err = result
          elseif err ~= nil then
            assert(result == nil or name == "has" and result == false, name)
            assert(errors.is(err, err:kind()) and err:kind() ~= errors.UNKNOWN, name)
            assert(err:kind() ~= errors.INTERNAL, name .. tostring(err))
          else
            return
          end
          refused = refused + 1
          assert(type(err:retryable()) == "boolean", name)
          if writes[name] then assert(err:details().outcome == "none", name) end
        end
        for _, name in ipairs {
          "get", "entry", "has", "set", "put", "delete", "list", "info", "transact", "watch", "resolve",
        } do
          local method = cache[name]
          for i = 1, size do
            for j = 1, size do
              for k = 1, size do
                check(name, pool[i], pcall(method, cache, pool[i], pool[j], pool[k]))
              end
            end
          end
          -- As the handle nothing but a store will do.
          for i = 1, size do
            if pool[i] ~= cache then
              local ok, err = pcall(method, pool[i], "k", 1)
              assert(not ok and errors.is(err, errors.INVALID), name)
            end
          end
        end
        assert(calls == 11 * size ^ 3 and refused > calls / 2, refused)
        "#,
    )
    .await;
}
