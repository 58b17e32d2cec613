//! Policies in a configuration: good ones, and each bad input with what its error has to say.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use plimsoll::error::{Error, ErrorKind};
use plimsoll::policy::{Actor, Permission, Policies, Subject};
use plimsoll::registry::{Config, EntryKind, Environment, LoadOptions};
use plimsoll::value::Value;

/// Lines 1 to 5 of every text below; what follows starts in line 6.
const HEAD: &str =
    "version: \"1.0\"\nnamespace: app\nentries:\n  - name: p\n    kind: security.policy\n";

fn parse(body: &str) -> Result<Config, Error> {
    let variables = [("LEVEL".to_owned(), "5".to_owned()), ("WHO".to_owned(), "ann".to_owned())];
    let environment = Environment::Fixed(variables.into());
    let options = LoadOptions { environment, ..LoadOptions::default() };
    Config::parse(&format!("{HEAD}{body}"), ".", "t.yaml", options)
}

/// The policies of a configuration that is right.
fn policies(body: &str) -> Policies {
    let config = parse(body).unwrap_or_else(|error| panic!("{body}\n{error}"));
    let kinds = config.entries().iter().map(|entry| entry.kind().clone());
    kinds.filter_map(|kind| if let EntryKind::Policy(p) = kind { Some(p) } else { None }).collect()
}

fn reads(policies: &Policies, actor: &Actor, key: &str) -> bool {
    policies.rights(actor, "app:cache").allow(Permission::KeyGet, Subject::Key(key))
}

/// The fields `policy.…` in one line, and what its error has to say.
const POLICY_FIELDS: &[(&str, &str)] = &[
    (
        "{actions: store.get, resources: app:x}",
        "t.yaml:6:13: entries[0].policy.effect: the field is missing; add one such as effect: allow",
    ),
    (
        "{effect: allow, resources: app:x}",
        "entries[0].policy.actions: the field is missing; add one such as actions: \"store.key.*\"",
    ),
    (
        "{effect: allow, actions: store.get}",
        "entries[0].policy.resources: the field is missing; add one such as resources: \"app:*\"",
    ),
    (
        "{effect: permit, actions: store.get, resources: app:x}",
        "t.yaml:6:22: entries[0].policy.effect: \"permit\" is no effect; write allow or deny",
    ),
    (
        "{effect: true, actions: store.get, resources: app:x}",
        "entries[0].policy.effect: expected a string, found the boolean true",
    ),
    (
        "{effect: allow, actions: store.key.gett, resources: app:x}",
        "t.yaml:6:38: entries[0].policy.actions: no action is \"store.key.gett\"; did you mean store.key.get? (known are store.get, store.info, store.key.get, store.key.set, store.key.delete, store.key.has, store.key.list)",
    ),
    (
        "{effect: allow, actions: [store.get, store.keys.*], resources: app:x}",
        "t.yaml:6:50: entries[0].policy.actions[1]: no action is \"store.keys.*\"",
    ),
    (
        "{effect: allow, actions: [], resources: app:x}",
        "entries[0].policy.actions: the list is empty; write at least one item",
    ),
    (
        "{effect: allow, actions: {a: b}, resources: app:x}",
        "entries[0].policy.actions: expected a string, found a mapping",
    ),
    (
        "{effect: allow, actions: store.get, resources: [app:x, 5]}",
        "entries[0].policy.resources[1]: expected a string, found the integer 5; put it in quotes",
    ),
    (
        "{effect: allow, actions: store.get, resources: 'app:*:x'}",
        "entries[0].policy.resources: \"app:*:x\" has a * before its end; write a name, prefix* or \"*\"",
    ),
    (
        "{effect: allow, actions: store.get, resources: ''}",
        "entries[0].policy.resources: the pattern is empty; write a name, prefix* or \"*\"",
    ),
    (
        "{effect: allow, actions: store.get, resource: app:x}",
        "t.yaml:6:49: entries[0].policy.resource: the field is unknown; did you mean resources? (known are effect, actions, resources, conditions)",
    ),
    (
        "{effect: allow, actions: store.get, resources: app:x, conditions: {field: key}}",
        "entries[0].policy.conditions: expected a list, found a mapping; write it as [{field: key, operator: matches, value: \"^user:\"}]",
    ),
    (
        "{effect: allow, actions: store.get, resources: app:x, conditions: [key]}",
        "entries[0].policy.conditions[0]: expected a mapping of fields, found the string \"key\"",
    ),
    (
        "allow",
        "t.yaml:6:13: entries[0].policy: expected a mapping of fields, found the string \"allow\"",
    ),
];

