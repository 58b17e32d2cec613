//! Configurations: whatever the text, a configuration or an error that names its place.
//!
//! The first byte says which: YAML (its bits are the options), or a `luat.toml`.

use std::fs;
use std::thread_local;

use plimsoll::error::{Error, ErrorKind};
use plimsoll::policy::{Actor, Permission, Policies, Subject};
use plimsoll::registry::{Config, EntryKind, Environment, LoadOptions, LuatProject};
use tempfile::TempDir;

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    if choice & 1 == 0 {
        yaml(choice & 2 == 0, input.rest());
    } else {
        luat(input.rest());
    }
}

fn yaml(skip_foreign_kinds: bool, text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let variables = [("NAME", "cache"), ("EMPTY", ""), ("TEXT", "${env:NAME}: x")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::Fixed(variables.into());
    let options = LoadOptions { skip_foreign_kinds, environment };
    match Config::parse(text, "/folder", FILE, options) {
        Ok(config) => {
            for entry in config.entries() {
                let id = entry.id();
                assert_eq!(config.entry(id.as_str()).map(|entry| entry.id()), Some(id));
            }
            decide(&config);
        }
        Err(error) => assert_place(&error, FILE, text),
    }
}

/// Policies that are taken decide about anything; where there are none everything is allowed.
fn decide(config: &Config) {
    let kinds = config.entries().iter().map(|entry| entry.kind().clone());
    let policy = |kind| if let EntryKind::Policy(policy) = kind { Some(policy) } else { None };
    let policies: Vec<_> = kinds.filter_map(policy).collect();
    let is_free = policies.is_empty();
    let policies: Policies = policies.into_iter().collect();
    for actor in [Actor::anonymous(), Actor::new("ann")] {
        let rights = policies.rights(&actor, "app:cache");
        for permission in Permission::ALL {
            for subject in [Subject::Key("user:1"), Subject::Prefix(b"user:"), Subject::SomeKey] {
                let is_allowed = rights.allow(permission, subject);
                assert!(is_allowed || !is_free, "{permission:?} is denied by nothing");
            }
        }
    }
}

fn luat(text: &[u8]) {
    FOLDER.with(|folder| {
        let file = folder.path().join("luat.toml");
        fs::write(&file, text).unwrap();
        match LuatProject::find(folder.path()) {
            Ok(project) => {
                // What is relative is taken from the folder of the file.
                let data_dir = project.data_dir();
                assert!(data_dir.is_absolute(), "{data_dir:?}");
                assert_eq!(project.kv_file(), data_dir.join("kv.db"));
            }
            Err(error) => {
                assert_place(&error, file.to_str().unwrap(), &String::from_utf8_lossy(text));
            }
        }
    });
}

/// An error of a configuration says in which file, line and column; only what is wrong with the
/// file as a whole has no line.
fn assert_place(error: &Error, file: &str, text: &str) {
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.message().contains(file), "{error:?}");
    assert_eq!(error.detail("file"), Some(&file.into()), "{error:?}");
    let detail = |name| error.detail(name).and_then(plimsoll::value::Value::as_integer);
    let Some(line) = detail("line") else {
        let is_of_file = text.len() > plimsoll::limits::CONFIG_FILE_BYTES_MAX || is_empty(error);
        assert!(is_of_file, "without a line: {error:?}");
        return;
    };
    let column = detail("column").expect("a column stands with its line");
    assert!(line >= 1 && column >= 1, "{error:?}");
    // A carriage return is a line break in YAML, and the end of a text a line of its own.
    let lines = 1 + text.split(['\n', '\r']).count();
    assert!(usize::try_from(line).is_ok_and(|line| line <= lines), "{error:?}");
}

fn is_empty(error: &Error) -> bool {
    error.message().contains("the file is empty")
}

const FILE: &str = "app.yaml";

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().unwrap();
}
