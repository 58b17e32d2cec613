//! `cargo models` as it is called: its last lines, and its exit codes.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn models(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plimsoll-models"))
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned()
}

/// Without its time, which differs.
fn timeless(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("time=")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_mutant_is_refuted_after_its_trace() {
    let output = models("collection --mutant alive-members-only");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("   1  n0 "), "{text}");
    let last = timeless(&last_line(&output));
    assert!(last.starts_with("collection mutant=alive-members-only unique="), "{last}");
    assert!(last.ends_with(" depth=4 refuted"), "{last}");
    assert!(!text.contains("violated"), "{text}");
    assert!(output.stderr.is_empty(), "no progress without a terminal");
}

#[test]
fn a_mutant_that_survives_is_a_failure() {
    let output = models("collection --mutant no-join --bounds puts=1,plain=2");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(" survived\n"), "{text}");
}

#[test]
fn a_model_in_which_nothing_happens_is_a_failure() {
    let output = models("collection --bounds puts=1,plain=2");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("it never happened that a tombstone is collected"), "{text}");
    assert!(text.contains(" violated\n"), "{text}");
}

#[test]
fn a_model_that_holds_ends_with_its_line() {
    let output = models("collection --bounds puts=1,deletes=1,plain=2 --progress");
    assert_eq!(output.status.code(), Some(0));
    let last = timeless(&last_line(&output));
    assert!(last.starts_with("collection unique=") && last.ends_with(" holds"), "{last}");
}

#[test]
fn what_is_not_known_is_said() {
    for arguments in ["nothing", "collection --mutant nothing", "collection --bounds x=1", ""] {
        let output = models(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(!output.stderr.is_empty());
    }
    let list = models("--list");
    assert_eq!(list.status.code(), Some(0));
    let text = String::from_utf8_lossy(&list.stdout);
    assert!(text.contains("  collection  ") && text.contains("  no-join  "), "{text}");
}