/// A condition, and what its error has to say.
const CONDITIONS: &[(&str, &str)] = &[
    (
        "{operator: eq, value: x}",
        "t.yaml:11:9: entries[0].policy.conditions[0].field: the field is missing; add one such as field: key",
    ),
    (
        "{field: key, value: x}",
        "entries[0].policy.conditions[0].operator: the field is missing; add one such as operator: eq",
    ),
    (
        "{field: key, operator: eq}",
        "entries[0].policy.conditions[0].value: the field is missing; add one such as value: \"...\"",
    ),
    (
        "{field: kee, operator: eq, value: x}",
        "t.yaml:11:17: entries[0].policy.conditions[0].field: \"kee\" is no field of a condition; did you mean key? (known are key, prefix, actor.id, actor.meta.NAME)",
    ),
    (
        "{field: actor.name, operator: eq, value: x}",
        "conditions[0].field: \"actor.name\" is no field of a condition",
    ),
    (
        "{field: key, operator: equals, value: x}",
        "t.yaml:11:32: entries[0].policy.conditions[0].operator: \"equals\" is no operator of a condition (known are eq, ne, lt, gt, lte, gte, in, nin, exists, nexists, contains, ncontains, matches, nmatches)",
    ),
    (
        "{field: key, operator: matchs, value: x}",
        "\"matchs\" is no operator of a condition; did you mean matches?",
    ),
    (
        "{field: key, operator: eq, value: 5}",
        "t.yaml:11:43: entries[0].policy.conditions[0].value: 5 is no string; put it in quotes",
    ),
    (
        "{field: key, operator: in, value: [a, 5]}",
        "t.yaml:11:47: entries[0].policy.conditions[0].value[1]: 5 is no string; put it in quotes",
    ),
    ("{field: key, operator: in, value: []}", "conditions[0].value: the list is empty"),
    (
        "{field: key, operator: nin}",
        "conditions[0].value: the field is missing; add one such as value: [a, b]",
    ),
    (
        "{field: key, operator: eq, value: [a]}",
        "conditions[0].value: expected a string, a number or a boolean, found a list",
    ),
    (
        "{field: key, operator: eq, value: }",
        "conditions[0].value: expected a string, a number or a boolean, found nothing",
    ),
    (
        "{field: key, operator: matches, value: 'user:('}",
        "t.yaml:11:48: entries[0].policy.conditions[0].value: \"user:(\" is no regular expression: ",
    ),
    (
        "{field: actor.meta.n, operator: matches, value: 5}",
        "conditions[0].value: 5 is no string; put it in quotes",
    ),
    (
        "{field: actor.meta.n, operator: lt, value: true}",
        "conditions[0].value: true has no order; write a number or string",
    ),
    (
        "{field: actor.meta.n, operator: eq, value: .nan}",
        "conditions[0].value: .nan is no number that is known; write a decimal one",
    ),
    (
        "{field: actor.meta.n, operator: eq, value: 99999999999999999999}",
        "conditions[0].value: 99999999999999999999 is no number that is known",
    ),
    (
        "{field: key, operator: exists, value: true}",
        "t.yaml:11:47: entries[0].policy.conditions[0].value: exists and nexists take no value; remove it",
    ),
    (
        "{field: key, operator: eq, values: [x]}",
        "conditions[0].values: the field is unknown; did you mean value? (known are field, operator, value)",
    ),
];

fn assert_refused(body: &str, says: &str) {
    let error = parse(body).expect_err(body);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{body}");
    assert!(error.message().contains(says), "\n{body}\nsays: {error}\nwithout: {says}");
    assert!(error.detail("line").is_some() && error.detail("field").is_some(), "{error:?}");
}

