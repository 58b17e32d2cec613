//! Every deliberate bug in the Raft node must be caught by a golden script, and the node without one
//! must not.
#![cfg(all(feature = "raft", feature = "mutants"))]
#![allow(clippy::unwrap_used)]

#[path = "support/raft/mod.rs"]
mod cluster;
#[path = "support/raft/faults.rs"]
mod faults;
#[path = "support/raft/script.rs"]
mod script;
#[path = "support/raft/show.rs"]
mod show;

use plimsoll::mutant;
use script::Script;

/// The scripts whose output is not the golden one with a mutant active: a panic is another output.
fn catchers(mutant: Option<&str>) -> Vec<String> {
    mutant::set(mutant);
    let mut catchers = Vec::new();
    for path in script::paths() {
        let golden = std::fs::read_to_string(&path).unwrap();
        let output =
            std::panic::catch_unwind(|| goldenscript::generate(&mut Script::new(), &golden));
        if !matches!(output, Ok(Ok(output)) if output == golden) {
            catchers.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    mutant::set(None);
    catchers
}

#[test]
fn every_mutant_is_caught_and_the_node_without_one_is_not() {
    assert_eq!(catchers(None), Vec::<String>::new());
    let mut missed = Vec::new();
    for mutant in mutant::RAFT {
        let catchers = catchers(Some(mutant));
        println!("{mutant}: {}", catchers.join(", "));
        if catchers.is_empty() {
            missed.push(*mutant);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}
