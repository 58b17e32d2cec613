//! Values in any format of serde, and out of it.
//!
//! A format says what it can: JSON has no byte strings, and names members by strings only. Null, where
//! a format has it, is an absent key or a hole, and no value by itself.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{NOTHING, position};
use crate::value::{Table, TableKey, Value};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            Self::Float(float) => serializer.serialize_f64(*float),
            Self::String(bytes) => serialize_string(bytes, serializer),
            Self::Table(table) => table.serialize(serializer),
        }
    }
}

/// A list if it has nothing but an array part, else a map.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.other().len() == 0 && !self.is_empty() {
            return serializer.collect_seq(self.array());
        }
        let array = self.array().iter().enumerate().map(|(index, value)| (position(index), value));
        let other = self.other().map(|(key, value)| (key.clone(), value));
        serializer.collect_map(array.chain(other))
    }
}

impl Serialize for TableKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            Self::Float(float) => serializer.serialize_f64(*float),
            Self::String(bytes) => serialize_string(bytes, serializer),
        }
    }
}

fn serialize_string<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.serialize_bytes(bytes),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Maybe(value) = Maybe::deserialize(deserializer)?;
        value.ok_or_else(|| de::Error::custom(NOTHING))
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Table(table) => Ok(table),
            other => Err(de::Error::invalid_type(Unexpected::Other(other.type_name()), &"a table")),
        }
    }
}

impl<'de> Deserialize<'de> for TableKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = match Value::deserialize(deserializer)? {
            Value::Boolean(boolean) => Some(Self::Boolean(boolean)),
            Value::Integer(integer) => Some(Self::Integer(integer)),
            Value::Float(float) => Self::float(float),
            Value::String(bytes) => Some(Self::String(bytes)),
            Value::Table(_) => None,
        };
        key.ok_or_else(|| de::Error::custom("NaN or a table can't be a key"))
    }
}

/// A value, or null.
struct Maybe(Option<Value>);

impl<'de> Deserialize<'de> for Maybe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor).map(Self)
    }
}

struct MaybeVisitor;

type Read<E> = Result<Option<Value>, E>;

impl<'de> Visitor<'de> for MaybeVisitor {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, an integer of 64 bits with a sign, a float, a string or a table")
    }

    fn visit_bool<E>(self, given: bool) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_i64<E>(self, given: i64) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_u64<E: de::Error>(self, given: u64) -> Read<E> {
        match i64::try_from(given) {
            Ok(integer) => Ok(Some(integer.into())),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(given), &self)),
        }
    }

    fn visit_f64<E>(self, given: f64) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_str<E>(self, given: &str) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_string<E>(self, given: String) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_bytes<E>(self, given: &[u8]) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_byte_buf<E>(self, given: Vec<u8>) -> Read<E> {
        Ok(Some(given.into()))
    }

    fn visit_none<E>(self) -> Read<E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Read<E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Read<D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Read<D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Read<A::Error> {
        let mut table = Table::new();
        for index in 0.. {
            match items.next_element()? {
                Some(Maybe(Some(value))) => table.insert(position(index), value),
                Some(Maybe(None)) => {}
                None => break,
            }
        }
        Ok(Some(table.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Read<A::Error> {
        let mut table = Table::new();
        while let Some((key, Maybe(value))) = members.next_entry::<TableKey, Maybe>()? {
            if let Some(value) = value {
                table.insert(key, value);
            }
        }
        Ok(Some(table.into()))
    }
}
