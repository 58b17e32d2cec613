//! Conditions: a field, an operator, and what the field is compared with.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use regex_lite::Regex;

use super::datum::Datum;
use super::{Actor, Subject};
use crate::error::{Error, Result};
use crate::limits::POLICY_PATTERN_BYTES_MAX;
use crate::value::Value;

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `key`: the key, of permissions that are about one.
    Key,
    /// `prefix`: the prefix, of `store.key.list`.
    Prefix,
    /// `actor.id`: the actor's id, unless it is anonymous.
    ActorId,
    /// `actor.meta.NAME`: what is known about the actor; further names reach into tables.
    ActorMeta(Vec<String>),
}

impl Field {
    /// The fields as a configuration writes them, for messages.
    pub const FORMS: [&'static str; 4] = ["key", "prefix", "actor.id", "actor.meta.NAME"];

    /// Parses a field; none if there is none of that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "key" => Some(Self::Key),
            "prefix" => Some(Self::Prefix),
            "actor.id" => Some(Self::ActorId),
            _ => {
                let path: Vec<_> =
                    text.strip_prefix("actor.meta.")?.split('.').map(str::to_owned).collect();
                path.iter().all(|name| !name.is_empty()).then_some(Self::ActorMeta(path))
            }
        }
    }

    /// The field as a configuration writes it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Key => "key".to_owned(),
            Self::Prefix => "prefix".to_owned(),
            Self::ActorId => "actor.id".to_owned(),
            Self::ActorMeta(path) => format!("actor.meta.{}", path.join(".")),
        }
    }

    /// Whether it holds a string wherever it is there at all.
    const fn is_text(&self) -> bool {
        !matches!(self, Self::ActorMeta(_))
    }
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it, and docs/permissions.md at length")]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Gt,
    Lte,
    Gte,
    In,
    Nin,
    Exists,
    Nexists,
    Contains,
    Ncontains,
    Matches,
    Nmatches,
}

impl Operator {
    /// The operators with their names, in the order of the documentation.
    pub const ALL: [(&'static str, Self); 14] = [
        ("eq", Self::Eq),
        ("ne", Self::Ne),
        ("lt", Self::Lt),
        ("gt", Self::Gt),
        ("lte", Self::Lte),
        ("gte", Self::Gte),
        ("in", Self::In),
        ("nin", Self::Nin),
        ("exists", Self::Exists),
        ("nexists", Self::Nexists),
        ("contains", Self::Contains),
        ("ncontains", Self::Ncontains),
        ("matches", Self::Matches),
        ("nmatches", Self::Nmatches),
    ];

    /// The operator of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    /// The name of the operator.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, known)| *known == self);
        named.map(|(name, _)| *name).expect("all operators are in the list")
    }

    /// Whether it is true exactly when its counterpart is false.
    const fn is_negated(self) -> bool {
        matches!(self, Self::Ne | Self::Nin | Self::Nexists | Self::Ncontains | Self::Nmatches)
    }
}

/// What a field is compared with: booleans, numbers and strings.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Nothing: of `exists` and `nexists`.
    None,
    /// One value: of most operators.
    One(Value),
    /// Several: of `in` and `nin`.
    Many(Vec<Value>),
}

/// A condition of a policy.
#[derive(Clone, Debug)]
pub struct PolicyCondition {
    field: Field,
    operator: Operator,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Equal(Value),
    Less(Value),
    Greater(Value),
    AtMost(Value),
    AtLeast(Value),
    OneOf(Vec<Value>),
    Contains(Value),
    Matches(Regex),
}

impl PolicyCondition {
    /// Makes a condition.
    ///
    /// # Errors
    /// `INVALID` if the operator takes another operand: none, several or one; a string for a field
    /// that holds strings; a number or string for an order; a regular expression.
    pub fn new(field: Field, operator: Operator, operand: Operand) -> Result<Self> {
        check_types(&field, operator, &operand)?;
        let test = match (operator, operand) {
            (Operator::Exists | Operator::Nexists, Operand::None) => Test::Exists,
            (Operator::In | Operator::Nin, Operand::Many(values)) => Test::OneOf(values),
            (Operator::Eq | Operator::Ne, Operand::One(value)) => Test::Equal(value),
            (Operator::Lt, Operand::One(value)) => Test::Less(value),
            (Operator::Gt, Operand::One(value)) => Test::Greater(value),
            (Operator::Lte, Operand::One(value)) => Test::AtMost(value),
            (Operator::Gte, Operand::One(value)) => Test::AtLeast(value),
            (Operator::Contains | Operator::Ncontains, Operand::One(value)) => {
                Test::Contains(value)
            }
            (Operator::Matches | Operator::Nmatches, Operand::One(value)) => {
                Test::Matches(regular_expression(&value)?)
            }
            (Operator::Exists | Operator::Nexists, _) => {
                return Err(Error::invalid("the operator takes no value; remove it"));
            }
            (_, Operand::None) => {
                return Err(Error::invalid("the operator needs a value; add one"));
            }
            (_, Operand::One(_)) => {
                return Err(Error::invalid("the operator takes a list of values; write [a, b]"));
            }
            (_, Operand::Many(_)) => {
                return Err(Error::invalid(
                    "the operator takes one value; write in or nin for more",
                ));
            }
        };
        Ok(Self { field, operator, test })
    }

