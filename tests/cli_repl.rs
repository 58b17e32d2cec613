//! `plimsoll repl` as another program uses it: chunks on standard input, no prompt.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What a session printed and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run_with(folder: &TempDir, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .arg("repl")
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder.path())
        .env_remove("PLIMSOLL_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn run(input: &str) -> Ran {
    run_with(&TempDir::new().unwrap(), &[], input.as_bytes())
}

#[test]
fn values_are_printed_without_prompt_and_the_exit_code_is_zero() {
    let ran = run("1 + 1, 'two'\n\
                   x = {b = 1, a = {true}}\n\
                   x\n\
                   -- a remark\n\
                   \n\
                   local gone = 1\n\
                   gone\n\
                   print('printed')\n\
                   return 3");
    let stdout = "2\n\"two\"\n{a = {true}, b = 1}\nnil\nprinted\n3\n";
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, stdout, ""));
}

#[test]
fn a_chunk_has_as_many_lines_as_it_needs() {
    let ran =
        run("for i = 1, 2 do\n  print(i)\nend\nsum = function(a, b)\n  return a +\n  b\nend\n\
                   sum(\n  1,\n  2\n)\n[[a\nb]]\n");
    assert_eq!((ran.code, &*ran.stdout), (0, "1\n2\n3\n\"a\\nb\"\n"), "{}", ran.stderr);
}

#[test]
fn stores_and_their_entries_are_there_and_survive_the_session() {
    let folder = TempDir::new().unwrap();
    let ran = run_with(
        &folder,
        &[],
        b"records = store.get('app:records')\n\
          records\n\
          records:set('user:1', {name = 'Ann', visits = 2})\n\
          records:entry('user:1')\n\
          KV.namespace('users')\n",
    );
    let stdout = "store.get(\"app:records\")\ntrue\n\
                  {key = \"user:1\", value = {name = \"Ann\", visits = 2}, version = \"0\"}\n\
                  KV.namespace(\"users\")\n";
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, stdout, ""));
    let ran = run_with(&folder, &[], b"store.get('app:records'):get('user:1').name");
    assert_eq!((ran.code, &*ran.stdout), (0, "\"Ann\"\n"), "{}", ran.stderr);
}

#[test]
fn an_error_that_is_returned_is_told_with_all_that_it_knows_and_fails() {
    let ran = run("cache = store.get('app:cache')\n\
                   cache:set('k', 1)\n\
                   cache:put('k', 2, {if_version = '0000000000000001-1'})\n\
                   cache:has('')\n\
                   errors.new('MINE', 'no error of this chunk')\n");
    let stderr = "error: Conflict: the key \"k\" has another version";
    assert!(ran.stderr.starts_with(stderr), "{}", ran.stderr);
    for line in [
        "\n  kind: Conflict\n",
        "\n  retryable: true\n",
        "\n  outcome: none\n",
        "\n  details: {version = \"",
    ] {
        assert!(ran.stderr.contains(line), "{line:?} in {}", ran.stderr);
    }
    assert!(ran.stderr.contains("error: Invalid: the key is empty\n"), "{}", ran.stderr);
    let stdout = "true\nfalse\nMINE: no error of this chunk\n  kind: MINE\n";
    assert_eq!((ran.code, &*ran.stdout), (1, stdout));
}

#[test]
fn a_chunk_that_fails_does_not_keep_the_others_from_running() {
    for (input, stderr) in [
        ("error('no')", "error: repl:1: no\n"),
        ("x = )", "error: repl:1: unexpected symbol near ')'\n"),
        ("error({1})", "error: {1}\n"),
        ("nothing.at.all", "error: repl:1: attempt to index a nil value (global 'nothing')\n"),
        ("KV.namespace(7)", "error: Invalid: "),
        (
            "function f() error('deep') end f()",
            "error: repl:1: deep\nstack traceback:\n\t[C]: in function 'error'\n\t\
             repl:1: in function 'f'\n\trepl:1: in main chunk\n",
        ),
        ("\u{1b}Lua", "error: "),
    ] {
        let ran = run(&format!("{input}\n6 * 7\n"));
        assert_eq!((ran.code, &*ran.stdout), (1, "42\n"), "{input}");
        assert!(ran.stderr.starts_with(stderr), "{input}: {}", ran.stderr);
    }
}

#[test]
fn input_that_ends_within_a_chunk_has_failed() {
    let ran = run("6 * 7\nfor i = 1, 3 do\n");
    assert_eq!((ran.code, &*ran.stdout), (1, "42\n"));
    assert_eq!(ran.stderr, "error: repl:2: 'end' expected (to close 'for' at line 1) near <eof>\n");
}

#[test]
fn a_chunk_that_is_too_long_is_refused_and_names_the_limit() {
    let long = format!("'{}'\n6 * 7\n", "x".repeat(plimsoll::limits::REPL_CHUNK_BYTES_MAX - 3));
    let ran = run(&long);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(&format!("x{long}"));
    assert_eq!((ran.code, ran.stderr.contains("more than 262144 bytes")), (1, true));
    assert!(ran.stdout.ends_with("42\n"));
}

#[test]
fn the_underscore_is_the_last_value_or_error() {
    let ran = run("41\n_ + 1\nx = 5\n_\nstore.get('app:cache'):get('absent')\n_:kind()\nnil\n_");
    assert_eq!(ran.stdout, "41\n42\n42\n\"NotFound\"\nnil\n\"NotFound\"\n", "{}", ran.stderr);
}

#[test]
fn what_lua_prints_and_what_is_printed_of_it_come_in_order() {
    let ran = run("io.write('a') io.write('b')\n'c'\nprint('d')\n'e'\n");
    assert_eq!(ran.stdout, "ab\"c\"\nd\n\"e\"\n", "{}", ran.stderr);
}

#[test]
fn the_exit_code_of_os_exit_is_kept() {
    let ran = run("print('first')\nos.exit(7)\nprint('never')\n");
    assert_eq!((ran.code, &*ran.stdout), (7, "first\n"));
}

#[test]
fn configuration_and_actor_are_those_of_run() {
    let folder = TempDir::new().unwrap();
    let config = "version: '1.0'\nnamespace: app\nentries:\n  - name: notes\n    kind: store.memory\n  \
                  - name: ann\n    kind: security.policy\n    policy:\n      actions: '*'\n      \
                  resources: '*'\n      effect: allow\n      conditions:\n        \
                  - {field: actor.id, operator: eq, value: ann}\n";
    fs::write(folder.path().join("c.yaml"), config).unwrap();
    let chunk = b"store.get('app:notes')";
    let ran = run_with(&folder, &["--config", "c.yaml", "--actor", "ann"], chunk);
    assert_eq!((ran.code, &*ran.stdout), (0, "store.get(\"app:notes\")\n"), "{}", ran.stderr);
    let ran = run_with(&folder, &["--config", "c.yaml"], chunk);
    assert_eq!((ran.code, &*ran.stdout), (1, ""));
    assert!(ran.stderr.starts_with("error: PermissionDenied"), "{}", ran.stderr);
    assert_eq!(run_with(&folder, &["--config", "missing.yaml"], b"").code, 2);
}

#[test]
fn what_is_piped_is_not_remembered() {
    let folder = TempDir::new().unwrap();
    run_with(&folder, &[], b"1\n");
    assert!(!folder.path().join(".plimsoll").exists());
}
