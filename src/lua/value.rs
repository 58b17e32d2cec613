//! Values between Lua and the engine.
//!
//! What comes in is copied whole and raw: no metamethod runs, so a table is what `next` shows. What
//! goes out is built anew at every call. So the script's table and the stored value never alias.
//!
//! A table that occurs twice is copied twice. Sizes are counted while the value is walked, so a
//! small table that stands for an exponential tree ends at the limit, not with the memory. The walk
//! copies a table's scalars first and then its tables, one after the other, outside the call that
//! iterates: nesting costs Rust's stack only, bounded by the depth limit, and not Lua's.

use mlua::{Either, IntoLua, Lua, Table as LuaTable, Value as LuaValue};

use super::call::Refusal;
use super::errors::type_of;
use crate::error::Error;
use crate::limits::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::value::{Table, TableKey, Value};

/// What a value is copied for.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    /// Deepest nesting of tables; a scalar has depth 0.
    pub(super) depth_max: usize,
    /// Most bytes, in the least that the canonical encoding can take.
    pub(super) bytes_max: usize,
    /// What is done with the value, as messages say it: `a function can't be stored`.
    pub(super) participle: &'static str,
}

impl Purpose {
    /// A value of a store.
    pub(super) const STORE: Self =
        Self { depth_max: VALUE_DEPTH_MAX, bytes_max: VALUE_BYTES_MAX, participle: "stored" };
}

/// Copies a value out of Lua. `name` is what messages call it.
///
/// # Errors
/// `INVALID`, naming the path, for what is no value, a cycle, or beyond the limits.
pub(super) fn from_lua(name: &str, value: &LuaValue, purpose: Purpose) -> Result<Value, Refusal> {
    let mut walk = Walk { purpose, bytes: 0, ancestors: Vec::new() };
    walk.value(value).map_err(|fault| match fault {
        Fault::Refused { path, problem, details } => {
            let path: String = path.into_iter().rev().collect();
            let path = if path.len() > PATH_BYTES_SHOWN {
                let end = path.floor_char_boundary(PATH_BYTES_SHOWN);
                format!("{}...", &path[..end])
            } else {
                path
            };
            let mut error = Error::invalid(format!("{name}{path}: {problem}"));
            for (name, value) in details {
                error = error.with_detail(name, value);
            }
            error.into()
        }
        Fault::Lua(error) => error.into(),
    })
}

/// A value on its way into Lua. Text is pushed as it is: a [`Push`] would first make a handle on the
/// Lua string, which costs more than the string.
pub(super) fn pushed(value: &Value) -> Either<&str, Push<'_>> {
    value.as_str().map_or(Either::Right(Push(value)), Either::Left)
}

/// A reference that is copied into Lua when it is pushed.
pub(super) struct Push<'a>(&'a Value);

impl IntoLua for Push<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<LuaValue> {
        Ok(match self.0 {
            Value::Boolean(boolean) => LuaValue::Boolean(*boolean),
            Value::Integer(integer) => LuaValue::Integer(*integer),
            Value::Float(float) => LuaValue::Number(*float),
            Value::String(bytes) => LuaValue::String(lua.create_string(bytes)?),
            Value::Table(table) => LuaValue::Table(push_table(lua, table)?),
        })
    }
}

/// Copies a value into Lua.
pub(super) fn into_lua(lua: &Lua, value: Value) -> mlua::Result<LuaValue> {
    Push(&value).into_lua(lua)
}

fn push_table(lua: &Lua, table: &Table) -> mlua::Result<LuaTable> {
    let other = table.other().map(|(key, value)| (pushed_key(key), pushed(value)));
    if table.array().is_empty() {
        return lua.create_table_from(other);
    }
    let target = lua.create_sequence_from(table.array().iter().map(pushed))?;
    for (key, value) in other {
        target.raw_set(key, value)?;
    }
    Ok(target)
}

fn pushed_key(key: &TableKey) -> Either<&str, PushKey<'_>> {
    match key {
        TableKey::String(bytes) if let Ok(text) = std::str::from_utf8(bytes) => Either::Left(text),
        key => Either::Right(PushKey(key)),
    }
}

struct PushKey<'a>(&'a TableKey);

impl IntoLua for PushKey<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<LuaValue> {
        Ok(match self.0 {
            TableKey::Boolean(boolean) => LuaValue::Boolean(*boolean),
            TableKey::Integer(integer) => LuaValue::Integer(*integer),
            TableKey::Float(float) => LuaValue::Number(*float),
            TableKey::String(bytes) => LuaValue::String(lua.create_string(bytes)?),
        })
    }
}