#[test]
fn the_fields_of_policies_are_checked() {
    for (policy, says) in POLICY_FIELDS {
        assert_refused(&format!("    policy: {policy}\n"), says);
    }
    assert_refused(
        "    groups: staff\n",
        "entries[0].policy: the field is missing; add one such as policy: {effect: allow",
    );
    let policy = "    policy: {effect: allow, actions: '*', resources: '*'}\n";
    for (groups, says) in [
        ("[]", "t.yaml:6:13: entries[0].groups: the list is empty; write at least one item"),
        ("[staff, '']", "entries[0].groups[1]: the name of the group is empty"),
        ("[staff, 5]", "entries[0].groups[1]: expected a string, found the integer 5"),
    ] {
        assert_refused(&format!("    groups: {groups}\n{policy}"), says);
    }
    assert_refused(
        &format!("{policy}    effect: allow\n"),
        "entries[0].effect: the field is unknown",
    );
}

const POLICY: &str = "    policy:
      effect: allow
      actions: '*'
      resources: '*'
      conditions:
";

#[test]
fn the_conditions_of_policies_are_checked() {
    for (condition, says) in CONDITIONS {
        assert_refused(&format!("{POLICY}      - {condition}\n"), says);
    }
}

/// YAML itself has a meaning for a bare star, so that its error has to help.
#[test]
fn a_star_without_quotes_is_refused_in_its_place() {
    assert_refused(
        "    policy: {effect: allow, actions: *, resources: app:x}\n",
        "t.yaml:6:38: entries[0].policy.actions: this is not YAML",
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let body = format!(
        "{POLICY}      - {{field: kee, operator: eq, value: x}}\n      - {{field: key, operator: in, value: [1, 2]}}\n"
    );
    let message = parse(&body).unwrap_err().message().to_owned();
    for says in
        ["3 problems", "conditions[0].field", "conditions[1].value[0]", "conditions[1].value[1]"]
    {
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn one_item_needs_no_list() {
    let policies = policies(
        "    groups: staff
    policy:
      effect: allow
      actions: store.key.get
      resources: app:cache
      conditions:
        - {field: key, operator: in, value: 'user:1'}
",
    );
    let staff = Actor::new("ann").with_group("staff");
    assert!(reads(&policies, &staff, "user:1"));
    assert!(!reads(&policies, &staff, "user:2"));
    assert!(!reads(&policies, &Actor::new("ann"), "user:1"));
}

/// A value keeps its type; what comes from the environment is a string.
#[test]
fn values_are_of_the_type_that_they_are_written_in() {
    for (written, level, holds) in [
        ("5", Value::from(5), true),
        ("5.0", Value::from(5), true),
        ("'5'", Value::from(5), false),
        ("'5'", Value::from("5"), true),
        ("true", Value::from(true), true),
        ("'true'", Value::from(true), false),
        ("${env:LEVEL}", Value::from("5"), true),
        ("${env:LEVEL}", Value::from(5), false),
        ("yes", Value::from("yes"), true),
    ] {
        let condition = "      - field: actor.meta.level\n        operator: eq\n";
        let policies = policies(&format!("{POLICY}{condition}        value: {written}\n"));
        let actor = Actor::new("ann").with_meta("level", level.clone());
        assert_eq!(reads(&policies, &actor, "k"), holds, "{written} {level:?}");
    }
}

/// Policies are written for all that a host runs: other programs' actions and resources stay.
#[test]
fn actions_of_other_programs_are_kept_without_effect() {
    let policies = policies(
        "    meta: {comment: shared}
    policy:
      effect: allow
      actions: [http.request, 'fs.*', store.key.get]
      resources: ['https://example.org/*', 'app:*']
",
    );
    assert!(reads(&policies, &Actor::anonymous(), "k"));
    let rights = policies.rights(&Actor::anonymous(), "app:cache");
    assert!(!rights.allow(Permission::KeySet, Subject::Key("k")));
}

#[test]
fn a_database_can_t_be_a_policy() {
    let body = format!(
        "{}  - {{name: s, kind: store.sql, database: app:p, table_name: t}}\n",
        "    policy: {effect: allow, actions: '*', resources: '*'}\n"
    );
    if cfg!(feature = "sql") {
        assert_refused(&body, "app:p is a security.policy; name a database (db.sql.sqlite");
    }
}
