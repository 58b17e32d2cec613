//! From values to Rust: serde's `Deserializer`.
//!
//! Values tell their types, so most types ask and are told. Those that stand for something else are
//! read here: options, variants, tuples with holes, floats that were written as integers.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Problem, position};
use crate::limits::VALUE_DEPTH_MAX;
use crate::value::{Table, TableKey, Value};

/// A value, a key, or nothing, to be read.
#[derive(Clone, Copy)]
pub(super) struct Input<'de> {
    given: Given<'de>,
    /// How many tables there are around it.
    depth: usize,
}

#[derive(Clone, Copy)]
enum Given<'de> {
    /// Where a tuple has a hole, and the content of a variant that is only named.
    Nothing,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(&'de [u8]),
    Table(&'de Table),
}

impl<'de> From<&'de Value> for Given<'de> {
    fn from(value: &'de Value) -> Self {
        match value {
            Value::Boolean(boolean) => Self::Boolean(*boolean),
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Float(float) => Self::Float(*float),
            Value::String(bytes) => Self::String(bytes),
            Value::Table(table) => Self::Table(table),
        }
    }
}

impl<'de> From<&'de TableKey> for Given<'de> {
    fn from(key: &'de TableKey) -> Self {
        match key {
            TableKey::Boolean(boolean) => Self::Boolean(*boolean),
            TableKey::Integer(integer) => Self::Integer(*integer),
            TableKey::Float(float) => Self::Float(*float),
            TableKey::String(bytes) => Self::String(bytes),
        }
    }
}

impl<'de> Input<'de> {
    pub(super) fn new(value: &'de Value) -> Self {
        Self { given: value.into(), depth: 0 }
    }

    /// The table that is here, and how to read what is in it; an error that says what was expected
    /// if it is none.
    fn table(self, expected: &dyn de::Expected) -> Result<(&'de Table, Inner), Problem> {
        match self.given {
            Given::Table(_) if self.depth >= VALUE_DEPTH_MAX => Err(Problem::too_deep()),
            Given::Table(table) => Ok((table, Inner { depth: self.depth + 1 })),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn unexpected(self, expected: &dyn de::Expected) -> Problem {
        let unexpected = match self.given {
            Given::Nothing => return Problem::new("nothing is here"),
            Given::Boolean(boolean) => Unexpected::Bool(boolean),
            Given::Integer(integer) => Unexpected::Signed(integer),
            Given::Float(float) => Unexpected::Float(float),
            Given::String(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Unexpected::Str(text),
                Err(_) => Unexpected::Bytes(bytes),
            },
            Given::Table(_) => Unexpected::Other("table"),
        };
        Problem::invalid_type(unexpected, expected)
    }

    fn list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let (table, inner) = self.table(&visitor)?;
        if let Some((key, _)) = table.other().next() {
            let key = key.path_step();
            return Err(Problem::new(format!("a list has no key but its positions, and no {key}")));
        }
        visitor.visit_seq(Items { table, inner, next: 0, count: table.array().len() })
    }

    /// Items of which there are so many; one that is not there is nothing.
    fn items<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Problem> {
        let (table, inner) = self.table(&visitor)?;
        let last = i64::try_from(count).unwrap_or(i64::MAX);
        let is_position =
            |key: &TableKey| matches!(key, TableKey::Integer(i) if (1..=last).contains(i));
        if let Some((key, _)) = table.other().find(|(key, _)| !is_position(key)) {
            let key = key.path_step();
            return Err(Problem::new(format!("{count} items have no key {key}")));
        }
        if table.array().len() > count {
            return Err(Problem::invalid_length(table.array().len(), &visitor));
        }
        visitor.visit_seq(Items { table, inner, next: 0, count })
    }

    fn map<V: Visitor<'de>>(self, are_fields: bool, visitor: V) -> Result<V::Value, Problem> {
        let (table, inner) = self.table(&visitor)?;
        let array = table.array().iter().enumerate().map(|(index, value)| {
            let key = position(index);
            Pair { given: Given::Integer(index as i64 + 1), key, value }
        });
        let other = table.other().map(|(key, value)| Pair {
            given: Given::from(key),
            key: key.clone(),
            value,
        });
        let pairs = array.chain(other);
        visitor.visit_map(Pairs { pairs, inner, are_fields, value: None, left: table.len() })
    }
}

