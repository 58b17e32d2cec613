//! From Rust to values: serde's `Serializer`.
//!
//! What it makes is a value, or nothing for `None`; whoever is around it decides what nothing means
//! there.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use serde::ser::{self, Serialize};

use super::{NOTHING, Problem, position};
use crate::limits::VALUE_DEPTH_MAX;
use crate::value::{Table, TableKey, Value};

type Made = Result<Option<Value>, Problem>;

/// The value of something; none for `None`.
pub(super) fn value_of<T: Serialize + ?Sized>(given: &T) -> Made {
    given.serialize(Output { depth: 0 })
}

/// A place for one value.
#[derive(Clone, Copy)]
struct Output {
    /// How many tables there are around it.
    depth: usize,
}

impl Output {
    /// A table in this place, for some content.
    fn table(self) -> Result<Content, Problem> {
        let depth = self.depth + 1;
        if depth > VALUE_DEPTH_MAX {
            return Err(Problem::too_deep());
        }
        Ok(Content { table: Table::new(), items: 0, inner: Self { depth }, variant: None })
    }

    /// The table of a variant's content, within the table that names the variant.
    fn variant(self, variant: &'static str) -> Result<Content, Problem> {
        let outer = self.table()?;
        Ok(Content { variant: Some(variant), ..outer.inner.table()? })
    }
}

fn integer(given: impl TryInto<i64> + std::fmt::Display + Copy) -> Made {
    match given.try_into() {
        Ok(integer) => Ok(Some(Value::Integer(integer))),
        Err(_) => Err(Problem::new(format!(
            "{given} is no integer of 64 bits with a sign; keep it as a string"
        ))),
    }
}

impl ser::Serializer for Output {
    type Ok = Option<Value>;
    type Error = Problem;
    type SerializeSeq = List;
    type SerializeTuple = Content;
    type SerializeTupleStruct = Content;
    type SerializeTupleVariant = Content;
    type SerializeMap = Map;
    type SerializeStruct = Content;
    type SerializeStructVariant = Content;

    fn serialize_bool(self, given: bool) -> Made {
        Ok(Some(given.into()))
    }

    fn serialize_i8(self, given: i8) -> Made {
        integer(given)
    }

    fn serialize_i16(self, given: i16) -> Made {
        integer(given)
    }

    fn serialize_i32(self, given: i32) -> Made {
        integer(given)
    }

    fn serialize_i64(self, given: i64) -> Made {
        integer(given)
    }

    fn serialize_i128(self, given: i128) -> Made {
        integer(given)
    }

    fn serialize_u8(self, given: u8) -> Made {
        integer(given)
    }

    fn serialize_u16(self, given: u16) -> Made {
        integer(given)
    }

    fn serialize_u32(self, given: u32) -> Made {
        integer(given)
    }

    fn serialize_u64(self, given: u64) -> Made {
        integer(given)
    }

    fn serialize_u128(self, given: u128) -> Made {
        integer(given)
    }

    fn serialize_f32(self, given: f32) -> Made {
        self.serialize_f64(given.into())
    }

    fn serialize_f64(self, given: f64) -> Made {
        Ok(Some(given.into()))
    }

