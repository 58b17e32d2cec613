//! Tables: an array part and a part of other keys, always split the same way.
//!
//! Invariant: the array part holds the keys 1 to n; the other part holds neither one of these nor
//! n + 1. So equal tables have equal parts, however they were built. A float key with an integral
//! value is that integer, as in Lua; NaN is no key.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::{Value, write_bytes};

/// A key of a table. Order: booleans, integers, floats, strings; each in its natural order.
#[derive(Clone)]
pub enum TableKey {
    /// True or false.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A float that is neither NaN nor equal to an integer; [`TableKey::float`] makes them.
    Float(f64),
    /// A byte string.
    String(Bytes),
}

impl TableKey {
    /// The key for a float: an integer where the float equals one, none for NaN.
    #[must_use]
    pub fn float(float: f64) -> Option<Self> {
        /// 2^63, the first float above every `i64`.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if float.is_nan() {
            return None;
        }
        if float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float) {
            return Some(Self::Integer(float as i64));
        }
        Some(Self::Float(float))
    }

    /// The step to this key in a path, as Lua writes it: `.name`, `[3]`, `["a b"]`.
    #[must_use]
    pub fn path_step(&self) -> String {
        let name = match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => None,
        };
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match name.filter(|name| is_name(name)) {
            Some(name) => format!(".{name}"),
            None => format!("[{self:?}]"),
        }
    }

    /// Where the key's type stands in the order of keys.
    const fn rank(&self) -> u8 {
        match self {
            Self::Boolean(_) => 0,
            Self::Integer(_) => 1,
            Self::Float(_) => 2,
            Self::String(_) => 3,
        }
    }
}

impl Ord for TableKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for TableKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TableKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TableKey {}

impl fmt::Debug for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Integer(i) => write!(f, "{i}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::String(s) => write_bytes(f, s),
        }
    }
}

impl From<bool> for TableKey {
    fn from(key: bool) -> Self {
        Self::Boolean(key)
    }
}

impl From<i64> for TableKey {
    fn from(key: i64) -> Self {
        Self::Integer(key)
    }
}

impl From<i32> for TableKey {
    fn from(key: i32) -> Self {
        Self::Integer(key.into())
    }
}

impl From<&str> for TableKey {
    fn from(key: &str) -> Self {
        Self::String(Bytes::copy_from_slice(key.as_bytes()))
    }
}

impl From<String> for TableKey {
    fn from(key: String) -> Self {
        Self::String(key.into())
    }
}

impl From<Bytes> for TableKey {
    fn from(key: Bytes) -> Self {
        Self::String(key)
    }
}

/// A table. Inserting and looking up cost O(log n), in the array part O(1).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Table {
    array: Vec<Value>,
    other: BTreeMap<TableKey, Value>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { array: Vec::new(), other: BTreeMap::new() }
    }

    /// Sets a key to a value, replacing the one it had.
    ///
    /// # Panics
    /// If the key is NaN.
    pub fn insert(&mut self, key: impl Into<TableKey>, value: impl Into<Value>) {
        let value = value.into();
        let key = match key.into() {
            TableKey::Float(float) => TableKey::float(float).expect("NaN is no table key"),
            key => key,
        };
        if let TableKey::Integer(i) = key
            && let Ok(position) = usize::try_from(i)
            && position >= 1
        {
            match position.cmp(&(self.array.len() + 1)) {
                Ordering::Less => self.array[position - 1] = value,
                Ordering::Equal => self.push(value),
                Ordering::Greater => {
                    self.other.insert(key, value);
                }
            }
            return;
        }
        self.other.insert(key, value);
    }

    /// Appends a value to the array part, and takes over the keys that now follow it.
    pub fn push(&mut self, value: impl Into<Value>) {
        self.array.push(value.into());
        while !self.other.is_empty() {
            let next = i64::try_from(self.array.len() + 1).expect("a table fits in memory");
            match self.other.remove(&TableKey::Integer(next)) {
                Some(value) => self.array.push(value),
                None => break,
            }
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: impl Into<TableKey>) -> Option<&Value> {
        let key = key.into();
        if let TableKey::Integer(i) = key
            && let Ok(position) = usize::try_from(i)
            && (1..=self.array.len()).contains(&position)
        {
            return self.array.get(position - 1);
        }
        self.other.get(&key)
    }

    /// The array part: the values of keys 1 to n.
    #[must_use]
    pub fn array(&self) -> &[Value] {
        &self.array
    }

    /// The keys beside the array part with their values, in the order of [`TableKey`].
    pub fn other(&self) -> impl ExactSizeIterator<Item = (&TableKey, &Value)> {
        self.other.iter()
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.array.len() + self.other.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let mut separator = "";
        for value in &self.array {
            write!(f, "{separator}{value:?}")?;
            separator = ", ";
        }
        for (key, value) in &self.other {
            write!(f, "{separator}[{key:?}] = {value:?}")?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl<K: Into<TableKey>, V: Into<Value>> FromIterator<(K, V)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut table = Self::new();
        for (key, value) in pairs {
            table.insert(key, value);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tables_are_equal_in_whatever_order_they_were_built() {
        let forward: Table = (1..=5).map(|i| (i, i)).collect();
        let backward: Table = (1..=5).rev().map(|i| (i, i)).collect();
        assert_eq!(forward, backward);
        assert_eq!(backward.array().len(), 5);
        assert_eq!(backward.other().len(), 0);
    }

    #[test]
    fn integral_float_keys_are_integers_and_nan_is_none() {
        assert_eq!(TableKey::float(2.0), Some(TableKey::Integer(2)));
        assert_eq!(TableKey::float(-0.0), Some(TableKey::Integer(0)));
        assert_eq!(TableKey::float(f64::NAN), None);
        for float in [0.5, f64::INFINITY, 9.3e18, -9.3e18] {
            assert!(matches!(TableKey::float(float), Some(TableKey::Float(_))), "{float}");
        }
        assert_eq!(
            TableKey::float(-9_223_372_036_854_775_808.0),
            Some(TableKey::Integer(i64::MIN))
        );
    }
}
