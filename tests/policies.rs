//! What policies decide: tables of cases, and generated policies against an independent reading.
#![allow(clippy::unwrap_used)]

#[path = "support/policies.rs"]
mod policies;

use plimsoll::error::ErrorKind;
use plimsoll::limits::POLICY_PATTERN_BYTES_MAX;
use plimsoll::policy::{
    Actor, Effect, Field, Operand, Operator, Pattern, Permission, Policies, Policy,
    PolicyCondition, Subject,
};
use plimsoll::value::{Table, Value};
use policies::{Question, setup};
use proptest::prelude::*;

fn policy(effect: Effect, actions: &[&str], resources: &[&str]) -> Policy {
    let patterns = |texts: &[&str]| texts.iter().map(|t| Pattern::parse(t).unwrap()).collect();
    Policy::new(effect, patterns(actions), patterns(resources))
}

fn condition(field: &str, operator: &str, operand: Operand) -> PolicyCondition {
    let (field, operator) = (Field::parse(field).unwrap(), Operator::parse(operator).unwrap());
    PolicyCondition::new(field, operator, operand).unwrap()
}

fn one(value: impl Into<Value>) -> Operand {
    Operand::One(value.into())
}

fn many<const N: usize>(values: [&str; N]) -> Operand {
    Operand::Many(values.map(Value::from).to_vec())
}

/// Whether an actor may read a key of app:cache.
fn reads(policies: &Policies, actor: &Actor, key: &str) -> bool {
    policies.rights(actor, "app:cache").allow(Permission::KeyGet, Subject::Key(key))
}

#[test]
fn deny_wins_and_what_no_policy_allows_is_denied() {
    let allow = || policy(Effect::Allow, &["store.key.*"], &["app:*"]);
    let deny = || policy(Effect::Deny, &["store.key.get"], &["app:cache"]);
    let other = || policy(Effect::Allow, &["store.key.get"], &["app:other"]);
    let ann = Actor::new("ann");
    for (policies, allowed) in [
        (vec![], true),
        (vec![allow()], true),
        (vec![deny()], false),
        (vec![allow(), deny()], false),
        (vec![deny(), allow()], false),
        (vec![deny(), allow(), allow()], false),
        (vec![other()], false),
        (vec![other(), allow()], true),
    ] {
        let text = format!("{policies:?}");
        assert_eq!(reads(&policies.into_iter().collect(), &ann, "k"), allowed, "{text}");
    }
}

#[test]
fn actions_and_resources_match_by_name_or_prefix() {
    for (actions, resources, permission, resource, allowed) in [
        (&["*"][..], &["*"][..], Permission::KeySet, "app:cache", true),
        (&["store.*"], &["app:*"], Permission::Get, "app:cache", true),
        (&["store.key.*"], &["app:*"], Permission::Get, "app:cache", false),
        (&["store.key.*"], &["app:*"], Permission::KeyDelete, "app:cache", true),
        (&["store.key.get"], &["app:cache"], Permission::KeyGet, "app:cache", true),
        (&["store.key.get"], &["app:cache"], Permission::KeyGet, "app:cache2", false),
        (&["store.key.get"], &["app:cach*"], Permission::KeyGet, "app:cache2", true),
        (&["store.key.get"], &["*"], Permission::KeyHas, "app:cache", false),
        (&["store.key.set", "store.key.has"], &["*"], Permission::KeyHas, "a:b", true),
        (&["store.get"], &["a:b", "c:*"], Permission::Get, "c:d", true),
        (&["http.*"], &["*"], Permission::Info, "a:b", false),
    ] {
        let policies: Policies = [policy(Effect::Allow, actions, resources)].into_iter().collect();
        let subject = match permission {
            Permission::Get | Permission::Info => Subject::Whole,
            Permission::KeyList => Subject::Prefix(b""),
            _ => Subject::Key("k"),
        };
        let rights = policies.rights(&Actor::anonymous(), resource);
        let found = rights.allow(permission, subject);
        assert_eq!(found, allowed, "{actions:?} {resources:?} {permission} {resource}");
    }
}