    fn serialize_char(self, given: char) -> Made {
        self.serialize_str(given.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, given: &str) -> Made {
        Ok(Some(given.into()))
    }

    fn serialize_bytes(self, given: &[u8]) -> Made {
        Ok(Some(given.into()))
    }

    fn serialize_none(self) -> Made {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, given: &T) -> Made {
        given.serialize(self)
    }

    fn serialize_unit(self) -> Made {
        Ok(Some(self.table()?.table.into()))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Made {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Made {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, given: &T) -> Made {
        given.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        given: &T,
    ) -> Made {
        let mut content = self.table()?;
        content.field(variant.into(), given)?;
        if content.table.is_empty() { self.serialize_str(variant) } else { content.finish() }
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, Problem> {
        Ok(List(self.table()?))
    }

    fn serialize_tuple(self, _: usize) -> Result<Content, Problem> {
        self.table()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Content, Problem> {
        self.table()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content, Problem> {
        self.variant(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, Problem> {
        Ok(Map { content: self.table()?, key: None })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Content, Problem> {
        self.table()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content, Problem> {
        self.variant(variant)
    }
}

/// A table that is being filled.
struct Content {
    table: Table,
    /// How many items were given, those that are nothing included.
    items: usize,
    /// The place of what is in the table.
    inner: Output,
    /// The variant whose content the table is.
    variant: Option<&'static str>,
}

impl Content {
    fn value_at<T: Serialize + ?Sized>(&self, key: &TableKey, given: &T) -> Made {
        given.serialize(self.inner).map_err(|problem| self.place(problem.at(key)))
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: TableKey, given: &T) -> Result<(), Problem> {
        if let Some(value) = self.value_at(&key, given)? {
            self.table.insert(key, value);
        }
        Ok(())
    }

    /// The next item; one that is nothing leaves a hole.
    fn item<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        self.items += 1;
        self.field(position(self.items - 1), given)
    }

    fn finish(self) -> Made {
        let table = Value::from(self.table);
        Ok(Some(match self.variant {
            None => table,
            Some(variant) => Table::from_iter([(variant, table)]).into(),
        }))
    }

    /// A problem within the table, seen from where the table stands.
    fn place(&self, problem: Problem) -> Problem {
        match self.variant {
            None => problem,
            Some(variant) => problem.at(&variant.into()),
        }
    }
}

impl ser::SerializeTuple for Content {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        self.item(given)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

impl ser::SerializeTupleStruct for Content {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        self.item(given)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

impl ser::SerializeTupleVariant for Content {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        self.item(given)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

impl ser::SerializeStruct for Content {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        given: &T,
    ) -> Result<(), Problem> {
        self.field(name.into(), given)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

impl ser::SerializeStructVariant for Content {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        given: &T,
    ) -> Result<(), Problem> {
        self.field(name.into(), given)
    }

    fn end(self) -> Made {
        self.finish()
    }
}

/// A list that is being filled. Its length is told by nothing but its items, so each must be there.
struct List(Content);

impl ser::SerializeSeq for List {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        let key = position(self.0.items);
        match self.0.value_at(&key, given)? {
            Some(value) => self.0.table.push(value),
            None => return Err(Problem::new(NOTHING).at(&key)),
        }
        self.0.items += 1;
        Ok(())
    }

    fn end(self) -> Made {
        self.0.finish()
    }
}

/// A map that is being filled.
struct Map {
    content: Content,
    /// The key whose value comes next.
    key: Option<TableKey>,
}

impl ser::SerializeMap for Map {
    type Ok = Option<Value>;
    type Error = Problem;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        let key = key_of(value_of(given))?;
        if self.content.table.get(key.clone()).is_some() {
            return Err(Problem::new("the key occurs twice").at(&key));
        }
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, given: &T) -> Result<(), Problem> {
        let key = self.key.take().expect("serde gives each key before its value");
        self.content.field(key, given)
    }

    fn end(self) -> Made {
        self.content.finish()
    }
}

/// The key that a value is.
fn key_of(made: Made) -> Result<TableKey, Problem> {
    match made? {
        Some(Value::Boolean(boolean)) => Ok(TableKey::Boolean(boolean)),
        Some(Value::Integer(integer)) => Ok(TableKey::Integer(integer)),
        Some(Value::String(string)) => Ok(TableKey::String(string)),
        Some(Value::Float(float)) => {
            TableKey::float(float).ok_or_else(|| Problem::new("NaN can't be a key"))
        }
        Some(Value::Table(_)) => Err(Problem::new("a table can't be a key")),
        None => Err(Problem::new("None can't be a key")),
    }
}
