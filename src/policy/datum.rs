//! What a field of a condition holds, and how it is compared with what the policy names.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::value::{Table, Value};

/// A value, borrowed from wherever it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Datum<'a> {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Bytes(&'a [u8]),
    Table(&'a Table),
}

impl<'a> From<&'a Value> for Datum<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Boolean(boolean) => Self::Boolean(*boolean),
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Float(float) => Self::Float(*float),
            Value::String(bytes) => Self::Bytes(bytes),
            Value::Table(table) => Self::Table(table),
        }
    }
}

impl Datum<'_> {
    /// Whether both are the same boolean, number or string. Tables equal nothing.
    pub(super) fn equals(self, other: &Value) -> bool {
        match (self, other) {
            (Self::Boolean(a), Value::Boolean(b)) => a == *b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two numbers, or of two strings by their bytes; none of anything else.
    pub(super) fn order(self, other: &Value) -> Option<Ordering> {
        match (self, Datum::from(other)) {
            (Self::Bytes(a), Datum::Bytes(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Datum::Integer(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Datum::Float(b)) => a.partial_cmp(&b),
            (Self::Integer(a), Datum::Float(b)) => order_exactly(a, b),
            (Self::Float(a), Datum::Integer(b)) => order_exactly(b, a).map(Ordering::reverse),
            _ => None,
        }
    }

    /// Whether a string has the other as a part, or the array part of a table as an item.
    pub(super) fn contains(self, part: &Value) -> bool {
        match (self, part) {
            (Self::Table(table), part) => {
                table.array().iter().any(|item| Datum::from(item).equals(part))
            }
            (Self::Bytes(bytes), Value::String(part)) => {
                part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
            }
            _ => false,
        }
    }

    /// The text of a string, with U+FFFD for what is not UTF-8; none for anything else.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        if let Self::Bytes(bytes) = self { Some(String::from_utf8_lossy(bytes)) } else { None }
    }
}

/// The order of an integer and a float by their exact values: neither is rounded to the other.
fn order_exactly(integer: i64, float: f64) -> Option<Ordering> {
    /// 2^63, the first float above every `i64`.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= LIMIT {
        return Some(Ordering::Less);
    }
    if float < -LIMIT {
        return Some(Ordering::Greater);
    }
    let floor = float.floor();
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the limits")]
    let whole = floor as i64;
    let order = integer.cmp(&whole);
    Some(if order == Ordering::Equal && float > floor { Ordering::Less } else { order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_their_exact_values() {
        use Ordering::{Equal, Greater, Less};
        for (integer, float, order) in [
            (1, 1.0, Some(Equal)),
            (1, 1.5, Some(Less)),
            (2, 1.5, Some(Greater)),
            (-1, -1.5, Some(Greater)),
            (-2, -1.5, Some(Less)),
            (0, -0.0, Some(Equal)),
            (i64::MAX, 9_223_372_036_854_775_807.0, Some(Less)),
            (i64::MIN, -9_223_372_036_854_775_808.0, Some(Equal)),
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Some(Greater)),
            (0, f64::INFINITY, Some(Less)),
            (0, f64::NEG_INFINITY, Some(Greater)),
            (0, f64::NAN, None),
        ] {
            let (a, b) = (Value::from(integer), Value::from(float));
            assert_eq!(Datum::from(&a).order(&b), order, "{integer} {float}");
            assert_eq!(
                Datum::from(&b).order(&a),
                order.map(Ordering::reverse),
                "{float} {integer}"
            );
        }
    }
}
