//! probe
use plimsoll::lua::mlua::Lua;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use std::time::Instant;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let text = "version: \"1.0\"\nnamespace: app\nentries:\n  - name: cache\n    kind: store.memory\n    max_size: 100000\n";
    let config = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    let handle = engine.store("app:cache").await.unwrap();
    let lua = Lua::new();
    plimsoll::lua::install(&lua, &engine).unwrap();
    handle.set("k", vec![b'x'; 256], None).await.unwrap();
    let mut t = plimsoll::value::Table::new();
    t.insert("name", "Alice");
    t.insert("age", 30);
    handle.set("t", t, None).await.unwrap();
    const N: u32 = 1_000_000;
    for round in 0..2 {
        let start = Instant::now();
        for _ in 0..N {
            std::hint::black_box(handle.get("k").await.unwrap());
        }
        println!("rust get {:?}", start.elapsed() / N);
        let start = Instant::now();
        for _ in 0..N {
            std::hint::black_box(handle.entry("k").await.unwrap());
        }
        println!("rust entry {:?}", start.elapsed() / N);
        for (name, body) in [
            ("empty loop", ""),
            ("get", "cache:get('k')"),
            ("get table", "cache:get('t')"),
            ("entry", "cache:entry('k')"),
            ("has", "cache:has('k')"),
            ("miss", "cache:get('missing')"),
            ("set", "cache:set('k', v)"),
            ("set table", "cache:set('t', tt)"),
            ("put", "cache:put('k', v)"),
        ] {
            let n = N / 4;
            let src = format!(
                "local cache = require('store').get('app:cache') local v = ('x'):rep(256) local tt={{name='Alice', age=30}} for i = 1, {n} do {body} end"
            );
            let start = Instant::now();
            lua.load(&src).exec_async().await.unwrap();
            if round == 1 {
                println!("lua {name} {:?}", start.elapsed() / n);
            }
        }
    }
}
