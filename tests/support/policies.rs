//! Generated policies and actors, and an independent reading of what they mean.
//!
//! The reading is naive on purpose: it evaluates every policy for every question from its texts,
//! with pieces of its own for patterns and regular expressions.

use std::fmt;

use plimsoll::policy::{
    Actor, Effect, Field, Operand, Operator, Pattern, Policies, Policy, PolicyCondition,
};
use plimsoll::value::{Table, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Policies and who is judged by them.
#[derive(Clone)]
pub struct Setup {
    pub policies: Vec<PolicyModel>,
    pub actor: ActorModel,
}

#[derive(Clone, Debug)]
pub struct PolicyModel {
    pub allows: bool,
    pub groups: Vec<&'static str>,
    pub actions: Vec<&'static str>,
    pub resources: Vec<&'static str>,
    pub conditions: Vec<ConditionModel>,
}

#[derive(Clone, Debug)]
pub struct ConditionModel {
    pub field: &'static str,
    pub operator: &'static str,
    pub values: Vec<Literal>,
}

/// A value of a policy or of an actor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    Text(&'static str),
    Integer(i32),
    Float(f64),
    Boolean(bool),
}

#[derive(Clone, Debug)]
pub struct ActorModel {
    pub id: &'static str,
    pub groups: Vec<&'static str>,
    pub role: Option<&'static str>,
    pub level: Option<Literal>,
    /// A list, for `contains`.
    pub tags: Vec<&'static str>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub action: &'a str,
    pub resource: &'a str,
    pub key: Option<&'a str>,
    pub prefix: Option<&'a str>,
}

impl Setup {
    pub fn policies(&self) -> Policies {
        self.policies.iter().map(PolicyModel::to_policy).collect()
    }

    /// What the answer has to be.
    pub fn allows(&self, question: Question<'_>) -> bool {
        let applies = |allows| {
            let mut policies = self.policies.iter().filter(|policy| policy.allows == allows);
            policies.any(|policy| policy.applies(&self.actor, question))
        };
        self.policies.is_empty() || !applies(false) && applies(true)
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.actor)?;
        self.policies.iter().try_for_each(|policy| write!(f, "\n      {policy:?}"))
    }
}

impl PolicyModel {
    fn to_policy(&self) -> Policy {
        let effect = if self.allows { Effect::Allow } else { Effect::Deny };
        let patterns =
            |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let policy = Policy::new(effect, patterns(&self.actions), patterns(&self.resources));
        let conditions = self.conditions.iter().map(ConditionModel::to_condition);
        conditions.fold(policy.with_groups(self.groups.clone()), Policy::with_condition)
    }

    fn applies(&self, actor: &ActorModel, question: Question<'_>) -> bool {
        let is_one_of = |patterns: &[&str], name: &str| {
            patterns.iter().any(|pattern| match pattern.split_once('*') {
                Some((start, _)) => name.starts_with(start),
                None => name == *pattern,
            })
        };
        (self.groups.is_empty() || self.groups.iter().any(|group| actor.groups.contains(group)))
            && is_one_of(&self.actions, question.action)
            && is_one_of(&self.resources, question.resource)
            && self.conditions.iter().all(|condition| condition.holds(actor, question))
    }
}

impl ConditionModel {
    fn to_condition(&self) -> PolicyCondition {
        let field = Field::parse(self.field).unwrap();
        let operator = Operator::parse(self.operator).unwrap();
        let mut values: Vec<_> = self.values.iter().map(|literal| literal.to_value()).collect();
        let operand = match self.operator {
            "exists" | "nexists" => Operand::None,
            "in" | "nin" => Operand::Many(values),
            _ => Operand::One(values.remove(0)),
        };
        PolicyCondition::new(field, operator, operand).unwrap()
    }