#[test]
fn a_policy_with_groups_is_for_the_actors_in_one_of_them() {
    let policies: Policies =
        [policy(Effect::Allow, &["*"], &["*"]).with_groups(["staff", "admins"])]
            .into_iter()
            .collect();
    for (actor, allowed) in [
        (Actor::anonymous(), false),
        (Actor::new("staff"), false),
        (Actor::new("ann").with_group("staff"), true),
        (Actor::new("ann").with_group("guests").with_group("admins"), true),
        (Actor::new("ann").with_group("guests"), false),
        (Actor::anonymous().with_group("staff"), true),
    ] {
        assert_eq!(reads(&policies, &actor, "k"), allowed, "{actor:?}");
    }
}

fn ann() -> Actor {
    let team: Table = [("name", "red")].into_iter().collect();
    let tags: Table = [(1_i64, "blue"), (2, "green")].into_iter().collect();
    Actor::new("ann")
        .with_meta("role", "editor")
        .with_meta("level", 5)
        .with_meta("ratio", 0.5)
        .with_meta("active", true)
        .with_meta("raw", vec![b'a', 0xff])
        .with_meta("team", team)
        .with_meta("tags", tags)
}

/// A field, an operator, what it is compared with, and whether that holds for ann reading `user:7`.
type Row = (&'static str, &'static str, Operand, bool);

#[track_caller]
fn assert_rows(rows: Vec<Row>) {
    for (field, operator, operand, holds) in rows {
        let text = format!("{field} {operator} {operand:?}");
        let rule = condition(field, operator, operand);
        for effect in [Effect::Allow, Effect::Deny] {
            let everyone = policy(Effect::Allow, &["*"], &["*"]);
            let conditional = policy(effect, &["*"], &["*"]).with_condition(rule.clone());
            let policies: Policies = match effect {
                Effect::Allow => [conditional].into_iter().collect(),
                Effect::Deny => [everyone, conditional].into_iter().collect(),
            };
            let allowed = holds == (effect == Effect::Allow);
            assert_eq!(reads(&policies, &ann(), "user:7"), allowed, "{effect:?} if {text}");
        }
    }
}

#[test]
fn strings_are_compared_by_their_bytes() {
    assert_rows(vec![
        ("key", "eq", one("user:7"), true),
        ("key", "eq", one("user:"), false),
        ("key", "ne", one("user:7"), false),
        ("key", "lt", one("user:70"), true),
        ("key", "lt", one("user:7"), false),
        ("key", "lte", one("user:7"), true),
        ("key", "gt", one("user:"), true),
        ("key", "gt", one("usez"), false),
        ("key", "gte", one("user:7"), true),
        ("key", "in", many(["a", "user:7"]), true),
        ("key", "nin", many(["a", "user:7"]), false),
        ("key", "nin", many(["a"]), true),
        ("key", "exists", Operand::None, true),
        ("key", "nexists", Operand::None, false),
        ("key", "contains", one("er:"), true),
        ("key", "contains", one(""), true),
        ("key", "contains", one("user:77"), false),
        ("key", "ncontains", one("er:"), false),
        ("key", "matches", one("^user:[0-9]+$"), true),
        ("key", "matches", one("ser"), true),
        ("key", "matches", one("^ser"), false),
        ("key", "nmatches", one("^ser"), true),
        ("actor.id", "eq", one("ann"), true),
        ("actor.id", "in", many(["bob", "eve"]), false),
    ]);
}

#[test]
fn of_what_is_not_there_only_negations_hold() {
    assert_rows(vec![
        ("prefix", "eq", one(""), false),
        ("prefix", "ne", one(""), true),
        ("prefix", "lte", one("zzz"), false),
        ("prefix", "gte", one(""), false),
        ("prefix", "in", many(["", "a"]), false),
        ("prefix", "nin", many([""]), true),
        ("prefix", "exists", Operand::None, false),
        ("prefix", "nexists", Operand::None, true),
        ("prefix", "contains", one(""), false),
        ("prefix", "ncontains", one(""), true),
        ("prefix", "matches", one(""), false),
        ("prefix", "nmatches", one(""), true),
        ("actor.meta.missing", "eq", one(1), false),
        ("actor.meta.missing", "ne", one(1), true),
        ("actor.meta.missing", "exists", Operand::None, false),
        ("actor.meta.role.name", "nexists", Operand::None, true),
    ]);
}

