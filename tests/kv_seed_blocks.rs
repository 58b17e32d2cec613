//! The code blocks of the documentation that `KV` follows: each runs, word for word, on every
//! backend of namespaces, and does what its text says.
//!
//! `tests/seed_blocks/kv/` holds one file per block (a block that occurs in several documents
//! once); `manifest.lua` says what each needs and which effect it must have.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;
#[path = "support/kv_host.rs"]
mod kv_host;

use std::fs;
use std::path::PathBuf;

use kv_host::{KvHost, KvKind};
use plimsoll::lua::mlua::{Lua, MultiValue, Table, Value};
use plimsoll::registry::LuatProject;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/seed_blocks/kv")
}

fn manifest(lua: &Lua) -> Table {
    lua.load(folder().join("manifest.lua")).eval().unwrap()
}

#[tokio::test]
async fn every_block_does_what_its_text_says_on_every_backend() {
    let names = Lua::new();
    for kind in KvKind::ALL {
        let mut ran = 0;
        for block in manifest(&names).sequence_values::<Table>() {
            let block = block.unwrap();
            let name: String = block.get("block").unwrap();
            let code = fs::read_to_string(folder().join(format!("{name}.lua"))).unwrap();
            for case in block.get::<Table>("cases").unwrap().sequence_values::<Table>() {
                run_case(kind, &name, &code, &case.unwrap()).await;
                ran += 1;
            }
        }
        assert!(ran >= 19, "{kind:?} ran {ran} cases only");
    }
}

async fn run_case(kind: KvKind, block: &str, code: &str, case: &Table) {
    let text = |field: &str| case.get::<Option<String>>(field).unwrap().unwrap_or_default();
    let label = format!("{block} ({}) on {}", text("name"), kind.name());
    let host = KvHost::new(kind).await;
    host.try_run("kv = KV.namespace('my-namespace')").await.unwrap();
    let arguments: Vec<String> = case.get::<Option<_>>("arguments").unwrap().unwrap_or_default();
    let arguments =
        arguments.into_iter().map(|a| Value::String(host.lua.create_string(a).unwrap()));
    let chunk = format!("{}\n{code}\n{}", text("before"), text("after"));
    let results: MultiValue = host
        .lua
        .load(chunk)
        .set_name("=block")
        .call_async(arguments.collect::<MultiValue>())
        .await
        .unwrap_or_else(|error| panic!("{label}: {error}"));
    host.lua
        .load(text("returns"))
        .call_async::<()>(results)
        .await
        .unwrap_or_else(|error| panic!("{label} returned something else: {error}"));
    if let Some(expected) = case.get::<Option<String>>("prints").unwrap() {
        assert_eq!(host.printed(), expected, "{label}");
    }
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
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lua"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "manifest")
        .collect();
    files.sort();
    assert_eq!(named, files);
    assert_eq!(named.len(), 15);
}

#[test]
fn the_luat_toml_of_the_documents_names_the_default() {
    let project = tempfile::tempdir().unwrap();
    let without = LuatProject::find(project.path()).unwrap();
    fs::copy(folder().join("luat.toml"), project.path().join("luat.toml")).unwrap();
    let with = LuatProject::find(project.path()).unwrap();
    assert_eq!(with.kv_file(), project.path().join(".luat/data/kv.db"));
    assert_eq!(with.kv_file(), without.kv_file());
}

/// The larger examples stand in the example application as the documents show them.
#[test]
fn the_example_application_has_the_blocks_word_for_word() {
    let application = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/kv_application");
    for block in ["session", "cache", "blog", "form_actions"] {
        let code = fs::read_to_string(folder().join(format!("{block}.lua"))).unwrap();
        let path = code.lines().next().unwrap().strip_prefix("-- ").unwrap();
        let file = fs::read_to_string(application.join(path)).unwrap();
        assert_eq!(file, code, "{path}");
    }
}
