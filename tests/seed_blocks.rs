//! The code blocks of the documentation that the stores follow: each runs, word for word, on every
//! kind of store that it applies to, and does what its text says. Configurations are in
//! `seed_configs.rs`.
//!
//! `tests/seed_blocks/` holds one file per block (a block that occurs in several documents once);
//! `manifest.lua` says what each needs and which effect it must have.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;

use std::path::PathBuf;

use host::{Host, KINDS, Kind};
use plimsoll::lua::mlua::{Lua, Table};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/seed_blocks")
}

fn manifest(lua: &Lua) -> Table {
    lua.load(folder().join("manifest.lua")).eval().unwrap()
}

#[tokio::test]
async fn every_block_does_what_its_text_says_on_every_kind() {
    for &kind in KINDS {
        let names = Host::new(kind).await;
        let mut ran = 0;
        for block in manifest(&names.lua).sequence_values::<Table>() {
            let block = block.unwrap();
            let name: String = block.get("block").unwrap();
            let code = std::fs::read_to_string(folder().join(format!("{name}.lua"))).unwrap();
            for case in block.get::<Table>("cases").unwrap().sequence_values::<Table>() {
                ran += usize::from(run_case(kind, &name, &code, &case.unwrap()).await);
            }
        }
        assert!(ran >= 14, "{kind:?} ran {ran} cases only");
    }
}

/// Runs a case on a store of its own, unless it does not apply to the kind.
async fn run_case(kind: Kind, block: &str, code: &str, case: &Table) -> bool {
    let text = |field: &str| case.get::<Option<String>>(field).unwrap().unwrap_or_default();
    let label = format!("{block} ({}) on {}", text("name"), kind.backend);
    let host = Host::new(kind).await;
    let has =
        async |capability: &str| host.show(&format!("return cache:info().{capability}")).await;
    let (only, unless) = (text("only"), text("unless"));
    if !only.is_empty() && has(&only).await != "true"
        || !unless.is_empty() && has(&unless).await != "false"
    {
        return false;
    }
    let chunk = format!("{}\n{code}\n{}", text("before"), text("after"));
    let results = host.try_run(&chunk).await.unwrap_or_else(|error| panic!("{label}: {error}"));
    host.lua
        .load(text("returns"))
        .call_async::<()>(results)
        .await
        .unwrap_or_else(|error| panic!("{label} returned something else: {error}"));
    if let Some(pattern) = case.get::<Option<String>>("prints").unwrap() {
        let printed = host.printed();
        let is_matched: bool = host
            .lua
            .load("local printed, pattern = ... return printed:find(pattern) ~= nil")
            .call((&*printed, pattern))
            .unwrap();
        assert!(is_matched, "{label} printed {printed:?}");
    }
    true
}

/// A file without a case, or a case without a file, would be a block that nobody runs.
#[test]
fn the_manifest_names_every_file_once() {
    let lua = Lua::new();
    let mut named: Vec<String> = manifest(&lua)
        .sequence_values::<Table>()
        .map(|block| block.unwrap().get("block").unwrap())
        .collect();
    named.sort();
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lua"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "manifest")
        .collect();
    files.sort();
    assert_eq!(named, files);
    assert_eq!(named.len(), 11);
}
