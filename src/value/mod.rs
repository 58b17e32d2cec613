//! Values: trees of booleans, integers, floats, byte strings and tables, kept exactly.
//!
//! What goes in comes out: an integer stays an integer and a float a float (`1.0` is not `1`), a
//! byte string keeps every byte, a table keeps every key. Each value has one canonical encoding
//! (see [`encoding`]); two values are equal exactly if their encodings are.
//!
//! Invariants: every NaN is the canonical NaN; `-0.0` is kept; a [`Table`] holds its array part
//! (keys 1 to n without a gap, n as large as possible) apart from its other keys.
//!
//! No `nil`: absence is the absence of a key. No limits here: depth and size are checked where a
//! value is encoded, because only there they are known.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod encoding;
mod table;
#[cfg(feature = "serde")]
mod typed;

use std::fmt;

use bytes::Bytes;

pub use encoding::Encoded;
pub use table::{Table, TableKey};
#[cfg(feature = "serde")]
pub use typed::{from_value, to_value};

/// A value of an entry.
#[derive(Clone)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float; infinities and NaN included.
    Float(f64),
    /// A byte string, UTF-8 or not.
    String(Bytes),
    /// A table: an array part and any other keys.
    Table(Table),
}

/// The bit pattern of the canonical NaN.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// The bits of a float, with every NaN in its canonical form.
#[must_use]
pub(crate) fn canonical_bits(float: f64) -> u64 {
    if float.is_nan() { NAN_BITS } else { float.to_bits() }
}

impl Value {
    /// The empty table.
    #[must_use]
    pub fn table() -> Self {
        Self::Table(Table::new())
    }

    /// The name of the value's type: `boolean`, `integer`, `float`, `string` or `table`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "boolean",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::String(_) => "string",
            Self::Table(_) => "table",
        }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Boolean(b) = self { Some(*b) } else { None }
    }

    /// The integer, if it is one (a float is not, whatever its value).
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(i) = self { Some(*i) } else { None }
    }

    /// The float, if it is one.
    #[must_use]
    pub const fn as_float(&self) -> Option<f64> {
        if let Self::Float(f) = self { Some(*f) } else { None }
    }

    /// The bytes of the string, if it is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::String(s) = self { Some(s) } else { None }
    }

    /// The string as text, if it is one and is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The table, if it is one.
    #[must_use]
    pub const fn as_table(&self) -> Option<&Table> {
        if let Self::Table(t) = self { Some(t) } else { None }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => canonical_bits(*a) == canonical_bits(*b),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// Prints values as Lua would write them.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Integer(i) => write!(f, "{i}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::String(s) => write_bytes(f, s),
            Self::Table(t) => write!(f, "{t:?}"),
        }
    }
}

/// Writes a byte string in double quotes with Lua's escapes.
fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str("\"")
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

/// A count; one beyond `i64::MAX` cannot occur and saturates.
impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(Bytes::copy_from_slice(value.as_bytes()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::String(Bytes::copy_from_slice(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::String(value.into())
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::String(value)
    }
}

impl From<Table> for Value {
    fn from(value: Table) -> Self {
        Self::Table(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_equal_by_bits_and_never_equal_integers() {
        assert_ne!(Value::from(0.0), Value::from(-0.0));
        assert_ne!(Value::from(1.0), Value::from(1));
        assert_eq!(Value::from(f64::NAN), Value::from(-f64::NAN));
    }

    #[test]
    fn debug_prints_lua() {
        let mut table = Table::new();
        table.insert(1, "a\"b\n");
        table.insert("k", 1.0);
        table.insert(7, vec![0xff, b'x']);
        let text = format!("{:?}", Value::from(table));
        assert_eq!(text, r#"{"a\"b\n", [7] = "\xffx", ["k"] = 1.0}"#);
    }
}
