//! `--actor` on the command line: every verb and `run`.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use tempfile::TempDir;

const CONFIG: &str = "version: '1.0'
namespace: app
entries:
  - {name: db, kind: db.sql.sqlite, file: data.db}
  - {name: data, kind: store.sql, database: app:db, table_name: t, create_table: true}
  - {name: cache, kind: store.memory}
  - name: admins
    kind: security.policy
    groups: [admins]
    policy: {effect: allow, actions: '*', resources: '*'}
  - name: acquire
    kind: security.policy
    policy:
      effect: allow
      actions: store.get
      resources: app:data
      conditions: [{field: actor.id, operator: exists}]
  - name: writers
    kind: security.policy
    policy:
      effect: allow
      actions: 'store.key.*'
      resources: '*'
      conditions: [{field: actor.meta.level, operator: gte, value: 3}]
  - name: not_secrets
    kind: security.policy
    policy:
      effect: deny
      actions: 'store.key.*'
      resources: '*'
      conditions:
        - {field: key, operator: matches, value: '^secret:'}
        - {field: actor.id, operator: ne, value: root}
";

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

struct Program(TempDir);

impl Program {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("app.yaml"), CONFIG).unwrap();
        let program = Self(folder);
        let root = ["--actor", "root", "--actor-group", "admins"];
        for key in ["user:1", "secret:1"] {
            let ran = program.run(&["set", "app:data", key, "v"], &root);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        }
        program
    }

    fn run(&self, arguments: &[&str], actor: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(&arguments[..1])
            .args(actor)
            .args(&arguments[1..])
            .current_dir(self.0.path())
            .env("PLIMSOLL_CONFIG", "app.yaml")
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

const VERBS: &[&[&str]] = &[
    &["get", "app:data", "secret:1"],
    &["entry", "app:data", "secret:1"],
    &["has", "app:data", "secret:1"],
    &["set", "app:data", "secret:1", "x"],
    &["put", "app:data", "secret:1", "x"],
    &["delete", "app:data", "secret:1"],
    &["list", "app:data"],
    &["info", "app:data"],
];

#[test]
fn every_verb_is_denied_without_its_right() {
    let program = Program::new();
    for verb in VERBS {
        let ran = program.run(verb, &["--actor", "ann"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{verb:?}");
        assert!(ran.stderr.contains("PermissionDenied: the actor \"ann\" has no right to store."));
        assert!(ran.stderr.contains("resource: app:data"), "{}", ran.stderr);

        let ran = program.run(verb, &[]);
        assert_eq!(ran.code, 2, "{verb:?}");
        assert!(ran.stderr.contains("an anonymous actor has no right to store.get in app:data"));
    }
    for verb in VERBS {
        let ran = program.run(verb, &["--actor", "root", "--actor-group", "admins"]);
        assert_eq!(ran.code, 0, "{verb:?} {}", ran.stderr);
    }
}

#[test]
fn what_is_said_of_the_actor_counts() {
    let program = Program::new();
    let senior = ["--actor", "ann", "--actor-meta", "level=3"];
    assert_eq!(program.run(&["list", "app:data"], &senior).stdout, "user:1\t\"v\"\n");
    assert_eq!(program.run(&["get", "app:data", "user:1"], &senior).stdout, "v\n");
    assert_eq!(program.run(&["get", "app:data", "secret:1"], &senior).code, 2);
    // A string is no number, and so has no order with one.
    for level in ["level=2", "level=\"3\"", "level=three", "other=3"] {
        let ran = program.run(&["list", "app:data"], &["--actor", "ann", "--actor-meta", level]);
        assert_eq!(ran.code, 2, "{level}");
    }
}

/// Whether a store is there is not told to those who may not acquire it.
#[test]
fn a_denied_store_and_an_unknown_one_look_the_same() {
    let program = Program::new();
    let told = |id: &str| {
        let ran = program.run(&["get", id, "k"], &["--actor", "ann"]);
        assert_eq!(ran.code, 2);
        ran.stderr.replace(id, "ID")
    };
    assert_eq!(told("app:cache"), told("app:none"));
}

#[test]
fn a_script_has_the_rights_of_its_actor() {
    let program = Program::new();
    let script = "local data = assert(require('store').get('app:data'))
        local page, err = data:list()
        print(err and err:kind() or #page.items)
        print(select(2, data:set('secret:2', 1)):kind())";
    fs::write(program.0.path().join("script.lua"), script).unwrap();
    for (actor, stdout) in [
        (&["--actor", "ann"][..], "PermissionDenied\nPermissionDenied\n"),
        (&["--actor", "ann", "--actor-meta", "level=5"], "1\nPermissionDenied\n"),
    ] {
        let ran = program.run(&["run", "script.lua"], actor);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, stdout), "{}", ran.stderr);
    }
    let ran = program.run(&["run", "script.lua"], &[]);
    assert_eq!(ran.code, 1, "the script ends where it may not acquire the store");
}

#[test]
fn wrong_arguments_are_refused() {
    let program = Program::new();
    for (actor, says) in [
        (&["--actor", ""][..], "a value is required"),
        (&["--actor-group", "g"], "--actor <NAME>"),
        (&["--actor-meta", "a=1"], "--actor <NAME>"),
        (&["--actor", "ann", "--actor-meta", "level"], "write KEY=VALUE, such as role=editor"),
        (&["--actor", "ann", "--actor-meta", "=1"], "write KEY=VALUE"),
        (&["--actor", "ann", "--actor-meta", "a=null"], "null is no value"),
    ] {
        let ran = program.run(&["list", "app:data"], actor);
        assert_eq!(ran.code, 2, "{actor:?}");
        assert!(ran.stderr.contains(says), "{actor:?}: {}", ran.stderr);
    }
}

/// Without policies the actor makes no difference.
#[test]
fn an_actor_has_no_effect_without_policies() {
    let program = Program::new();
    fs::write(
        program.0.path().join("app.yaml"),
        "{version: '1.0', namespace: app, entries: [{name: cache, kind: store.memory}]}",
    )
    .unwrap();
    for actor in [&[][..], &["--actor", "ann", "--actor-group", "g", "--actor-meta", "a=1"]] {
        assert_eq!(program.run(&["list", "app:cache"], actor).code, 0);
    }
}