impl<'de> Deserializer<'de> for Input<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.given {
            Given::Nothing => Err(self.unexpected(&visitor)),
            Given::Boolean(boolean) => visitor.visit_bool(boolean),
            Given::Integer(integer) => visitor.visit_i64(integer),
            Given::Float(float) => visitor.visit_f64(float),
            Given::String(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => visitor.visit_borrowed_bytes(bytes),
            },
            Given::Table(table) if table.other().len() == 0 => self.list(visitor),
            Given::Table(_) => self.map(false, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 char str string identifier
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_any(visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_any(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let exact = match self.given {
            Given::Integer(integer) => {
                let float = integer as f32;
                (float as i128 == i128::from(integer)).then_some(float)
            }
            Given::Float(float) => {
                let narrow = float as f32;
                (f64::from(narrow) == float || float.is_nan()).then_some(narrow)
            }
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_f32(exact.ok_or_else(|| self.unexpected(&"a float of 32 bits"))?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let Given::Integer(integer) = self.given else {
            return self.deserialize_any(visitor);
        };
        let float = integer as f64;
        if float as i128 != i128::from(integer) {
            return Err(self.unexpected(&"a float of 64 bits"));
        }
        visitor.visit_f64(float)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.given {
            Given::String(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.given {
            Given::Nothing => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.given {
            Given::Table(table) if table.is_empty() => visitor.visit_unit(),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.items(count, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.items(count, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.map(false, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.map(true, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let (name, content) = match self.given {
            Given::String(_) => (self, Self { given: Given::Nothing, ..self }),
            Given::Table(_) => {
                let (table, inner) = self.table(&visitor)?;
                let mut pairs = table.other();
                match (pairs.next(), table.len()) {
                    (Some((key, content)), 1) => {
                        (inner.read(key.into()), inner.read(content.into()))
                    }
                    _ => return Err(Problem::new(NO_VARIANT)),
                }
            }
            _ => return Err(self.unexpected(&visitor)),
        };
        visitor.visit_enum(Variant { name, content })
    }

    /// Passes over whatever is here, however deep it is.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }
}

/// Reads what is in a table.
#[derive(Clone, Copy)]
struct Inner {
    depth: usize,
}

impl Inner {
    const fn read(self, given: Given<'_>) -> Input<'_> {
        Input { given, depth: self.depth }
    }
}

/// The items of a table.
struct Items<'de> {
    table: &'de Table,
    inner: Inner,
    next: usize,
    count: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        if self.next == self.count {
            return Ok(None);
        }
        let key = position(self.next);
        self.next += 1;
        let given = self.table.get(key.clone()).map_or(Given::Nothing, Given::from);
        seed.deserialize(self.inner.read(given)).map(Some).map_err(|problem| problem.at(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.count - self.next)
    }
}

/// A key of a table and its value.
struct Pair<'de> {
    given: Given<'de>,
    key: TableKey,
    value: &'de Value,
}

/// The keys of a table with their values.
struct Pairs<'de, I> {
    pairs: I,
    inner: Inner,
    /// Whether the keys name the fields of a struct.
    are_fields: bool,
    /// The value that comes next, and its key.
    value: Option<(TableKey, &'de Value)>,
    left: usize,
}

impl<'de, I: Iterator<Item = Pair<'de>>> MapAccess<'de> for Pairs<'de, I> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let Some(Pair { given, key, value }) = self.pairs.next() else {
            return Ok(None);
        };
        self.left -= 1;
        let read = match given {
            // A number would be taken for the place of a field.
            Given::Boolean(_) | Given::Integer(_) | Given::Float(_) if self.are_fields => {
                seed.deserialize(key.path_step().into_deserializer())
            }
            _ => seed.deserialize(self.inner.read(given)).map_err(|problem| problem.at(&key)),
        };
        self.value = Some((key, value));
        read.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (key, value) = self.value.take().expect("serde asks for each key before its value");
        seed.deserialize(self.inner.read(value.into())).map_err(|problem| problem.at(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant by its name, with its content.
struct Variant<'de> {
    name: Input<'de>,
    content: Input<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        Ok((seed.deserialize(self.name)?, self))
    }
}

impl<'de> Variant<'de> {
    /// Reads the content, which stands under the name of the variant.
    fn read<T>(self, read: impl FnOnce(Input<'de>) -> Result<T, Problem>) -> Result<T, Problem> {
        let Given::String(name) = self.name.given else { return read(self.content) };
        let step = TableKey::String(bytes::Bytes::copy_from_slice(name));
        read(self.content).map_err(|problem| problem.at(&step))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        match self.content.given {
            Given::Nothing => Ok(()),
            _ => self.read(|content| Err(content.unexpected(&"nothing"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        self.read(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Problem> {
        self.read(|content| content.items(count, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.read(|content| content.map(true, visitor))
    }
}

const NO_VARIANT: &str = "a variant is its name, or a table whose one key is its name";