    fn holds(&self, actor: &ActorModel, question: Question<'_>) -> bool {
        let text = |text: Option<&str>| text.map(|text| Literal::Text(leaked(text)));
        let (found, list) = match self.field {
            "key" => (text(question.key), None),
            "prefix" => (text(question.prefix), None),
            "actor.id" => (text(Some(actor.id).filter(|id| !id.is_empty())), None),
            "actor.meta.role" => (text(actor.role), None),
            "actor.meta.level" => (actor.level, None),
            "actor.meta.tags" => (None, Some(&actor.tags)),
            "actor.meta.none" => (None, None),
            other => panic!("{other}"),
        };
        let positive = self.operator.strip_prefix('n').unwrap_or(self.operator);
        let positive = if self.operator == "ne" { "eq" } else { positive };
        let value = self.values.first();
        let holds = match (positive, found, list) {
            ("exists", found, list) => found.is_some() || list.is_some(),
            ("contains", _, Some(list)) => {
                list.iter().any(|tag| Some(&Literal::Text(tag)) == value)
            }
            (_, None, _) => false,
            ("eq", Some(found), _) => value.is_some_and(|value| found.equals(*value)),
            ("in", Some(found), _) => self.values.iter().any(|value| found.equals(*value)),
            ("contains", Some(Literal::Text(found)), _) => {
                matches!(value, Some(Literal::Text(part)) if found.contains(part))
            }
            ("contains", Some(_), _) => false,
            ("matches", Some(Literal::Text(found)), _) => PATTERNS
                .iter()
                .any(|(text, is_match)| value == Some(&Literal::Text(text)) && is_match(found)),
            ("matches", Some(_), _) => false,
            (order, Some(found), _) => value.is_some_and(|value| found.is_ordered(order, *value)),
        };
        holds != (positive != self.operator)
    }
}

impl Literal {
    fn to_value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Integer(integer) => integer.into(),
            Self::Float(float) => float.into(),
            Self::Boolean(boolean) => boolean.into(),
        }
    }

    /// The number, if it is one: those here are small enough to be exact floats.
    fn number(self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(integer.into()),
            Self::Float(float) => Some(float),
            Self::Text(_) | Self::Boolean(_) => None,
        }
    }

    fn equals(self, other: Self) -> bool {
        match (self.number(), other.number()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self == other,
            _ => false,
        }
    }

    fn is_ordered(self, operator: &str, other: Self) -> bool {
        let order = match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.as_bytes().partial_cmp(b.as_bytes()),
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => None,
            },
        };
        order.is_some_and(|order| match operator {
            "lt" => order.is_lt(),
            "gt" => order.is_gt(),
            "lte" => order.is_le(),
            "gte" => order.is_ge(),
            other => panic!("{other}"),
        })
    }
}

impl ActorModel {
    pub fn to_actor(&self) -> Actor {
        let actor = self.groups.iter().fold(Actor::new(self.id), |actor, g| actor.with_group(*g));
        let actor = match self.role {
            Some(role) => actor.with_meta("role", role),
            None => actor,
        };
        let actor = match self.level {
            Some(level) => actor.with_meta("level", level.to_value()),
            None => actor,
        };
        let tags: Table = (1_i64..).zip(self.tags.iter().copied()).collect();
        actor.with_meta("tags", tags)
    }
}

/// Texts live as long as a test run, and there are few of them.
fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// What a regular expression means.
type Meaning = fn(&str) -> bool;

/// Regular expressions, each with what it means.
const PATTERNS: &[(&str, Meaning)] = &[
    ("^user:", |text| text.starts_with("user:")),
    ("secret", |text| text.contains("secret")),
    ("[0-9]$", |text| text.ends_with(|c: char| c.is_ascii_digit())),
    ("^(user|team)", |text| text.starts_with("user") || text.starts_with("team")),
    ("^$", str::is_empty),
];

const GROUPS: &[&str] = &["staff", "guests"];
const ACTIONS: &[&str] = &[
    "*",
    "store.*",
    "store.get",
    "store.info",
    "store.key.*",
    "store.key.get",
    "store.key.set",
    "store.key.delete",
    "store.key.has",
    "store.key.list",
    "http.request",
];

pub fn setup(
    keys: &'static [&'static str],
    resources: &'static [&'static str],
) -> impl Strategy<Value = Setup> {
    // Most setups let the actor do something: else nothing but refusals would be seen.
    let bases = prop_oneof![vec(base(keys), 0..3), exception(keys)];
    (bases, vec(policy(keys, resources), 0..4), actor()).prop_map(|(mut policies, more, actor)| {
        policies.extend(more);
        Setup { policies, actor }
    })
}

/// A policy that allows something everywhere.
fn base(keys: &'static [&'static str]) -> impl Strategy<Value = PolicyModel> {
    (vec(select(ACTIONS), 1..5), vec(condition(keys), 0..2)).prop_map(|(actions, conditions)| {
        let (groups, resources) = (Vec::new(), vec!["*"]);
        PolicyModel { allows: true, groups, actions, resources, conditions }
    })
}

