//! Runs the golden scripts of the Raft node: each file under `tests/raft_scripts` is one behaviour
//! of a cluster, and its name is the sentence.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test raft_scripts` writes the output anew; read it before you
//! keep it. Commands are listed at `Line` in `tests/support/raft/script.rs`.
#![cfg(feature = "raft")]
#![allow(clippy::unwrap_used)]

#[path = "support/raft/mod.rs"]
mod cluster;
#[path = "support/raft/faults.rs"]
mod faults;
#[path = "support/raft/script.rs"]
mod script;
#[path = "support/raft/show.rs"]
mod show;

use script::Script;

#[test]
fn every_script_gives_its_output() {
    let paths = script::paths();
    assert!(paths.len() >= 30, "the scripts were found");
    let mut failures = Vec::new();
    for path in paths {
        println!("{}", path.display());
        let run = || goldenscript::run(&mut Script::new(), &path);
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{}: {error}", path.display())),
            Err(_) => failures.push(format!("{}: it is told above", path.display())),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
