//! The corpora of the fuzz targets, with the bodies of the targets themselves: what fuzzing has
//! found stays checked on a stable toolchain. `fuzz/README.md` tells how they grow.
#![cfg(all(feature = "gossip", feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the properties run sequences; a target runs one")]
#[path = "support/explore.rs"]
mod explore;
#[path = "support/expressions.rs"]
mod expressions;
#[path = "support/host.rs"]
mod host;
#[allow(dead_code, reason = "each user of the support uses what it needs")]
#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/kv_host.rs"]
mod kv_host;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "support/kv_model.rs"]
mod kv_model;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "support/stores/mod.rs"]
mod stores;
#[allow(dead_code, reason = "the tests run the bodies; the mutator knows more of them")]
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;
#[allow(dead_code, reason = "the properties generate steps; a target decodes them")]
#[path = "support/writes.rs"]
mod writes;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Files of all corpora together, and their bytes: what a repository carries gladly.
const FILES_MAX: usize = 120;
const BYTES_MAX: u64 = 200 << 10;

#[test]
fn codec() {
    run("codec", targets::codec::run);
}

#[test]
fn conditional_write() {
    run("conditional_write", targets::conditional_write::run);
}

#[test]
fn config() {
    run("config", targets::config::run);
}

#[test]
fn gossip() {
    run("gossip", targets::gossip::run);
}

#[test]
fn lua_script() {
    run("lua_script", targets::lua_script::run);
}

#[test]
fn lua_value() {
    run("lua_value", targets::lua_value::run);
}

#[test]
fn every_target_has_its_corpus_and_all_together_are_small() {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(fuzz().join("fuzz_targets")).unwrap() {
        let target = entry.unwrap().path();
        let name = target.file_stem().unwrap().to_str().unwrap();
        for file in corpus(name) {
            files += 1;
            bytes += fs::metadata(file).unwrap().len();
        }
    }
    assert!(files <= FILES_MAX && bytes <= BYTES_MAX, "{files} files, {bytes} bytes");
}

/// Runs every file of a corpus; what panics is named.
fn run(target: &str, body: fn(&[u8])) {
    let failed: Vec<_> = corpus(target)
        .into_iter()
        .filter(|file| {
            let data = fs::read(file).unwrap();
            catch_unwind(|| body(&data)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "cargo +nightly fuzz run {target} {failed:?}");
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = fuzz().join("corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{target} has a corpus");
    files
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
