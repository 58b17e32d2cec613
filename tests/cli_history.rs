//! `plimsoll check-history` as a user runs it: verdicts, exit codes, bad input.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .arg("check-history")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const RIGHT: &str = "a_history_with_everything_is_linearizable.jsonl";
const WRONG: &str = "two_writes_require_the_same_version_and_both_succeed.jsonl";

#[test]
fn a_linearizable_history_exits_with_zero() {
    let right = (0, "linearizable: 10 calls, 3 deliveries; the order was verified\n".to_owned());
    let (code, stdout, stderr) = run(&[RIGHT], "");
    assert_eq!((code, stdout), right, "{stderr}");
    let text = std::fs::read_to_string(Path::new("tests/histories").join(RIGHT)).unwrap();
    let (code, stdout, stderr) = run(&["-"], &text);
    assert_eq!((code, stdout), right, "{stderr}");
    let (code, stdout, _) = run(&[RIGHT, "--json"], "");
    let verdict = "{\"verdict\":\"linearizable\",\"calls\":10,\"deliveries\":3}\n";
    assert_eq!((code, stdout.as_str()), (0, verdict));
}

#[test]
fn one_that_is_not_exits_with_one_and_shows_why() {
    let (code, stdout, stderr) = run(&[WRONG], "");
    assert_eq!((code, stderr.as_str()), (1, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "not linearizable: two writes required v1 of \"x\", and both succeeded");
    assert_eq!(lines.len(), 3, "{stdout}");
    let (code, stdout, _) = run(&[WRONG, "--json"], "");
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["verdict"], "violated");
    assert_eq!(json["calls"].as_array().unwrap().len(), 2);
    assert_eq!(json["calls"][0]["put"]["key"], "x");
}

#[test]
fn what_can_not_be_judged_exits_with_two() {
    for (argument, stdin, problem) in [
        ("a_history_in_which_nothing_is_said.jsonl", "", "nothing to check"),
        ("-", "{\"plimsoll_history\":1}\n", "nothing to check"),
        ("-", "", "-: line 1: the first line must be {\"plimsoll_history\":1}"),
        ("-", "{\"plimsoll_history\":1}\n{\"id\":1}\n", "-: line 2: the line needs the field from"),
        ("absent.jsonl", "", "absent.jsonl: No such file"),
        (".", "", ".: line 1: it can't be read"),
        ("a_call_that_happened_lacks_its_label.jsonl", "", "undecided: no violation was found"),
    ] {
        let (code, stdout, stderr) = run(&[argument], stdin);
        assert_eq!((code, stdout.as_str()), (2, ""), "{argument}: {stderr}");
        assert!(stderr.contains(problem), "{argument}: {stderr}");
    }
}