#[test]
fn operators_compare_what_is_comparable() {
    assert_rows(vec![
        // Numbers are compared by value, whatever they are; other types are never equal.
        ("actor.meta.level", "eq", one(5), true),
        ("actor.meta.level", "eq", one(5.0), true),
        ("actor.meta.level", "eq", one("5"), false),
        ("actor.meta.level", "ne", one("5"), true),
        ("actor.meta.level", "gte", one(5.0), true),
        ("actor.meta.level", "gt", one(4.9), true),
        ("actor.meta.level", "lt", one("9"), false),
        ("actor.meta.level", "gt", one("1"), false),
        ("actor.meta.level", "lt", one(10), true),
        ("actor.meta.level", "contains", one(5), false),
        ("actor.meta.level", "matches", one("5"), false),
        ("actor.meta.level", "nmatches", one("5"), true),
        ("actor.meta.ratio", "lt", one(1), true),
        ("actor.meta.ratio", "eq", one(0), false),
        ("actor.meta.active", "eq", one(true), true),
        ("actor.meta.active", "ne", one(false), true),
        ("actor.meta.active", "eq", one(1), false),
        ("actor.meta.active", "eq", one("true"), false),
        ("actor.meta.role", "gt", one(5), false),
        ("actor.meta.role", "lt", one(5), false),
        ("actor.meta.raw", "contains", one("a"), true),
        ("actor.meta.raw", "matches", one("^a"), true),
        // Tables: reached into by name, searched for an item, equal to nothing.
        ("actor.meta.team.name", "eq", one("red"), true),
        ("actor.meta.team", "exists", Operand::None, true),
        ("actor.meta.team", "eq", one("red"), false),
        ("actor.meta.tags", "contains", one("green"), true),
        ("actor.meta.tags", "contains", one("gree"), false),
        ("actor.meta.tags", "ncontains", one("red"), true),
        ("actor.meta.tags", "in", many(["blue"]), false),
    ]);
}

#[test]
fn nobody_has_no_id() {
    let cases = [("exists", false), ("nexists", true)];
    for (operator, allowed) in cases {
        let rule = condition("actor.id", operator, Operand::None);
        let policies: Policies =
            [policy(Effect::Allow, &["*"], &["*"]).with_condition(rule)].into_iter().collect();
        assert_eq!(reads(&policies, &Actor::anonymous(), "k"), allowed, "{operator}");
        assert_eq!(reads(&policies, &Actor::new("ann"), "k"), !allowed, "{operator}");
    }
    let rule = condition("actor.id", "ne", one("root"));
    let not_root = policy(Effect::Deny, &["*"], &["*"]).with_condition(rule);
    let policies: Policies =
        [policy(Effect::Allow, &["*"], &["*"]), not_root].into_iter().collect();
    assert!(!reads(&policies, &Actor::anonymous(), "k"), "a denial that spares root alone");
    assert!(reads(&policies, &Actor::new("root"), "k"));
}

/// A prefix is bytes. One that ends within a character is judged by what can be read of it.
#[test]
fn conditions_on_the_prefix_see_it_as_it_was_asked_for() {
    let rule = condition("prefix", "matches", one("^user:"));
    let policies: Policies =
        [policy(Effect::Allow, &["store.key.list"], &["*"]).with_condition(rule)]
            .into_iter()
            .collect();
    let rights = policies.rights(&Actor::anonymous(), "app:cache");
    for (prefix, allowed) in [
        (&b"user:"[..], true),
        (b"user:7", true),
        (b"user", false),
        (b"", false),
        (b"user:\xc3", true),
    ] {
        assert_eq!(
            rights.allow(Permission::KeyList, Subject::Prefix(prefix)),
            allowed,
            "{prefix:?}"
        );
    }
}

/// A watch is opened before its keys are known.
#[test]
fn some_key_may_be_allowed_unless_that_is_ruled_out() {
    let key_rule = || condition("key", "matches", one("^user:"));
    let reader = || policy(Effect::Allow, &["store.key.get"], &["*"]);
    let denial = || policy(Effect::Deny, &["store.key.get"], &["*"]);
    for (policies, may_be) in [
        (vec![reader()], true),
        (vec![reader().with_condition(key_rule())], true),
        (vec![reader(), denial().with_condition(key_rule())], true),
        (vec![reader(), denial()], false),
        (vec![denial().with_condition(key_rule())], false),
        (vec![reader().with_condition(condition("key", "nexists", Operand::None))], false),
        (vec![reader().with_condition(condition("prefix", "eq", one("user:")))], false),
    ] {
        let text = format!("{policies:?}");
        let policies: Policies = policies.into_iter().collect();
        let rights = policies.rights(&ann(), "app:cache");
        assert_eq!(rights.allow(Permission::KeyGet, Subject::SomeKey), may_be, "{text}");
    }
}