    /// What it looks at.
    #[must_use]
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// How it compares.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with.
    #[must_use]
    pub fn operand(&self) -> Operand {
        match &self.test {
            Test::Exists => Operand::None,
            Test::OneOf(values) => Operand::Many(values.clone()),
            Test::Equal(value)
            | Test::Less(value)
            | Test::Greater(value)
            | Test::AtMost(value)
            | Test::AtLeast(value)
            | Test::Contains(value) => Operand::One(value.clone()),
            Test::Matches(pattern) => Operand::One(pattern.as_str().into()),
        }
    }

    /// Whether it may hold for an actor: a condition on the actor is decided by that.
    pub(super) fn may_hold_for(&self, actor: &Actor) -> bool {
        match &self.field {
            Field::Key | Field::Prefix => true,
            Field::ActorId => {
                let id = Some(actor.id()).filter(|id| !id.is_empty());
                self.holds(id.map(|id| Datum::Bytes(id.as_bytes())))
            }
            Field::ActorMeta(path) => self.holds(actor.meta(path).map(Datum::from)),
        }
    }

    /// Whether it holds for what a question is about, for an actor for whom it may hold. None if
    /// that depends on a key that is not known yet.
    pub(super) fn holds_for(&self, subject: Subject<'_>) -> Option<bool> {
        let datum = match (&self.field, subject) {
            (Field::ActorId | Field::ActorMeta(_), _) => return Some(true),
            (Field::Key, Subject::SomeKey) if !matches!(self.test, Test::Exists) => return None,
            (Field::Key, Subject::SomeKey) => Some(Datum::Bytes(b"")),
            (Field::Key, Subject::Key(key)) => Some(Datum::Bytes(key.as_bytes())),
            (Field::Prefix, Subject::Prefix(prefix)) => Some(Datum::Bytes(prefix)),
            (Field::Key | Field::Prefix, _) => None,
        };
        Some(self.holds(datum))
    }

    fn holds(&self, datum: Option<Datum<'_>>) -> bool {
        datum.is_some_and(|datum| self.test.passes(datum)) != self.operator.is_negated()
    }
}

impl Test {
    fn passes(&self, datum: Datum<'_>) -> bool {
        match self {
            Self::Exists => true,
            Self::Equal(value) => datum.equals(value),
            Self::Less(value) => datum.order(value).is_some_and(|order| order.is_lt()),
            Self::Greater(value) => datum.order(value).is_some_and(|order| order.is_gt()),
            Self::AtMost(value) => datum.order(value).is_some_and(|order| order.is_le()),
            Self::AtLeast(value) => datum.order(value).is_some_and(|order| order.is_ge()),
            Self::OneOf(values) => values.iter().any(|value| datum.equals(value)),
            Self::Contains(part) => datum.contains(part),
            Self::Matches(pattern) => datum.text().is_some_and(|text| pattern.is_match(&text)),
        }
    }
}

/// Refuses values with which the condition could never hold.
fn check_types(field: &Field, operator: Operator, operand: &Operand) -> Result<()> {
    use Operator::{Gt, Gte, Lt, Lte, Matches, Nmatches};
    let values = match operand {
        Operand::None => &[],
        Operand::One(value) => std::slice::from_ref(value),
        Operand::Many(values) => values.as_slice(),
    };
    for value in values {
        let is_text = value.as_str().is_some();
        if !is_text && (field.is_text() || matches!(operator, Matches | Nmatches)) {
            return Err(Error::invalid(format!("{value:?} is no string; put it in quotes")));
        }
        let has_order = is_text || matches!(value, Value::Integer(_) | Value::Float(_));
        if !has_order && matches!(operator, Lt | Gt | Lte | Gte) {
            return Err(Error::invalid(format!(
                "{value:?} has no order; write a number or string"
            )));
        }
    }
    Ok(())
}

fn regular_expression(pattern: &Value) -> Result<Regex> {
    let pattern = pattern.as_str().unwrap_or_default();
    if pattern.len() > POLICY_PATTERN_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the regular expression has {} bytes, the limit is {POLICY_PATTERN_BYTES_MAX}; \
             shorten it",
            pattern.len()
        ))
        .with_detail("limit", POLICY_PATTERN_BYTES_MAX)
        .with_detail("actual", pattern.len()));
    }
    Regex::new(pattern).map_err(|error| {
        Error::invalid(format!("{pattern:?} is no regular expression: {error}; correct it"))
    })
}
