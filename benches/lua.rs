//! Lua against the Rust call behind it, on `store.memory`.
//!
//! `cargo bench --bench lua`. Both read the same 1,000 keys with values of 256 bytes; what counts is
//! how much the Lua call costs over the Rust call: aim 0.6 us for `get`, 1 us for `entry`.

mod support;

use std::hint::black_box;

use plimsoll::lua::install;
use plimsoll::lua::mlua::{Function, Lua};
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::store::StoreHandle;
use support::{Contender, Picker, contest};

const KEYS: usize = 1_000;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let (lua, handle) = runtime.block_on(async {
        let options = LoadOptions::default();
        let config = Config::parse(CONFIG, ".", "bench.yaml", options).expect("is right");
        let engine = Plimsoll::open(config).await.expect("opens");
        let handle = engine.store("app:cache").await.expect("is there");
        for i in 0..KEYS {
            handle.set(&key(i), vec![b'v'; 256], None).await.expect("is written");
        }
        let lua = Lua::new();
        install(&lua, &engine).expect("installs");
        lua.load(PRELUDE).exec_async().await.expect("runs");
        (lua, handle)
    });

    for (method, aim) in [("get", 600.0), ("entry", 1_000.0)] {
        let mut picker = Picker::new();
        let rust = |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    call(&handle, method, &key(picker.below(KEYS))).await;
                }
            });
        };
        let script: Function = lua.globals().get(method).expect("defined by the prelude");
        let from_lua = |n| runtime.block_on(script.call_async::<()>(n)).expect("runs");
        let figures = contest(
            &format!("{method} of {KEYS} keys with values of 256 B"),
            None,
            vec![Contender::new("Rust", rust), Contender::new("Lua", from_lua)],
        );
        let over = figures[1].nanoseconds - figures[0].nanoseconds;
        let verdict = if over <= aim { "reached" } else { "missed" };
        println!("    Lua over Rust: {over:.0} ns, aim {aim:.0} ns: {verdict}");
    }
}

const CONFIG: &str = r#"
version: "1.0"
namespace: app
entries:
  - name: cache
    kind: store.memory
"#;

fn key(i: usize) -> String {
    format!("user:{i:05}")
}

async fn call(handle: &StoreHandle, method: &str, key: &str) {
    if method == "get" {
        black_box(handle.get(key).await.expect("answers"));
    } else {
        black_box(handle.entry(key).await.expect("answers"));
    }
}

/// The keys are made beforehand: a script that reads has its key already.
const PRELUDE: &str = r#"
local cache = require("store").get("app:cache")
local keys = {}
for i = 0, 999 do keys[i] = ("user:%05d"):format(i) end
function get(n)
    for i = 1, n do cache:get(keys[i * 7919 % 1000]) end
end
function entry(n)
    for i = 1, n do cache:entry(keys[i * 7919 % 1000]) end
end
"#;