/// Everything is allowed, but for something.
fn exception(keys: &'static [&'static str]) -> impl Strategy<Value = Vec<PolicyModel>> {
    let denied = prop_oneof![Just(vec!["store.key.*"]), vec(select(ACTIONS), 1..3)];
    (denied, vec(condition(keys), 1..3)).prop_map(|(denied, conditions)| {
        let policy = |allows, actions, conditions| {
            let (groups, resources) = (Vec::new(), vec!["*"]);
            PolicyModel { allows, groups, actions, resources, conditions }
        };
        vec![policy(true, vec!["*"], Vec::new()), policy(false, denied, conditions)]
    })
}

fn policy(
    keys: &'static [&'static str],
    resources: &'static [&'static str],
) -> impl Strategy<Value = PolicyModel> {
    let groups = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(GROUPS, 1..=2)];
    let actions = vec(select(ACTIONS), 1..3);
    let conditions = vec(condition(keys), 0..3);
    (any::<bool>(), groups, actions, vec(select(resources), 1..3), conditions).prop_map(
        |(allows, groups, actions, resources, conditions)| PolicyModel {
            allows,
            groups,
            actions,
            resources,
            conditions,
        },
    )
}

fn actor() -> impl Strategy<Value = ActorModel> {
    let id = select(vec!["", "ann", "bob"]);
    let role = prop::option::of(select(vec!["reader", "writer"]));
    let level = prop::option::of(literal(&[]));
    let tags = subsequence(&["red", "blue"], 0..=2);
    (id, subsequence(GROUPS, 0..=2), role, level, tags)
        .prop_map(|(id, groups, role, level, tags)| ActorModel { id, groups, role, level, tags })
}

fn literal(texts: &'static [&'static str]) -> BoxedStrategy<Literal> {
    let numbers = prop_oneof![
        (-1..3).prop_map(Literal::Integer),
        select(vec![-0.0, 0.5, 1.0, 2.0]).prop_map(Literal::Float),
    ];
    if texts.is_empty() {
        return prop_oneof![
            4 => numbers,
            1 => any::<bool>().prop_map(Literal::Boolean),
            1 => Just(Literal::Text("1")),
        ]
        .boxed();
    }
    select(texts).prop_map(Literal::Text).boxed()
}

fn condition(keys: &'static [&'static str]) -> BoxedStrategy<ConditionModel> {
    let fields = [
        ("key", keys, 6),
        ("prefix", &["", "user:", "secret", "team"], 2),
        ("actor.id", &["ann", "bob", "eve"], 1),
        ("actor.meta.role", &["reader", "writer", "admin"], 1),
        ("actor.meta.level", &[], 1),
        ("actor.meta.tags", &["red", "green"], 1),
        ("actor.meta.none", &["x"], 1),
    ];
    let fields = fields.map(|(field, texts, weight)| (weight, condition_on(field, texts).boxed()));
    proptest::strategy::Union::new_weighted(fields.to_vec()).boxed()
}

fn condition_on(
    field: &'static str,
    texts: &'static [&'static str],
) -> impl Strategy<Value = ConditionModel> {
    let operators: Vec<_> = Operator::ALL
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !texts.is_empty() || !name.ends_with("matches"))
        .collect();
    select(operators).prop_flat_map(move |operator| {
        let values = match operator {
            "exists" | "nexists" => Just(Vec::new()).boxed(),
            "in" | "nin" => vec(literal(texts), 1..4).boxed(),
            "matches" | "nmatches" => {
                let patterns: Vec<_> = PATTERNS.iter().map(|(text, _)| *text).collect();
                vec(select(patterns).prop_map(Literal::Text), 1).boxed()
            }
            "contains" | "ncontains" if field == "key" => {
                let parts = vec!["user", "secret", ":", "a", "1"];
                vec(select(parts).prop_map(Literal::Text), 1).boxed()
            }
            "lt" | "gt" | "lte" | "gte" => {
                let has_order = |literal: &Literal| !matches!(literal, Literal::Boolean(_));
                vec(literal(texts).prop_filter("booleans have no order", has_order), 1).boxed()
            }
            _ => vec(literal(texts), 1).boxed(),
        };
        values.prop_map(move |values| ConditionModel { field, operator, values })
    })
}
