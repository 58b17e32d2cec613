//! Values through Lua: what goes in comes out, exactly, on every kind of store.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

#[path = "support/expressions.rs"]
mod expressions;
#[path = "support/host.rs"]
mod host;

use expressions::expression;
use host::{Host, KINDS};
use plimsoll::value::{Encoded, Table, TableKey, Value};
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};

/// Stores a value from Lua and reads it in Rust; then reads it in Lua, stores that, and reads it
/// in Rust again: both directions are exact, or one of the two differs.
async fn round_trip(host: &Host, value: &Value) {
    let store = host.engine.store("app:cache").await.unwrap();
    let expression = expression(value);
    host.run(&format!("assert(cache:set('in', {expression}))")).await;
    let stored = store.get("in").await.unwrap().unwrap();
    assert_eq!(stored, *value, "{expression} into the store");
    host.run("assert(cache:set('out', (cache:get('in'))))").await;
    let read = store.get("out").await.unwrap().unwrap();
    assert_eq!(read, *value, "{expression} out of the store");
    assert_eq!(Encoded::new(&read), Encoded::new(value));
}

fn any_key() -> impl Strategy<Value = TableKey> {
    prop_oneof![
        any::<bool>().prop_map(TableKey::Boolean),
        (-3_i64..8).prop_map(TableKey::Integer),
        any::<i64>().prop_map(TableKey::Integer),
        any::<f64>().prop_filter_map("NaN is no key", TableKey::float),
        proptest::collection::vec(any::<u8>(), 0..6)
            .prop_map(|bytes| TableKey::String(bytes.into())),
        "[a-z$]{1,9}".prop_map(TableKey::from),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::num::f64::ANY.prop_map(Value::from),
        Just(Value::from(1.0)),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 48, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| (1_i64..).zip(items).collect::<Table>().into()),
            proptest::collection::btree_map(any_key(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<Table>().into()),
        ]
    })
}

#[test]
fn any_value_comes_back_as_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for &kind in KINDS {
        let host = runtime.block_on(Host::new(kind));
        let mut runner = TestRunner::new(RunnerConfig {
            cases: 400,
            failure_persistence: None,
            ..RunnerConfig::default()
        });
        runner
            .run(&any_value(), |value| {
                runtime.block_on(round_trip(&host, &value));
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn corner_cases_come_back_as_they_were() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        for value in [
            Value::from(0),
            Value::from(i64::MIN),
            Value::from(i64::MAX),
            Value::from(1.0),
            Value::from(-0.0),
            Value::from(9_007_199_254_740_993_i64),
            Value::from(9_007_199_254_740_992.0),
            Value::from(5e-324),
            Value::from(f64::MAX),
            Value::from(f64::INFINITY),
            Value::from(f64::NEG_INFINITY),
            Value::from(f64::NAN),
            Value::from(""),
            Value::from("a\0b"),
            Value::from(vec![0xff, 0, 0xfe]),
            Value::from("null"),
            Value::from("{\"$plimsoll\":\"float\",\"value\":\"nan\"}"),
            Value::table(),
        ] {
            round_trip(&host, &value).await;
            let mut table = Table::new();
            table.insert(1, value.clone());
            table.insert("$plimsoll", value.clone());
            table.insert(-1, value);
            round_trip(&host, &table.into()).await;
        }
    }
}

#[tokio::test]
async fn tables_keep_every_key_and_nothing_else() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        host.run(
            r#"
            local function back(value)
              assert(cache:set("k", value))
              local got, err = cache:get("k")
              assert(err == nil, err)
              return got
            end
            -- Integers and floats stay apart, as values and as keys.
            assert(math.type(back(1)) == "integer" and math.type(back(1.0)) == "float")
            local mixed = back {1.0, 2, x = 3, [true] = 4, [2.5] = 5, [-1] = 6, [10] = 7}
            assert(math.type(mixed[1]) == "float" and math.type(mixed[2]) == "integer")
            assert(mixed.x == 3 and mixed[true] == 4 and mixed[2.5] == 5)
            assert(mixed[-1] == 6 and mixed[10] == 7)
            local keys = 0
            for _ in pairs(mixed) do keys = keys + 1 end
            assert(keys == 7)
            -- A key of text is not the key of its number.
            local text = back {["1"] = "text"}
            assert(text["1"] == "text" and text[1] == nil)
            local sparse = back {nil, 2, nil, 4}
            assert(sparse[1] == nil and sparse[2] == 2 and sparse[3] == nil and sparse[4] == 4)
            assert(next(back {}) == nil)

            -- Metatables are ignored and not stored.
            local proxy = setmetatable({own = 1}, {
              __index = {inherited = 2},
              __pairs = function() error("not to be called") end,
              __len = function() error("not to be called") end,
            })
            local got = back(proxy)
            assert(got.own == 1 and got.inherited == nil and getmetatable(got) == nil)

            -- A table that occurs twice is stored twice, and the copies do not alias.
            local shared = {n = 1}
            local twice = back {shared, shared}
            twice[1].n = 2
            assert(twice[2].n == 1 and shared.n == 1)

            -- The script's table and the stored value never alias.
            local mine = {list = {1}}
            assert(cache:set("k", mine))
            mine.list[1] = "changed"
            local first = cache:get("k")
            first.list[1] = "changed too"
            assert(cache:get("k").list[1] == 1)
            local entry = cache:put("k", {n = 1})
            entry.value.n = 2
            assert(cache:get("k").n == 1)
            "#,
        )
        .await;
    }
}

/// As deep as allowed, from a script that is itself deep in calls: Lua's own limit on nested calls
/// into C must not be met.
#[tokio::test]
async fn the_deepest_value_is_stored_from_the_depth_of_a_script() {
    for &kind in KINDS {
        let host = Host::new(kind).await;
        host.run(
            r#"
            local deep = {}
            for _ = 1, 63 do deep = {deep} end
            local function nested(levels)
              if levels == 0 then return assert(cache:set("k", deep)) end
              local ok, err = pcall(nested, levels - 1)
              return assert(ok, err)
            end
            nested(100)
            local got, depth = cache:get("k"), 0
            while got do got, depth = got[1], depth + 1 end
            assert(depth == 64)
            "#,
        )
        .await;
    }
}

/// A small table that stands for 2^60 others ends at the limit, and soon.
#[tokio::test]
async fn shared_tables_meet_the_limit_before_the_memory_does() {
    let host = Host::new(KINDS[0]).await;
    let started = std::time::Instant::now();
    let chunk = "local t = {} for _ = 1, 60 do t = {t, t} end
        return select(2, cache:set('k', t)):details().limit";
    assert_eq!(host.show(chunk).await, "1048576");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}
