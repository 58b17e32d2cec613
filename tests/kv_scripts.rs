//! Golden scripts of `KV`: each file in `tests/kv_scripts/` is a behaviour, its name the sentence,
//! and the file of the same name with `.out` what it prints, on every backend alike.
//!
//! A script runs with the globals `KV`, `json`, `errors`, `now` and `advance`, on every backend
//! unless its first line names some (`-- kinds: memory sqlite`). `UPDATE_GOLDENFILES=1` writes the
//! outputs anew.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;
#[path = "support/kv_host.rs"]
mod kv_host;

use std::fs;
use std::path::{Path, PathBuf};

use kv_host::{KvHost, KvKind};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kv_scripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn kinds_of(script: &str) -> Vec<KvKind> {
    let named = script.lines().next().and_then(|line| line.strip_prefix("-- kinds: "));
    let is_named = |kind: &KvKind| named.is_none_or(|n| n.split(' ').any(|n| n == kind.name()));
    let kinds: Vec<_> = KvKind::ALL.into_iter().filter(is_named).collect();
    assert_eq!(
        kinds.len(),
        named.map_or(KvKind::ALL.len(), |named| named.split(' ').count()),
        "{named:?}"
    );
    kinds
}

/// What a script prints, and the error it ends with.
async fn output_of(script: &str, kind: KvKind) -> String {
    let host = KvHost::new(kind).await;
    let ended = host.try_run(&format!("local kv = KV.namespace(\"ns\") {script}")).await;
    let mut output = host.printed();
    if let Err(error) = ended {
        output.push_str(&format!("error: {error}\n"));
    }
    output
}

#[tokio::test]
async fn every_script_prints_what_its_golden_file_says_on_every_backend() {
    let is_update = std::env::var_os("UPDATE_GOLDENFILES").is_some();
    let mut differences = Vec::new();
    let mut ran = 0;
    for path in files().iter().filter(|path| path.extension().is_some_and(|e| e == "lua")) {
        let script = fs::read_to_string(path).unwrap();
        let golden = path.with_extension("out");
        for (position, kind) in kinds_of(&script).into_iter().enumerate() {
            let output = output_of(&script, kind).await;
            ran += 1;
            if is_update && position == 0 {
                fs::write(&golden, &output).unwrap();
            }
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            if output != expected {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                differences.push(format!(
                    "{name} on {}\n--- expected\n{expected}--- printed\n{output}",
                    kind.name()
                ));
            }
        }
    }
    assert!(ran > 40, "only {ran} runs");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_golden_file_has_its_script() {
    for path in files() {
        assert!(path.with_extension("lua").exists(), "{} has no script", path.display());
        assert!(path.with_extension("out").exists(), "{} has no output", path.display());
    }
}