/// Why a walk ended early. The path grows on the way back, innermost step first.
enum Fault {
    Refused { path: Vec<String>, problem: String, details: Vec<(&'static str, Value)> },
    Lua(mlua::Error),
}

impl Fault {
    fn refused(problem: impl Into<String>) -> Self {
        Self::Refused { path: Vec::new(), problem: problem.into(), details: Vec::new() }
    }

    fn limit(problem: String, limit: usize) -> Self {
        let details = vec![("limit", limit.into())];
        Self::Refused { path: Vec::new(), problem, details }
    }

    fn at(mut self, step: impl FnOnce() -> String) -> Self {
        if let Self::Refused { path, .. } = &mut self {
            path.push(step());
        }
        self
    }
}

struct Walk {
    purpose: Purpose,
    bytes: usize,
    /// The tables that are being copied, outermost first.
    ancestors: Vec<usize>,
}

impl Walk {
    fn value(&mut self, value: &LuaValue) -> Result<Value, Fault> {
        match value {
            LuaValue::Table(table) => self.table(table),
            value => self.scalar(value),
        }
    }

    fn scalar(&mut self, value: &LuaValue) -> Result<Value, Fault> {
        let (value, bytes) = match value {
            LuaValue::Boolean(boolean) => (Value::Boolean(*boolean), 1),
            LuaValue::Integer(integer) => (Value::Integer(*integer), 2),
            LuaValue::Number(float) => (Value::Float(*float), 9),
            LuaValue::String(string) => {
                let bytes = string.as_bytes();
                // Before the copy: what is too large is not even copied once.
                self.count(bytes.len() + 2)?;
                return Ok(Value::from(&*bytes));
            }
            value => {
                let (what, done) = (type_of(value), self.purpose.participle);
                return Err(Fault::refused(format!("{what} can't be {done}")));
            }
        };
        self.count(bytes)?;
        Ok(value)
    }

    fn table(&mut self, source: &LuaTable) -> Result<Value, Fault> {
        let pointer = source.to_pointer().addr();
        if self.ancestors.contains(&pointer) {
            return Err(Fault::refused("the table contains itself"));
        }
        if self.ancestors.len() == self.purpose.depth_max {
            let limit = self.purpose.depth_max;
            let problem = format!("nested too deeply: the limit is {limit} levels of tables");
            return Err(Fault::limit(problem, limit));
        }
        self.count(3)?;
        self.ancestors.push(pointer);
        let mut table = Table::new();
        for (key, inner) in self.scalars(source, &mut table)? {
            let value = self.table(&inner).map_err(|fault| fault.at(|| key.path_step()))?;
            table.insert(key, value);
        }
        self.ancestors.pop();
        Ok(Value::Table(table))
    }

    /// Copies the keys with scalar values; answers those whose values are tables.
    fn scalars(
        &mut self,
        source: &LuaTable,
        target: &mut Table,
    ) -> Result<Vec<(TableKey, LuaTable)>, Fault> {
        let mut tables = Vec::new();
        let mut fault = None;
        let walked = source.for_each(|key: LuaValue, value: LuaValue| {
            let copied = self.key(&key).and_then(|key| {
                match value {
                    LuaValue::Table(inner) => tables.push((key, inner)),
                    value => {
                        let value = self.scalar(&value).map_err(|f| f.at(|| key.path_step()))?;
                        target.insert(key, value);
                    }
                }
                Ok(())
            });
            copied.map_err(|refused| {
                fault = Some(refused);
                mlua::Error::runtime("the walk ends here")
            })
        });
        match (fault, walked) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(Fault::Lua(error)),
            (None, Ok(())) => Ok(tables),
        }
    }

    fn key(&mut self, key: &LuaValue) -> Result<TableKey, Fault> {
        if let LuaValue::Integer(position @ 1..) = key {
            // Perhaps of the array part, which needs no bytes for its keys.
            return Ok(TableKey::Integer(*position));
        }
        let key = match self.scalar(key) {
            Ok(Value::Boolean(boolean)) => TableKey::Boolean(boolean),
            Ok(Value::Integer(integer)) => TableKey::Integer(integer),
            Ok(Value::Float(float)) => TableKey::float(float).expect("Lua has no NaN keys"),
            Ok(Value::String(bytes)) => TableKey::String(bytes),
            Ok(Value::Table(_)) => unreachable!("scalar makes no tables"),
            Err(Fault::Refused { details, .. }) if details.is_empty() => {
                return Err(Fault::refused(format!("{} can't be a key", type_of(key))));
            }
            Err(fault) => return Err(fault),
        };
        Ok(key)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > self.purpose.bytes_max {
            let limit = self.purpose.bytes_max;
            let problem = format!("the value is too large: the limit is {limit} bytes encoded");
            return Err(Fault::limit(problem, limit));
        }
        Ok(())
    }
}

/// Paths are cut here in messages: a deep one says little more than its start.
const PATH_BYTES_SHOWN: usize = 80;
