//! Arguments of the store's functions, parsed.
//!
//! A handle that is no store, and an id or key that is no string, raise; a released handle answers
//! before anything else is looked at; every other wrong argument is `INVALID`, returned. Options
//! are read raw, and an unknown name is refused: a typo must not silently lose a condition.

use mlua::{Either, LuaString, UserDataRef, Value as LuaValue};

use super::call::Refusal;
use super::errors::type_of;
use super::value::{self, Purpose};
use crate::entry::{Condition, Key, ListQuery, Operation, PutOptions, Ttl, Version};
use crate::error::{Error, Result};
use crate::limits::{KEY_BYTES_MAX, PAGE_ITEMS_MAX};
use crate::store::{StoreHandle, WatchQuery};
use crate::value::Value;

/// The first argument of a method: a handle, or whatever else was passed.
pub(super) type This = Either<UserDataRef<StoreHandle>, LuaValue>;

/// The handle, if it is one, released or not.
pub(super) fn handle(this: &This) -> Result<StoreHandle, Refusal> {
    match this {
        Either::Left(handle) => Ok(StoreHandle::clone(handle)),
        Either::Right(other) => Err(Refusal::Raised(Error::invalid(format!(
            "this is a method of a store, but was called on {}: call it as store:method(...)",
            type_of(other)
        )))),
    }
}

/// The handle, if it is one and is not released.
pub(super) fn open(this: &This) -> Result<StoreHandle, Refusal> {
    let handle = handle(this)?;
    handle.check_released()?;
    Ok(handle)
}

/// A key or id; `what` is what messages call it.
pub(super) fn string(what: &str, argument: &LuaValue) -> Result<String, Refusal> {
    let LuaValue::String(string) = argument else {
        return Err(Refusal::Raised(Error::invalid(format!(
            "the {what} must be a string, not {}",
            type_of(argument)
        ))));
    };
    match std::str::from_utf8(&string.as_bytes()) {
        Ok(string) => Ok(string.to_owned()),
        Err(error) => Err(Error::invalid(format!(
            "the {what} is not UTF-8: bad byte at {}",
            error.valid_up_to()
        ))
        .into()),
    }
}

pub(super) fn store_value(argument: &LuaValue) -> Result<Value, Refusal> {
    value::from_lua("value", argument, Purpose::STORE)
}

/// A time to live, in seconds; nil and 0 mean none.
pub(super) fn ttl(argument: &LuaValue) -> Result<Option<Ttl>> {
    match argument {
        LuaValue::Nil => Ok(None),
        argument => Ttl::from_seconds(number("ttl", argument)?),
    }
}

/// The options of `put`.
pub(super) fn put_options(argument: &LuaValue) -> Result<PutOptions, Refusal> {
    let mut conditions = Conditions::default();
    each_option(argument, |name, value| match name {
        "absent" => Ok(false),
        name => conditions.read(name, value),
    })?;
    Ok(conditions.put_options()?)
}

