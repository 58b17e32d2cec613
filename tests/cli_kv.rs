//! Namespaces of `KV` on the command line, as a user runs it: the verbs, `run`, `copy`, `luat.toml`.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use tempfile::TempDir;

/// What a run printed and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run_in(folder: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("PLIMSOLL_CONFIG")
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> Ran {
    run_in(folder.path(), arguments)
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn kv_file(folder: &TempDir) -> Connection {
    Connection::open(folder.path().join(".luat/data/kv.db")).unwrap()
}

#[test]
fn the_verbs_do_what_the_api_does() {
    let folder = folder();
    for (arguments, code, stdout) in [
        (&["get", "kv:ns", "k"][..], 1, ""),
        (&["list", "kv:ns"], 0, ""),
        (&["delete", "kv:ns", "k"], 0, ""),
        (&["put", "kv:ns", "k", "v"], 0, ""),
        (&["get", "kv:ns", "k"], 0, "v\n"),
        (&["has", "kv:ns", "k"], 0, "true\n"),
        (&["has", "kv:other", "k"], 1, "false\n"),
        (&["set", "kv:ns", "j", r#"{"a": [1, 2.0]}"#, "--json"], 0, ""),
        (&["get", "kv:ns", "j"], 0, "{\"a\": [1, 2.0]}\n"),
        (&["get", "kv:ns", "j", "--json"], 0, "{\"a\":[1,2.0]}\n"),
        (&["put", "kv:ns", "k", "v", "--expiration", "4000000000.5"], 0, ""),
        (&["put", "kv:ns", "m", "-1", "--metadata", r#"{"a": 1}"#], 0, ""),
        (&["list", "kv:ns"], 0, "j\t-\t-\nk\t4000000001\t-\nm\t-\t{\"a\": 1}\n"),
        (
            &["list", "kv:ns", "--json", "--prefix", "k"],
            0,
            "{\"keys\":[{\"name\":\"k\",\"expiration\":4000000001}],\"list_complete\":true}\n",
        ),
        (
            &["entry", "kv:ns", "m"],
            0,
            "key:      m\nvalue:    -1\nexpires:  never\nmetadata: {\"a\": 1}\n",
        ),
        (
            &["entry", "kv:ns", "m", "--json"],
            0,
            "{\"key\":\"m\",\"value\":\"-1\",\"metadata\":{\"a\":1}}\n",
        ),
        (&["put", "kv:ns", "k", "gone", "--ttl", "0"], 0, ""),
        (&["get", "kv:ns", "k"], 1, ""),
        (&["put", "kv:", "", "empty names"], 0, ""),
        (&["get", "kv:", ""], 0, "empty names\n"),
        (&["delete", "kv:", ""], 0, ""),
        (&["get", "kv:", ""], 1, ""),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, stdout), "{arguments:?} {}", ran.stderr);
        assert_eq!(ran.stderr.is_empty(), code == 0 || !stdout.is_empty(), "{arguments:?} {ran:?}");
    }
    assert!(!folder.path().join(".plimsoll").exists());
}

#[test]
fn pages_go_on_at_their_cursor() {
    let folder = folder();
    for key in ["a", "b", "c"] {
        run(&folder, &["put", "kv:ns", key, "v"]);
    }
    let ran = run(&folder, &["list", "kv:ns", "--limit", "2"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("a\t-\t-\nb\t-\t-\n", "more: --after k62\n")
    );
    let ran = run(&folder, &["list", "kv:ns", "--after", "k62"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("c\t-\t-\n", ""));
    let ran = run(&folder, &["list", "kv:ns", "--limit", "1", "--json"]);
    assert!(ran.stdout.ends_with("\"list_complete\":false,\"cursor\":\"k61\"}\n"), "{ran:?}");
}

#[test]
fn wrong_usage_says_what_is_wrong_and_writes_nothing() {
    let folder = folder();
    for (arguments, message) in [
        (&["put", "kv:ns", "k", "v", "--ttl", "-1"][..], "expirationTtl must be 0 or a positive"),
        (&["put", "kv:ns", "k", "v", "--expiration", "nan"], "expiration must be"),
        (&["put", "kv:ns", "k", "v", "--metadata", "{"], "--metadata: this is no JSON"),
        (&["put", "kv:ns", "k", "v", "--metadata", "5"], "--metadata must be a JSON object"),
        (&["put", "kv:ns", "k", "v", "--if-absent"], "no conditional writes"),
        (&["delete", "kv:ns", "k", "--if-version", "0"], "no conditional writes"),
        (&["put", "kv:ns", "k", "{", "--json"], "the value of --json: this is no JSON"),
        (&["list", "kv:ns", "--after", "b"], "--after takes the cursor of a page"),
        (&["info", "kv:ns"], "a namespace of KV is none"),
        (&["set", "app:records", "k", "v", "--metadata", "{}"], "are for namespaces of KV"),
        (&["set", "app:records", "k", "v", "--expiration", "5"], "are for namespaces of KV"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?} {ran:?}");
        assert!(ran.stderr.contains(message), "{arguments:?} {ran:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn luat_toml_above_says_where_the_file_is() {
    let folder = folder();
    let below = folder.path().join("src/routes");
    fs::create_dir_all(&below).unwrap();
    fs::write(
        folder.path().join("luat.toml"),
        "[site]\nname = 1\n[routing]\ndata_dir = 'data/kv'\n",
    )
    .unwrap();
    assert_eq!(run_in(&below, &["put", "kv:ns", "k", "v"]).code, 0);
    assert!(folder.path().join("data/kv/kv.db").is_file());
    assert_eq!(run(&folder, &["get", "kv:ns", "k"]).stdout, "v\n");

    // Without the setting the folder of luat.toml still is the project's.
    fs::write(folder.path().join("luat.toml"), "").unwrap();
    assert_eq!(run_in(&below, &["put", "kv:ns", "k", "other"]).code, 0);
    assert!(folder.path().join(".luat/data/kv.db").is_file());

    let elsewhere = TempDir::new().unwrap();
    let data_dir = elsewhere.path().join("absolute");
    let text = format!("routing.data_dir = {:?}", data_dir.display().to_string());
    fs::write(folder.path().join("luat.toml"), text).unwrap();
    assert_eq!(run(&folder, &["put", "kv:ns", "k", "v"]).code, 0);
    assert!(data_dir.join("kv.db").is_file());
}

#[test]
fn a_luat_toml_that_does_not_parse_is_an_error_with_its_line() {
    let folder = folder();
    fs::write(folder.path().join("script.lua"), "KV.namespace('ns'):put('k', 1)").unwrap();
    for (text, message) in [
        (&b"[routing]\n\ndata_dir = \n"[..], "luat.toml:3:"),
        (b"[routing]\ndata_dir = 5\n", "luat.toml:2:12: routing.data_dir must be a path"),
        (b"a = 1\n\n\xff", "luat.toml:3:1: the byte 0xFF is not UTF-8"),
    ] {
        fs::write(folder.path().join("luat.toml"), text).unwrap();
        for arguments in [&["put", "kv:ns", "k", "v"][..], &["run", "script.lua"]] {
            let ran = run(&folder, arguments);
            assert_eq!(ran.code, 2, "{ran:?}");
            assert!(ran.stderr.contains(message), "{ran:?}");
            assert!(ran.stderr.contains("line: "), "{ran:?}");
        }
        assert!(!folder.path().join(".luat").exists());
        // What has no need of it goes on.
        assert_eq!(run(&folder, &["get", "app:cache", "k"]).code, 1);
        assert_eq!(run(&folder, &["copy", "app:cache", "app:records"]).code, 0);
    }
}

#[test]
fn scripts_have_kv_in_the_file_of_the_project() {
    let folder = folder();
    let script = r#"
        local kv = KV.namespace("ns")
        kv:put("k", {n = 1}, {expirationTtl = 3600, metadata = {by = "script"}})
        print(kv:get("k"), kv:get("k", "json").n, #kv:list().keys)
        print(pcall(kv.put, kv, "k", print))
    "#;
    fs::write(folder.path().join("script.lua"), script).unwrap();
    let ran = run(&folder, &["run", "script.lua"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.starts_with("{\"n\":1}\t1\t1\nfalse\tInvalid: value: a function"),
        "{ran:?}"
    );
    let ran = run(&folder, &["list", "kv:ns"]);
    assert!(
        ran.stdout.starts_with("k\t") && ran.stdout.ends_with("\t{\"by\":\"script\"}\n"),
        "{ran:?}"
    );

    // A script that has no use for it leaves no trace.
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("script.lua"), "assert(KV.namespace('ns'):get('k') == nil)")
        .unwrap();
    assert_eq!(run(&other, &["run", "script.lua"]).code, 0);
    assert!(!other.path().join(".luat").exists());

    // Uncaught, an error ends the script with its message and place.
    fs::write(other.path().join("script.lua"), "KV.namespace('ns'):put('k', 'v', {ttl = 5})")
        .unwrap();
    let ran = run(&other, &["run", "script.lua"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("unknown option \"ttl\"") && ran.stderr.contains("script.lua:1"),
        "{ran:?}"
    );
}

/// Another process has the file open, and writes to it in between.
#[test]
fn another_program_may_have_the_file_open() {
    let folder = folder();
    run(&folder, &["put", "kv:ns", "k", "ours"]);
    let other = kv_file(&folder);
    for round in 0..3 {
        other
            .execute("INSERT OR REPLACE INTO kv VALUES ('ns', 'theirs', ?1, NULL, NULL)", [round])
            .unwrap();
        assert_eq!(run(&folder, &["get", "kv:ns", "theirs"]).stdout, format!("{round}\n"));
        assert_eq!(run(&folder, &["put", "kv:ns", "k", &round.to_string()]).code, 0);
        let value: String = other
            .query_row("SELECT CAST(value AS TEXT) FROM kv WHERE key = 'k'", (), |row| row.get(0))
            .unwrap();
        assert_eq!(value, round.to_string());
    }
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ran = run(&folder, &["put", "kv:ns", "k", "v"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("is locked") && ran.stderr.contains("outcome: none"), "{ran:?}");
    assert_eq!(run(&folder, &["get", "kv:ns", "k"]).stdout, "2\n", "readers go on in a log");
}

const CONFIG: &str = r#"
version: "1.0"
namespace: app
entries:
  - name: database
    kind: db.sql.sqlite
    file: app.db
  - name: deployments
    kind: store.sql
    database: app:database
    table_name: deployments
    create_table: true
  - name: kv
    kind: kv
    store: app:deployments
"#;

#[test]
fn an_entry_of_kind_kv_keeps_the_namespaces_in_its_store() {
    let folder = folder();
    fs::write(folder.path().join("app.yaml"), CONFIG).unwrap();
    fs::write(folder.path().join("script.lua"), "print(KV.namespace('ns'):get('k'))").unwrap();
    let with = |arguments: &[&str]| run(&folder, &[arguments, &["--config", "app.yaml"]].concat());
    assert_eq!(with(&["put", "kv:ns", "k", "v", "--metadata", "{\"a\":1}"]).code, 0);
    assert_eq!(with(&["get", "kv:ns", "k"]).stdout, "v\n");
    assert_eq!(
        with(&["get", "app:deployments", "6e73/k"]).stdout,
        "{\"bytes\":\"v\",\"metadata\":{\"a\":1}}\n"
    );
    assert_eq!(run(&folder, &["run", "--config", "app.yaml", "script.lua"]).stdout, "v\n");
    assert!(!folder.path().join(".luat").exists());
    assert_eq!(run(&folder, &["get", "kv:ns", "k"]).code, 1, "without it, there is the file");

    for (from, to) in [("kv:ns", "app:deployments"), ("app:deployments", "kv:ns")] {
        let ran = with(&["copy", from, to]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("are kept in the other end"), "{ran:?}");
    }
    assert_eq!(with(&["copy", "kv:ns", "kv:backup"]).stdout.split_once(' ').unwrap().0, "copied");
    assert_eq!(
        with(&["entry", "kv:backup", "k"]).stdout,
        "key:      k\nvalue:    v\nexpires:  never\nmetadata: {\"a\":1}\n"
    );
}

#[test]
fn a_name_that_is_a_store_and_a_namespace_is_refused() {
    let folder = folder();
    let config = CONFIG.replace("namespace: app", "namespace: kv").replace("app:", "kv:");
    fs::write(folder.path().join("app.yaml"), config).unwrap();
    for arguments in [&["get", "kv:deployments", "k"][..], &["copy", "kv:a", "kv:deployments"]] {
        let ran = run(&folder, &[arguments, &["--config", "app.yaml"]].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("a store of the configuration and a namespace"), "{ran:?}");
    }
}

#[test]
fn a_copy_keeps_bytes_metadata_and_deadlines_and_can_be_tried_first() {
    let folder = folder();
    run(&folder, &["put", "kv:a", "plain", "v"]);
    run(&folder, &["put", "kv:a", "about", "w", "--metadata", "{\"x\":[1]}", "--ttl", "1000"]);
    kv_file(&folder).execute("INSERT INTO kv VALUES ('a', x'ff00', x'fe', NULL, 1)", ()).unwrap();
    kv_file(&folder).execute("INSERT INTO kv VALUES ('a', 'b', x'fe', NULL, NULL)", ()).unwrap();
    let ran = run(&folder, &["copy", "kv:a", "kv:b", "--dry-run"]);
    let counted = "3 entries from kv:a to kv:b (1 with a time to live, 0 in place of another)";
    assert_eq!((ran.code, ran.stdout), (0, format!("would copy {counted}\n")), "{}", ran.stderr);
    assert_eq!(run(&folder, &["list", "kv:b"]).stdout, "");
    let ran = run(&folder, &["copy", "kv:a", "kv:b"]);
    assert_eq!((ran.code, ran.stdout), (0, format!("copied {counted}, verified\n")));
    assert_eq!(run(&folder, &["list", "kv:b"]).stdout, run(&folder, &["list", "kv:a"]).stdout);
    assert_eq!(run(&folder, &["get", "kv:b", "about"]).stdout, "w\n");
    let ran = run(&folder, &["copy", "kv:a", "kv:b", "--prefix", "p"]);
    assert!(ran.stdout.contains("copied 1 entry ") && ran.stdout.contains("1 in place"), "{ran:?}");
}

#[test]
fn a_copy_between_stores_and_namespaces_converts_as_put_does() {
    let folder = folder();
    for (key, value, json, ttl) in [
        ("string", "text", false, "0"),
        ("table", r#"{"a":[1,2.0]}"#, true, "500.5"),
        ("number", "5", true, "0"),
    ] {
        let json: &[&str] = if json { &["--json"] } else { &[] };
        let arguments = [&["set", "app:records", key, value, "--ttl", ttl], json].concat();
        assert_eq!(run(&folder, &arguments).code, 0);
    }
    assert_eq!(run(&folder, &["copy", "app:records", "kv:r"]).code, 0);
    assert_eq!(run(&folder, &["get", "kv:r", "string"]).stdout, "text\n");
    assert_eq!(run(&folder, &["get", "kv:r", "table"]).stdout, "{\"a\":[1,2.0]}\n");
    assert_eq!(run(&folder, &["get", "kv:r", "number"]).stdout, "5\n");
    assert!(run(&folder, &["entry", "kv:r", "table"]).stdout.contains("expires:  1"));

    run(&folder, &["delete", "app:records", "table"]);
    run(&folder, &["delete", "app:records", "string"]);
    assert_eq!(run(&folder, &["copy", "kv:r", "app:records"]).code, 0);
    assert_eq!(run(&folder, &["get", "app:records", "table"]).stdout, "{\"a\":[1,2.0]}\n");
    assert_eq!(
        run(&folder, &["get", "app:records", "table", "--json"]).stdout,
        "\"{\\\"a\\\":[1,2.0]}\"\n"
    );
    assert!(run(&folder, &["entry", "app:records", "table"]).stdout.contains("expires: 1"));
    assert!(run(&folder, &["entry", "app:records", "string"]).stdout.contains("expires: never"));
}

#[test]
fn what_the_target_can_not_hold_ends_the_copy_and_it_goes_on_from_there() {
    let folder = folder();
    for key in ["a", "b", "c", "d"] {
        run(&folder, &["put", "kv:ns", key, key]);
    }
    run(&folder, &["put", "kv:ns", "c", "c", "--metadata", "{}"]);
    for (dry_run, verb) in [(&["--dry-run"][..], "looked at"), (&[], "copied")] {
        let ran = run(&folder, &[&["copy", "kv:ns", "app:records"], dry_run].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        let told = format!("{verb} 2 so far; go on with --after 'k62'\n");
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert!(
            ran.stderr.contains("key \"c\": it has metadata, which a store can't hold"),
            "{ran:?}"
        );
    }
    let there = "a\t\"a\"\nb\t\"b\"\n";
    assert_eq!(run(&folder, &["list", "app:records"]).stdout, there);
    run(&folder, &["put", "kv:ns", "c", "c"]);
    let ran = run(&folder, &["copy", "kv:ns", "app:records", "--after", "k62"]);
    assert!(ran.stdout.starts_with("copied 2 entries"), "{ran:?}");
    assert_eq!(
        run(&folder, &["list", "app:records"]).stdout,
        format!("{there}c\t\"c\"\nd\t\"d\"\n")
    );

    for (key, message) in [("", "the key is empty"), ("x\u{1}", ""), (&"k".repeat(256), "key")] {
        run(&folder, &["put", "kv:odd", key, "v"]);
        let ran = run(&folder, &["copy", "kv:odd", "app:records", "--dry-run"]);
        assert_eq!(ran.code, if message.is_empty() { 0 } else { 2 }, "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
        run(&folder, &["delete", "kv:odd", key]);
    }
    let sparse = r#"{"$plimsoll":"table","i:1":1,"s:a":2}"#;
    run(&folder, &["set", "app:records", "mixed", sparse, "--json"]);
    let ran = run(&folder, &["copy", "app:records", "kv:new", "--prefix", "mixed"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("key \"mixed\": value: a table can be JSON only if"), "{ran:?}");
    for (from, to, message) in [
        ("kv:ns", "kv:ns", "can't be copied to itself"),
        ("app:nowhere", "kv:ns", "no store \"app:nowhere\""),
    ] {
        let ran = run(&folder, &["copy", from, to]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
    }
}

#[test]
fn a_copy_of_many_pages_tells_how_far_it_is() {
    let folder = folder();
    run(&folder, &["put", "kv:ns", "k", "v"]);
    kv_file(&folder)
        .execute_batch(
            "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
             INSERT INTO kv SELECT 'many', printf('k%05d', i), x'00', NULL, NULL FROM n; COMMIT",
        )
        .unwrap();
    let ran = run(&folder, &["copy", "kv:many", "kv:more", "--dry-run"]);
    assert!(ran.stdout.starts_with("would copy 1500 entries"), "{ran:?}");
    assert_eq!(ran.stderr, "looked at 1000 so far; go on with --after 'k6b3031303030'\n");
}