#[test]
fn conditions_that_could_never_hold_are_refused() {
    let over = "a".repeat(POLICY_PATTERN_BYTES_MAX + 1);
    let rows: Vec<(&str, &str, Operand, &str)> = vec![
        ("key", "eq", one(5), "5 is no string; put it in quotes"),
        ("key", "in", Operand::Many(vec!["a".into(), true.into()]), "true is no string"),
        ("actor.id", "contains", one(1.5), "1.5 is no string"),
        ("actor.meta.x", "matches", one(5), "5 is no string"),
        ("actor.meta.x", "lt", one(true), "true has no order; write a number or string"),
        ("key", "matches", one("("), "\"(\" is no regular expression"),
        (
            "key",
            "matches",
            one(over.as_str()),
            "the regular expression has 1025 bytes, the limit is 1024",
        ),
        ("key", "matches", one("(a{1000}){1000}"), "is no regular expression"),
        ("key", "exists", one("x"), "the operator takes no value; remove it"),
        ("key", "eq", Operand::None, "the operator needs a value; add one"),
        ("key", "eq", many(["x"]), "the operator takes one value; write in or nin for more"),
        ("key", "in", one("x"), "the operator takes a list of values; write [a, b]"),
        ("key", "in", Operand::None, "the operator needs a value; add one"),
    ];
    for (field, operator, operand, says) in rows {
        let text = format!("{field} {operator} {operand:?}");
        let (field, operator) = (Field::parse(field).unwrap(), Operator::parse(operator).unwrap());
        let error = PolicyCondition::new(field, operator, operand).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(says), "{text}: {error}");
    }
    for bad in
        ["", "keys", "key.x", "actor", "actor.name", "actor.meta", "actor.meta.", "actor.meta.a..b"]
    {
        assert_eq!(Field::parse(bad), None, "{bad:?}");
    }
}

/// The time that a pattern takes is bounded by its length times that of the text.
#[test]
fn no_pattern_takes_exponential_time() {
    let rule = condition("key", "matches", one("^(a+)+$"));
    let policies: Policies =
        [policy(Effect::Allow, &["*"], &["*"]).with_condition(rule)].into_iter().collect();
    assert!(!reads(&policies, &ann(), &format!("{}b", "a".repeat(1_000))));
}

const KEYS: &[&str] = &["user:1", "user:secret", "secret:2", "team/a", "é"];
const RESOURCES: &[&str] = &["*", "app:*", "app:cache", "other:x"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn policies_mean_what_an_independent_reading_says(setup in setup(KEYS, RESOURCES)) {
        let (policies, actor) = (setup.policies(), setup.actor.to_actor());
        for resource in ["app:cache", "app:x", "other:x"] {
            let rights = policies.rights(&actor, resource);
            for permission in Permission::ALL {
                let action = permission.as_str();
                let subjects = match permission {
                    Permission::Get | Permission::Info => vec![(None, None)],
                    Permission::KeyList => ["", "user:", "secret:"].map(|p| (None, Some(p))).to_vec(),
                    _ => KEYS.iter().map(|key| (Some(*key), None)).collect(),
                };
                let mut some_is_allowed = false;
                for (key, prefix) in subjects {
                    let subject = match (key, prefix) {
                        (Some(key), _) => Subject::Key(key),
                        (None, Some(prefix)) => Subject::Prefix(prefix.as_bytes()),
                        (None, None) => Subject::Whole,
                    };
                    let expected = setup.allows(Question { action, resource, key, prefix });
                    some_is_allowed |= key.is_some() && expected;
                    prop_assert_eq!(rights.allow(permission, subject), expected, "{} {:?}", action, subject);
                    prop_assert_eq!(rights.check(permission, subject).is_ok(), expected);
                }
                let may_be_allowed = rights.allow(permission, Subject::SomeKey);
                prop_assert!(may_be_allowed || !some_is_allowed, "{} of some key", action);
            }
        }
    }
}