/// The options of `delete`.
pub(super) fn delete_options(argument: &LuaValue) -> Result<Option<Version>, Refusal> {
    let mut if_version = None;
    each_option(argument, |name, value| match name {
        "if_version" => {
            if_version = Some(version(name, value)?);
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(if_version)
}

/// The options of `list`.
pub(super) fn list_query(argument: &LuaValue) -> Result<ListQuery, Refusal> {
    let mut query = ListQuery::new();
    each_option(argument, |name, value| {
        let so_far = std::mem::take(&mut query);
        query = match name {
            "prefix" => so_far.prefix(bytes(name, value)?),
            "after" => so_far.after(bytes(name, value)?),
            "limit" => so_far.limit(limit(value)?),
            _ => return Ok(false),
        };
        Ok(true)
    })?;
    Ok(query)
}

/// The options of `watch`.
pub(super) fn watch_query(argument: &LuaValue) -> Result<WatchQuery, Refusal> {
    let mut query = WatchQuery::default();
    each_option(argument, |name, value| {
        match name {
            "prefix" => {
                query.prefix = bytes(name, value)?;
                // No key is longer: what follows changes nothing, and would be kept.
                query.prefix.truncate(KEY_BYTES_MAX + 1);
            }
            "after" => query.after = Some(version(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(query)
}

/// The operations of `transact`. An error names its operation in `details.index`, from 1.
pub(super) fn operations(argument: &LuaValue) -> Result<Vec<Operation>, Refusal> {
    let LuaValue::Table(list) = argument else {
        let what = type_of(argument);
        return Err(Error::invalid(format!("the operations must be an array, not {what}")).into());
    };
    let length = list.raw_len();
    let mut operations = Vec::new();
    for index in 1..=length {
        let item: LuaValue = list.raw_get(index)?;
        operations.push(operation(&item).map_err(|refusal| match refusal {
            Refusal::Returned(error) => Refusal::Returned(at_operation(error, index)),
            Refusal::Raised(error) => Refusal::Raised(at_operation(error, index)),
            lua @ Refusal::Lua(_) => lua,
        })?);
    }
    let is_array = list.pairs::<LuaValue, LuaValue>().count() == length;
    if !is_array {
        return Err(Error::invalid("the operations must be an array without other keys").into());
    }
    Ok(operations)
}

/// How long to wait, in seconds; nil means for ever.
pub(super) fn timeout(argument: &LuaValue) -> Result<Option<std::time::Duration>> {
    if argument.is_nil() {
        return Ok(None);
    }
    let timeout = seconds("timeout", argument)?;
    require_timer()?;
    Ok(Some(timeout))
}

/// Timers need a tokio runtime, and panic without.
pub(super) fn require_timer() -> Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid("waiting for a time needs a tokio runtime around the script")),
    }
}

/// A length of time in seconds.
pub(super) fn seconds(name: &str, argument: &LuaValue) -> Result<std::time::Duration> {
    let seconds = number(name, argument)?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::invalid(format!("{name} must be 0 or a positive number of seconds, not {seconds}"))
    })
}

/// Conditions and time to live, as `put` and the operations of a transaction name them.
#[derive(Default)]
struct Conditions {
    ttl: Option<Ttl>,
    only_if_absent: bool,
    if_version: Option<Version>,
}

impl Conditions {
    /// Takes an option, if it is one of these.
    fn read(&mut self, name: &str, value: &LuaValue) -> Result<bool, Refusal> {
        match name {
            "ttl" => self.ttl = ttl(value)?,
            "only_if_absent" | "absent" => self.only_if_absent = boolean(name, value)?,
            "if_version" => self.if_version = Some(version(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn condition(&self) -> Result<Condition> {
        match (self.only_if_absent, self.if_version) {
            (false, None) => Ok(Condition::None),
            (true, None) => Ok(Condition::Absent),
            (false, Some(version)) => Ok(Condition::Version(version)),
            (true, Some(_)) => Err(Error::invalid(
                "absence and if_version can't both be required: an absent key has no version",
            )),
        }
    }

    fn put_options(&self) -> Result<PutOptions> {
        Ok(PutOptions { ttl: self.ttl, condition: self.condition()? })
    }
}

/// Calls `read` with each option; it answers whether it knows the name.
pub(super) fn each_option(
    argument: &LuaValue,
    mut read: impl FnMut(&str, &LuaValue) -> Result<bool, Refusal>,
) -> Result<(), Refusal> {
    let table = match argument {
        LuaValue::Nil => return Ok(()),
        LuaValue::Table(table) => table,
        other => {
            let what = type_of(other);
            return Err(Error::invalid(format!("the options must be a table, not {what}")).into());
        }
    };
    for pair in table.pairs::<LuaValue, LuaValue>() {
        let (name, value) = pair?;
        let is_known = match &name {
            LuaValue::String(name) => read(&name.to_string_lossy(), &value)?,
            _ => false,
        };
        if !is_known {
            let name = match &name {
                LuaValue::String(name) => name.to_string_lossy(),
                LuaValue::Integer(name) => name.to_string(),
                name => type_of(name),
            };
            return Err(Error::invalid(format!("unknown option {name:?}")).into());
        }
    }
    Ok(())
}

fn operation(item: &LuaValue) -> Result<Operation, Refusal> {
    let LuaValue::Table(fields) = item else {
        let what = type_of(item);
        return Err(Error::invalid(format!("an operation must be a table, not {what}")).into());
    };
    let kind: LuaValue = fields.raw_get("op")?;
    let kind = kind.as_string().map(LuaString::to_string_lossy).unwrap_or_default();
    let allowed: &[&str] = match &*kind {
        "put" => &["op", "key", "value", "ttl", "only_if_absent", "if_version"],
        "delete" => &["op", "key", "if_version"],
        "check" => &["op", "key", "if_version", "absent"],
        _ => {
            return Err(Error::invalid("op must be \"put\", \"delete\" or \"check\"").into());
        }
    };
    let key = Key::new(&string("key", &fields.raw_get("key")?)?)?;
    let mut conditions = Conditions::default();
    each_option(item, |name, value| match name {
        _ if !allowed.contains(&name) => Ok(false),
        "op" | "key" | "value" => Ok(true),
        _ => conditions.read(name, value),
    })?;
    Ok(match &*kind {
        "put" => Operation::Put {
            key,
            value: store_value(&fields.raw_get("value")?)?,
            options: conditions.put_options()?,
        },
        "delete" => Operation::Delete { key, if_version: conditions.if_version },
        _ => match conditions.condition()? {
            Condition::None => {
                return Err(Error::invalid("a check needs if_version or absent = true").into());
            }
            condition => Operation::Check { key, condition },
        },
    })
}

fn at_operation(error: Error, index: usize) -> Error {
    error.context(format_args!("operation {index}")).with_detail("index", index)
}

fn limit(value: &LuaValue) -> Result<usize> {
    let number = number("limit", value)?;
    if number.is_nan() || number < 0.0 || (number.fract() != 0.0 && number.is_finite()) {
        return Err(Error::invalid(format!(
            "limit must be 0 or a positive whole number, not {number}"
        )));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let limit = number.min(PAGE_ITEMS_MAX as f64) as usize;
    Ok(limit)
}

fn version(name: &str, value: &LuaValue) -> Result<Version> {
    match value {
        LuaValue::String(text) => {
            Version::parse(&text.to_string_lossy()).map_err(|error| error.context(name))
        }
        other => Err(wrong_type(name, "a string", other)),
    }
}

pub(super) fn bytes(name: &str, value: &LuaValue) -> Result<Vec<u8>> {
    match value {
        LuaValue::String(text) => Ok(text.as_bytes().to_vec()),
        other => Err(wrong_type(name, "a string", other)),
    }
}

fn boolean(name: &str, value: &LuaValue) -> Result<bool> {
    match value {
        LuaValue::Boolean(boolean) => Ok(*boolean),
        other => Err(wrong_type(name, "a boolean", other)),
    }
}

pub(super) fn number(name: &str, value: &LuaValue) -> Result<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "far beyond every limit")]
        LuaValue::Integer(integer) => Ok(*integer as f64),
        LuaValue::Number(number) => Ok(*number),
        other => Err(wrong_type(name, "a number", other)),
    }
}

pub(super) fn wrong_type(name: &str, expected: &str, actual: &LuaValue) -> Error {
    Error::invalid(format!("{name} must be {expected}, not {}", type_of(actual)))
}
