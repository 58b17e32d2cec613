//! The examples: each runs, and prints what stands here. (`kv_application` has a test of its own.)
#![cfg(all(feature = "blocking", feature = "lua", feature = "serde", feature = "sql"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The examples as modules, whose `main` nobody calls here.
macro_rules! examples {
    ($($name:ident = $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            #[allow(dead_code)]
            mod $name;
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

examples! {
    blocking = "../examples/blocking.rs",
    embed_memory = "../examples/embed_memory.rs",
    embed_sqlite = "../examples/embed_sqlite.rs",
    lock_with_fencing_token = "../examples/lock_with_fencing_token.rs",
    lua_host = "../examples/lua_host.rs",
    optimistic_update = "../examples/optimistic_update.rs",
    typed_values = "../examples/typed_values.rs",
    watch = "../examples/watch.rs",
}

#[track_caller]
fn assert_printed(out: Vec<u8>, expected: &str) {
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[tokio::test]
async fn a_store_in_memory() {
    let mut out = Vec::new();
    embed_memory::run(&mut out).await.unwrap();
    assert_printed(
        out,
        "user:1 is Some(\"Alice\")\nsession:7 expires: true\nuser:2 is None\nuser:1 = 10\nuser:2 = 20\n",
    );
}

#[tokio::test]
async fn a_store_in_a_file() {
    let (folder, mut out) = (tempfile::tempdir().unwrap(), Vec::new());
    embed_sqlite::run(folder.path(), &mut out).await.unwrap();
    assert_printed(out, "start 1\nstart 2\nanother program reads {\"name\":\"Alice\"}\n");
}

#[tokio::test]
async fn a_host_of_scripts() {
    let mut out = Vec::new();
    lua_host::run(&mut out).await.unwrap();
    assert_printed(
        out,
        "alice: (Some(1), None)\nalice: (Some(2), None)\nBOB: (None, Some(\"PermissionDenied\"))\n",
    );
}

#[tokio::test]
async fn rust_types_in_a_store() {
    let mut out = Vec::new();
    typed_values::run(&mut out).await.unwrap();
    assert_printed(
        out,
        r#"{["name"] = "Alice", ["scores"] = {[2024] = 7.5, [2025] = 8.0}, ["status"] = "Active"}
Some(Away { until: "May" })
Invalid: value.ids[2]: 18446744073709551615 is no integer of 64 bits with a sign; keep it as a string
Invalid: the entry "alice": value: a list has no key but its positions, and no .name
"#,
    );
}

#[tokio::test]
async fn competing_tasks_lose_no_update() {
    let mut out = Vec::new();
    optimistic_update::run(&mut out).await.unwrap();
    assert_printed(out, "the sum is Some(100100)\nthey met: true\n");
}

#[tokio::test]
async fn a_lock_with_a_fencing_token() {
    let mut out = Vec::new();
    lock_with_fencing_token::run(&mut out).await.unwrap();
    assert_printed(
        out,
        "printed: by the first\nthe second: AlreadyExists\nprinted: by the second\n\
         refused: by the first, late\n",
    );
}

#[tokio::test]
async fn changes_that_are_followed() {
    let mut out = Vec::new();
    watch::run(&mut out).await.unwrap();
    assert_printed(
        out,
        "put job:1 Some(\"queued\")\nput job:1 Some(\"done\")\nexpire job:1 None\n\
         then nothing: true\nclosed: Canceled\n",
    );
}

#[test]
fn a_program_without_async() {
    let mut out = Vec::new();
    blocking::run(&mut out).unwrap();
    assert_printed(
        out,
        "job:a = \"a\"\njob:b = \"b\"\njob:c = \"c\"\n\
         Invalid: the handle of app:jobs is released\nSome(\"a\")\n3 changes were seen\n",
    );
}

/// Each is short, says what it is and how to run it, and is run above.
#[test]
fn every_example_is_short_and_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.is_file() {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.lines().count() < 60, "{name} has 60 lines or more");
            let head = text.lines().take_while(|line| line.starts_with("//!"));
            let command = format!("`cargo run --example {name}`");
            assert!(head.collect::<String>().contains(&command), "{name} does not say {command}");
            found.insert(name);
        }
    }
    assert_eq!(found, NAMES.iter().map(ToString::to_string).collect());
}
