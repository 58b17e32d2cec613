//! The canonical encoding of values: equal values have equal bytes, and only those.
//!
//! A tag byte, then the content:
//!
//! | tag | value | content |
//! |---|---|---|
//! | 1, 2 | false, true | none |
//! | 3 | integer | signed varint |
//! | 4 | float | 8 bytes, IEEE 754 bits, most significant first; NaN only as `7ff8000000000000` |
//! | 5 | string | length, bytes |
//! | 6 | table | length of the array part, its values; number of other keys, key and value each, in key order |
//!
//! A table key is encoded like the value of its type. The decoder refuses every other form (keys
//! out of order, an array element among the other keys, a padded varint), so bytes that decode are
//! canonical. Both directions keep to [`VALUE_DEPTH_MAX`] and [`VALUE_BYTES_MAX`].
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use super::{Table, TableKey, Value, canonical_bits};
use crate::codec::{DecodeError, Reader, Writer};
use crate::error::{Error, Result};
use crate::limits::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX};

const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_INTEGER: u8 = 3;
const TAG_FLOAT: u8 = 4;
const TAG_STRING: u8 = 5;
const TAG_TABLE: u8 = 6;

/// A value in its canonical encoding: what exists is valid and within the limits.
/// Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoded(Bytes);

impl Encoded {
    /// Encodes a value.
    ///
    /// # Errors
    /// `INVALID` if the value is nested deeper than [`VALUE_DEPTH_MAX`] or its encoding is longer
    /// than [`VALUE_BYTES_MAX`]; `details.limit` tells the limit.
    pub fn new(value: &Value) -> Result<Self> {
        let mut writer = Writer::with_capacity(size_hint(value));
        encode(&mut writer, value, 0)?;
        if writer.len() > VALUE_BYTES_MAX {
            return Err(too_large(writer.len()));
        }
        Ok(Self(writer.finish()))
    }

