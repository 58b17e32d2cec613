//! The store module in Lua.
#![cfg(feature = "lua")]
mod support;
use support::*;

#[tokio::test]
async fn smoke() {
    let host = Host::new(MEMORY).await;
    let src = std::fs::read_to_string("/tmp/smoke.lua").unwrap();
    for chunk in src.split("----\n") {
        match host.try_run(chunk).await {
            Ok(v) => println!("{}\n=> {}", chunk.trim(), v.iter().map(show).collect::<Vec<_>>().join(" | ")),
            Err(e) => println!("{}\n!! {e}", chunk.trim()),
        }
        print!("{}", host.printed());
    }
}
