//! The binary as a user runs it: output, exit codes, bad input.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What a run printed and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run_with(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("PLIMSOLL_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> Ran {
    run_with(folder.path(), arguments, b"")
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// Runs a script given as text.
fn script(folder: &TempDir, source: &str, arguments: &[&str]) -> Ran {
    fs::write(folder.path().join("script.lua"), source).unwrap();
    run(folder, &[&["run", "script.lua"], arguments].concat())
}

#[test]
fn values_written_by_one_process_are_read_by_the_next() {
    let folder = folder();
    for (arguments, code, stdout) in [
        (&["set", "app:records", "k", "v"][..], 0, "true\n"),
        (&["get", "app:records", "k"], 0, "v\n"),
        (&["has", "app:records", "k"], 0, "true\n"),
        (&["has", "app:records", "absent"], 1, "false\n"),
        (&["set", "app:records", "j", r#"{"a":[1,2.0]}"#, "--json"], 0, "true\n"),
        (&["get", "app:records", "j"], 0, "{\"a\":[1,2.0]}\n"),
        (&["list", "app:records", "--prefix", "j"], 0, "j\t{\"a\":[1,2.0]}\n"),
        (&["entry", "app:records", "k"], 0, "key:     k\nvalue:   v\nversion: 0\nexpires: never\n"),
        (
            &["entry", "app:records", "k", "--json"],
            0,
            "{\"key\":\"k\",\"value\":\"v\",\"version\":\"0\"}\n",
        ),
        (&["delete", "app:records", "k"], 0, "true\n"),
        (&["delete", "app:records", "k"], 1, "false\n"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, stdout), "{arguments:?} {}", ran.stderr);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
    assert!(folder.path().join(".plimsoll").is_dir());
}

#[test]
fn standard_input_is_taken_byte_by_byte() {
    let folder = folder();
    let bytes = b"\xff\x00 text\n";
    assert_eq!(run_with(folder.path(), &["set", "app:records", "k", "-"], bytes).code, 0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(["get", "app:records", "k"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.stdout, [&bytes[..], b"\n"].concat());
}

#[test]
fn a_page_tells_that_more_follows() {
    let folder = folder();
    for key in ["a", "b", "c"] {
        run(&folder, &["set", "app:records", key, "1", "--json"]);
    }
    let ran = run(&folder, &["list", "app:records", "--limit", "2"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a\t1\nb\t1\n", "more: --after 'b'\n"));
    let ran = run(&folder, &["list", "app:records", "--after", "b", "--json"]);
    let items = r#"[{"key":"c","value":1,"version":"0"}]"#;
    assert_eq!(ran.stdout, format!("{{\"items\":{items},\"cursor\":\"c\",\"has_more\":false}}\n"));
}

#[test]
fn a_write_to_memory_warns_and_conditions_have_their_exit_code() {
    let folder = folder();
    let ran = run(&folder, &["put", "app:cache", "k", "v", "--if-absent", "--ttl", "60"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("in memory: what is written ends with this process"), "{ran:?}");
    assert!(ran.stdout.contains("expires: 1"), "{ran:?}");

    let foreign = "0000000000000001-1";
    let ran = run(&folder, &["put", "app:cache", "k", "v", "--if-version", foreign]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("NotFound"), "{ran:?}");
    assert!(ran.stderr.contains("outcome: none"), "{ran:?}");
}

/// Each process is a node of its own, started where the one before has ended.
#[test]
fn a_durable_store_of_replicas_serves_one_process_after_the_other() {
    let folder = folder();
    for number in 0..6 {
        let key = format!("k{number}");
        let ran = run(&folder, &["set", "app:sessions", &key, "v"]);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "true\n", ""),
            "{key}"
        );
    }
    let put = run(&folder, &["put", "app:sessions", "k0", "\"w\"", "--ttl", "60", "--json"]);
    assert!(put.code == 0 && put.stdout.contains("expires_at"), "{put:?}");
    let entry = run(&folder, &["entry", "app:sessions", "k0", "--json"]);
    assert_eq!(entry.stdout, put.stdout, "the same version");
    for (arguments, code, stdout) in [
        (&["get", "app:sessions", "k5"][..], 0, "v\n"),
        (&["get", "app:sessions", "absent"], 1, ""),
        (&["list", "app:sessions", "--limit", "2"], 0, "k0\t\"w\"\nk1\t\"v\"\n"),
        (&["delete", "app:sessions", "k1"], 0, "true\n"),
        (&["delete", "app:sessions", "k1"], 1, "false\n"),
        (&["has", "app:sessions", "k1"], 1, "false\n"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, stdout), "{arguments:?} {}", ran.stderr);
    }
    for (arguments, says) in [
        (&["watch", "app:sessions"][..], "app:sessions is a kv.crdt store, which has no watches"),
        (&["put", "app:sessions", "k", "v", "--if-absent"], "no conditional writes"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
}

#[test]
fn a_write_to_a_replica_that_ends_with_the_process_warns() {
    let folder = folder();
    let config = "version: '1.0'
namespace: app
cluster: {enabled: true, name: n1, raft: {data_dir: data}}
entries:
  - {name: brief, kind: store.kv.crdt, namespace: brief}
  - {name: kept, kind: store.kv.crdt, namespace: kept, durable: true}
";
    fs::write(folder.path().join("app.yaml"), config).unwrap();
    for (store, code, warns) in [("app:brief", 1, true), ("app:kept", 0, false)] {
        let ran = run(&folder, &["set", store, "k", "v", "--config", "app.yaml"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.stderr.contains("what is written ends with this process"), warns, "{ran:?}");
        let ran = run(&folder, &["has", store, "k", "--config", "app.yaml"]);
        assert_eq!(ran.code, code, "{ran:?}");
    }
}

#[test]
fn wrong_usage_is_told_apart_from_absent_keys_and_nothing_is_written() {
    let folder = folder();
    let long = "k".repeat(1_025);
    for (arguments, code, message) in [
        (&["get", "app:records", "absent"][..], 1, "the key \"absent\" is absent"),
        (&["get", "app:nothing", "k"], 2, "app:nothing"),
        (&["get", "app:database", "k"], 2, "not a store"),
        (&["set", "app:records", "", "v"], 2, "the key is empty"),
        (&["set", "app:records", &long, "v"], 2, "the limit is 1024"),
        (&["set", "app:records", "k", "{", "--json"], 2, "--json"),
        (&["set", "app:records", "k", "null", "--json"], 2, "--json"),
        (&["set", "app:records", "k", "v", "--ttl", "-1"], 2, "ttl"),
        (&["set", "app:records", "k", "v", "--ttl", "nan"], 2, "ttl"),
        (&["put", "app:records", "k", "v", "--if-absent"], 2, "no conditional writes"),
        (&["put", "app:cache", "k", "v", "--if-version", "7"], 2, "is no version"),
        (&["put", "app:cache", "k", "v", "--if-version", "7", "--if-absent"], 2, "exclude"),
        (&["list", "app:records", "--limit", "-1"], 2, "limit"),
        (&["list", "app:records", "--limit", "2.5"], 2, "limit"),
        (&["get", "--config", "missing.yaml", "app:records", "k"], 2, "missing.yaml"),
        (&["run", "missing.lua"], 2, "missing.lua"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!(ran.code, code, "{arguments:?} {ran:?}");
        assert!(ran.stderr.contains(message), "{arguments:?} {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    assert_eq!(run(&folder, &["list", "app:records"]).stdout, "");
}

#[test]
fn a_database_that_is_no_database_is_unavailable_and_left_as_it_is() {
    let folder = folder();
    fs::create_dir(folder.path().join(".plimsoll")).unwrap();
    let file = folder.path().join(".plimsoll/records.db");
    let garbage = "this is no database, but somebody's file".repeat(100);
    fs::write(&file, &garbage).unwrap();
    let ran = run(&folder, &["set", "app:records", "k", "v"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("not a database"), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), garbage);
}

#[test]
fn info_tells_what_a_store_is() {
    let folder = folder();
    let ran = run(&folder, &["info", "app:cache"]);
    for line in ["id               app:cache", "backend          memory", "durable          false"]
    {
        assert!(ran.stdout.contains(line), "{ran:?}");
    }
    let ran = run(&folder, &["info", "app:records", "--json"]);
    for part in [r#""backend":"sql""#, r#""durable":true"#, r#""conditional_put":false"#] {
        assert!(ran.stdout.contains(part), "{ran:?}");
    }
}

#[test]
fn a_script_gets_its_arguments_and_its_folder() {
    let folder = folder();
    fs::create_dir(folder.path().join("lib")).unwrap();
    fs::write(folder.path().join("lib/main.lua"), SCRIPT_WITH_ARGUMENTS).unwrap();
    fs::write(folder.path().join("lib/helper.lua"), "return { name = 'helper' }").unwrap();
    let ran = run(&folder, &["run", "lib/main.lua", "one", "--two", "-3"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "lib/main.lua 3 one --two -3\thelper\n"),
        "{ran:?}"
    );
}

const SCRIPT_WITH_ARGUMENTS: &str = "#!/usr/bin/env plimsoll run
local first, second, third = ...
assert(arg[1] == first and arg[2] == second and arg[3] == third)
print(table.concat({ arg[0], #arg, ... }, ' '), require('helper').name)
";

#[test]
fn a_failed_script_prints_its_message_and_stack_and_exits_with_one() {
    let folder = folder();
    for (source, code, expected) in [
        (
            "local function f() error('boom') end\nf()",
            1,
            &["script.lua:1: boom", "stack traceback", "script.lua:2"][..],
        ),
        ("error({})", 1, &["table", "stack traceback"]),
        ("return nil, 'went wrong'", 1, &["went wrong"]),
        (
            "local c = require('store').get('app:cache')\nlocal e, err = c:put('k', 1, { if_version = 'x' })\nreturn e, err",
            1,
            &["Invalid", "is no version", "script.lua:2"],
        ),
        ("error(errors.new('CONFLICT', 'mine'))", 1, &["mine", "script.lua:1"]),
        ("local x = = 1", 1, &["script.lua:1"]),
        ("os.exit(7)", 7, &[]),
        ("os.exit(true, true)", 0, &[]),
        ("os.exit(false)", 1, &[]),
        ("return 1", 0, &[]),
        ("return nil", 0, &[]),
    ] {
        let ran = script(&folder, source, &[]);
        assert_eq!(ran.code, code, "{source} {ran:?}");
        for part in expected {
            assert!(ran.stderr.contains(part), "{source}: no {part:?} in {}", ran.stderr);
        }
    }
}

#[test]
fn output_before_an_exit_is_not_lost() {
    let folder = folder();
    let ran = script(&folder, "io.write('no newline') os.exit(3, true)", &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "no newline"));
}

#[test]
fn a_script_sleeps_and_what_it_wrote_is_durable() {
    let folder = folder();
    let source = "
        local records = require('store').get('app:records')
        assert(records:set('short', 1, 0.05))
        assert(records:set('long', 1, 60))
        time.sleep('60ms')
        time.sleep(0.001)
        print(records:has('short'), records:has('long'))";
    let ran = script(&folder, source, &["--actor", "not an option of run here"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "false\ttrue\n"), "{ran:?}");
    assert_eq!(run(&folder, &["has", "app:records", "long"]).stdout, "true\n");
}

#[test]
fn a_configuration_is_checked_without_opening_anything() {
    let folder = folder();
    let good = "version: \"1.0\"\nnamespace: app\nentries:\n  - name: db\n    kind: db.sql.sqlite\n    file: data/x.db\n  - name: s\n    kind: store.sql\n    database: app:db\n    table_name: kv\n    lifecycle:\n      auto_start: true\n";
    fs::write(folder.path().join("good.yaml"), good).unwrap();
    let ran = run(&folder, &["check-config", "good.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("app:s  store.sql  (auto_start)"), "{ran:?}");
    assert!(ran.stdout.contains("2 entries, no error"), "{ran:?}");
    assert!(!folder.path().join("data").exists());

    fs::write(folder.path().join("bad.yaml"), good.replace("table_name", "tabel_name")).unwrap();
    let ran = run(&folder, &["check-config", "bad.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for part in ["bad.yaml:10", "tabel_name", "table_name"] {
        assert!(ran.stderr.contains(part), "no {part} in {ran:?}");
    }
}

#[test]
fn the_demo_and_the_tour_as_a_script_run_to_their_end() {
    let folder = folder();
    let ran = run(&folder, &["demo", "--history", "recorded.jsonl"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in
        ["n1 on 127.0.0.1:", "is killed", "so it does not guess", "linearizable", "everything held"]
    {
        assert!(ran.stdout.contains(part), "no {part} in {ran:?}");
    }
    let judged = run(&folder, &["check-history", "recorded.jsonl"]);
    assert!(judged.code == 0 && judged.stdout.starts_with("linearizable: "), "{judged:?}");
    assert!(!ran.stdout.contains('\x1b'), "no colours where there is no terminal");
    assert!(!folder.path().join(".plimsoll").exists(), "the demo has a folder of its own");

    let tour = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/demo/tour.lua");
    let ran = run(&folder, &["run", tour]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn help_shows_examples_and_completions_are_scripts() {
    let folder = folder();
    let ran = run(&folder, &["--help"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("plimsoll get app:records user:123"), "{ran:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&folder, &["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("check-config"), "{shell}");
    }
}