    /// Takes bytes that must be a canonical encoding.
    ///
    /// # Errors
    /// If they are not, or are over a limit.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        decode_value(bytes.clone())?;
        Ok(Self(bytes))
    }

    /// The same in a buffer of its own, unless it is large: a value that is kept for long should not
    /// keep all that it was read with.
    #[must_use]
    pub fn detached(&self) -> Self {
        if self.0.len() > DETACHED_BYTES_MAX {
            return self.clone();
        }
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The value. Strings share the bytes of the encoding.
    #[must_use]
    pub fn decode(&self) -> Value {
        decode_value(self.0.clone()).expect("an Encoded was checked when it was made")
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The number of bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an encoding is never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<&Value> for Encoded {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Self> {
        Self::new(value)
    }
}

/// Up to how many bytes a value is copied to be alone.
const DETACHED_BYTES_MAX: usize = 64 << 10;

/// Exact for scalars and strings, a guess for tables.
const fn size_hint(value: &Value) -> usize {
    match value {
        Value::Boolean(_) => 1,
        Value::Integer(_) | Value::Float(_) => 11,
        Value::String(s) => s.len() + 11,
        Value::Table(_) => 256,
    }
}

fn too_large(bytes: usize) -> Error {
    Error::invalid(format!(
        "the value is too large: at least {bytes} bytes encoded, the limit is {VALUE_BYTES_MAX}"
    ))
    .with_detail("limit", VALUE_BYTES_MAX)
    .with_detail("actual", bytes)
}

fn encode(writer: &mut Writer, value: &Value, depth: usize) -> Result<()> {
    match value {
        Value::Boolean(false) => writer.byte(TAG_FALSE),
        Value::Boolean(true) => writer.byte(TAG_TRUE),
        Value::Integer(i) => encode_integer(writer, *i),
        Value::Float(x) => encode_float(writer, *x),
        Value::String(s) => encode_string(writer, s),
        Value::Table(table) => encode_table(writer, table, depth + 1)?,
    }
    Ok(())
}

fn encode_integer(writer: &mut Writer, integer: i64) {
    writer.byte(TAG_INTEGER);
    writer.signed(integer);
}

fn encode_float(writer: &mut Writer, float: f64) {
    writer.byte(TAG_FLOAT);
    writer.fixed(canonical_bits(float));
}

fn encode_string(writer: &mut Writer, string: &[u8]) {
    writer.byte(TAG_STRING);
    writer.bytes(string);
}

fn encode_table(writer: &mut Writer, table: &Table, depth: usize) -> Result<()> {
    if depth > VALUE_DEPTH_MAX {
        return Err(Error::invalid(format!(
            "the value is nested too deeply: the limit is {VALUE_DEPTH_MAX} levels of tables"
        ))
        .with_detail("limit", VALUE_DEPTH_MAX));
    }
    writer.byte(TAG_TABLE);
    writer.count(table.array().len());
    for value in table.array() {
        encode(writer, value, depth)?;
        if writer.len() > VALUE_BYTES_MAX {
            return Err(too_large(writer.len()));
        }
    }
    writer.count(table.other().len());
    for (key, value) in table.other() {
        match key {
            TableKey::Boolean(false) => writer.byte(TAG_FALSE),
            TableKey::Boolean(true) => writer.byte(TAG_TRUE),
            TableKey::Integer(i) => encode_integer(writer, *i),
            TableKey::Float(x) => encode_float(writer, *x),
            TableKey::String(s) => encode_string(writer, s),
        }
        encode(writer, value, depth)?;
        if writer.len() > VALUE_BYTES_MAX {
            return Err(too_large(writer.len()));
        }
    }
    Ok(())
}

fn decode_value(bytes: Bytes) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.remaining() > VALUE_BYTES_MAX {
        return Err(reader.error("a value over the limit"));
    }
    let value = decode(&mut reader, 0)?;
    reader.finish("the end of the value")?;
    Ok(value)
}

fn decode(reader: &mut Reader, depth: usize) -> Result<Value, DecodeError> {
    Ok(match reader.byte("a tag")? {
        TAG_FALSE => Value::Boolean(false),
        TAG_TRUE => Value::Boolean(true),
        TAG_INTEGER => Value::Integer(reader.signed("an integer")?),
        TAG_FLOAT => Value::Float(decode_float(reader)?),
        TAG_STRING => Value::String(reader.bytes("a string")?),
        TAG_TABLE => Value::Table(decode_table(reader, depth + 1)?),
        _ => return Err(reader.error("a tag")),
    })
}

fn decode_float(reader: &mut Reader) -> Result<f64, DecodeError> {
    let bits = reader.fixed("a float")?;
    let float = f64::from_bits(bits);
    if canonical_bits(float) == bits { Ok(float) } else { Err(reader.error("a canonical NaN")) }
}

fn decode_table(reader: &mut Reader, depth: usize) -> Result<Table, DecodeError> {
    if depth > VALUE_DEPTH_MAX {
        return Err(reader.error("a table nested too deeply"));
    }
    let mut table = Table::new();
    let array_length = reader.count(1, "the length of an array part")?;
    for _ in 0..array_length {
        table.push(decode(reader, depth)?);
    }
    let other_length = reader.count(2, "the number of other keys")?;
    let mut previous: Option<TableKey> = None;
    for _ in 0..other_length {
        let key = decode_key(reader)?;
        if previous.as_ref().is_some_and(|previous| *previous >= key) {
            return Err(reader.error("table keys in order"));
        }
        let value = decode(reader, depth)?;
        previous = Some(key.clone());
        table.insert(key, value);
    }
    // A key that continues the array part moves there; one that is in it replaces its value.
    if table.array().len() == array_length && table.other().len() == other_length {
        Ok(table)
    } else {
        Err(reader.error("keys that are not of the array part"))
    }
}

fn decode_key(reader: &mut Reader) -> Result<TableKey, DecodeError> {
    Ok(match reader.byte("a table key")? {
        TAG_FALSE => TableKey::Boolean(false),
        TAG_TRUE => TableKey::Boolean(true),
        TAG_INTEGER => TableKey::Integer(reader.signed("an integer key")?),
        TAG_FLOAT => match TableKey::float(decode_float(reader)?) {
            Some(key @ TableKey::Float(_)) => key,
            _ => return Err(reader.error("a float key that is no integer")),
        },
        TAG_STRING => TableKey::String(reader.bytes("a string key")?),
        _ => return Err(reader.error("a table key")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(value: &Value) -> String {
        let encoded = Encoded::new(value).expect("within the limits");
        assert_eq!(Encoded::from_bytes(encoded.as_bytes().clone()).as_ref(), Ok(&encoded));
        assert_eq!(encoded.decode(), *value);
        encoded.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are a format: they may only change together with a format version.
    #[test]
    fn golden_bytes() {
        let mut mixed = Table::new();
        mixed.insert("k", true);
        mixed.insert(2, 1.0);
        mixed.insert(1, "a");
        mixed.insert(-1, 300);
        mixed.insert(TableKey::Float(0.5), Value::table());
        mixed.insert(false, i64::MIN);
        for (value, bytes) in [
            (Value::from(false), "01"),
            (Value::from(true), "02"),
            (Value::from(0), "0300"),
            (Value::from(-1), "0301"),
            (Value::from(64), "038001"),
            (Value::from(i64::MIN), "03ffffffffffffffffff01"),
            (Value::from(1.0), "043ff0000000000000"),
            (Value::from(-0.0), "048000000000000000"),
            (Value::from(f64::INFINITY), "047ff0000000000000"),
            (Value::from(-f64::NAN), "047ff8000000000000"),
            (Value::from(""), "0500"),
            (Value::from(vec![0, 0xff]), "050200ff"),
            (Value::table(), "060000"),
            (
                Value::from(mixed),
                concat!(
                    "06",
                    "02",
                    "050161",
                    "043ff0000000000000",
                    "04",
                    "0103ffffffffffffffffff01",
                    "030103d804",
                    "043fe0000000000000060000",
                    "05016b02"
                ),
            ),
        ] {
            assert_eq!(hex(&value), bytes, "{value:?}");
        }
    }

    #[test]
    fn what_the_encoder_would_not_write_is_refused() {
        for bytes in [
            &[][..],
            &[0],
            &[7],
            &[1, 1],
            &[3, 0x80, 0],
            &[4, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1],
            &[5, 2, b'a'],
            &[6, 0, 1, 3, 2, 1],    // key 1 outside the array part
            &[6, 1, 1, 1, 3, 4, 1], // key 2 after an array of one
            &[6, 1, 1, 1, 3, 2, 1], // key 1 beside an array of one
            &[6, 0, 2, 5, 1, b'b', 1, 5, 1, b'a', 1], // keys out of order
            &[6, 0, 2, 5, 1, b'a', 1, 5, 1, b'a', 1], // a key twice
            &[6, 0, 1, 4, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 1], // the float key 1.0
            &[6, 0, 1, 6, 0, 0, 1], // a table as key
            &[6, 0xff, 0xff, 0xff, 0xff, 0x0f], // a count beyond the input
        ] {
            let result = Encoded::from_bytes(Bytes::copy_from_slice(bytes));
            assert!(result.is_err(), "{bytes:x?} decoded to {result:?}");
        }
    }

    fn nested(depth: usize) -> Value {
        (1..depth).fold(Value::table(), |inner, _| {
            let mut table = Table::new();
            table.push(inner);
            table.into()
        })
    }

    #[test]
    fn depth_and_size_are_limited_exactly() {
        assert!(Encoded::new(&nested(VALUE_DEPTH_MAX)).is_ok());
        let error = Encoded::new(&nested(VALUE_DEPTH_MAX + 1)).expect_err("too deep");
        assert_eq!(error.detail("limit"), Some(&VALUE_DEPTH_MAX.into()));

        let header = 4; // the tag and a length of three bytes
        assert!(Encoded::new(&vec![0; VALUE_BYTES_MAX - header].into()).is_ok());
        let error =
            Encoded::new(&vec![0; VALUE_BYTES_MAX - header + 1].into()).expect_err("too large");
        assert_eq!(error.detail("limit"), Some(&VALUE_BYTES_MAX.into()));
    }
}
