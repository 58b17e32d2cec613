//! `plimsoll run --sandbox` as a user runs it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Runs a script with options of `run`; exit code, standard output, standard error.
fn run(folder: &TempDir, options: &[&str], script: &str) -> (i32, String, String) {
    fs::write(folder.path().join("script.lua"), script).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .arg("run")
        .args(options)
        .args(["script.lua", "one", "--two"])
        .current_dir(folder)
        .env_remove("PLIMSOLL_CONFIG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_script_in_a_sandbox_has_its_arguments_the_stores_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let script = "#!/usr/bin/env plimsoll
        local first, second = ...
        assert(arg[0] == 'script.lua' and arg[1] == first and arg[2] == second)
        local records = require('store').get('app:records')
        assert(records:set('k', {first, second}))
        print(records:get('k')[2], io, os.exit, load, KV)";
    let (code, stdout, stderr) = run(&folder, &["--sandbox"], script);
    assert_eq!((code, stdout.as_str()), (0, "--two\tnil\tnil\tnil\tnil\n"), "{stderr}");
}

#[test]
fn a_limit_is_named_with_its_value_and_the_exit_code_is_one() {
    let folder = TempDir::new().unwrap();
    for (options, script, message) in [
        (
            &["--sandbox", "--time", "200ms"][..],
            "while true do pcall(function() while true do end end) end",
            "the script ran longer than its time limit of 200ms",
        ),
        (
            &["--sandbox", "--time", "200ms"],
            "time.sleep(60)",
            "the script ran longer than its time limit of 200ms",
        ),
        (
            &["--sandbox", "--memory", "8MiB"],
            "local t = {} while true do t[#t + 1] = {} end",
            "the script needed more memory than its limit of 8 MiB",
        ),
    ] {
        let started = Instant::now();
        let (code, stdout, stderr) = run(&folder, options, &format!("print('started') {script}"));
        assert_eq!((code, stdout.as_str()), (1, "started\n"), "{script}: {stderr}");
        assert!(stderr.contains(message), "{script}: {stderr}");
        assert!(started.elapsed() < Duration::from_secs(10), "{script}");
    }
}

#[test]
fn a_failed_script_prints_its_message_and_stack() {
    let folder = TempDir::new().unwrap();
    let script = "local function f() error('boom') end\nf()";
    let (code, _, stderr) = run(&folder, &["--sandbox"], script);
    assert_eq!(code, 1);
    for part in ["script.lua:1: boom", "stack traceback", "script.lua:2"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn limits_that_make_no_sense_are_wrong_usage() {
    let folder = TempDir::new().unwrap();
    for (options, message) in [
        (&["--memory", "8MiB"][..], "--sandbox"),
        (&["--time", "5s"], "--sandbox"),
        (&["--sandbox", "--memory", "8MB"], "write a number of bytes, such as 64MiB"),
        (&["--sandbox", "--memory", "1000"], "the least is 1048576"),
        (&["--sandbox", "--time", "5"], "unit"),
        (&["--sandbox", "--time", "0"], "no time to run"),
    ] {
        let (code, stdout, stderr) = run(&folder, options, "print('ran')");
        assert_eq!((code, stdout.as_str()), (2, ""), "{options:?} {stderr}");
        assert!(stderr.contains(message), "{options:?} {stderr}");
    }
}
