//! `string.find` and its like over [`Pattern`]: the Rust halves of `guard.lua`.
//!
//! Errors of the script are told, not raised: a Rust function could raise only mlua's own opaque
//! error, where Lua's functions raise a message with the line of the script.

use mlua::{Function, IntoLua, Lua, LuaString, MultiValue, Table, Value as LuaValue, Variadic};

use super::pattern::{Capture, Match, Pattern};
use crate::lua::errors::type_of;
use crate::lua::interrupt::Interrupt;
use crate::lua::memory::NOT_ENOUGH_MEMORY;

/// Adds the functions and the mark `FAULT` to the table that `guard.lua` is given. No result of
/// theirs is longer than `bytes_max`.
pub(super) fn add(
    lua: &Lua,
    rust: &Table,
    interrupt: &Interrupt,
    bytes_max: usize,
) -> mlua::Result<()> {
    rust.raw_set("FAULT", fault_mark())?;
    rust.raw_set("text", lua.create_function(text)?)?;
    rust.raw_set("place", lua.create_function(place)?)?;
    rust.raw_set("find", find_function(lua, interrupt, Answer::Place)?)?;
    rust.raw_set("match", find_function(lua, interrupt, Answer::Captures)?)?;
    rust.raw_set("search", search_function(lua, interrupt)?)?;
    let expand = move |lua: &Lua, arguments| told(lua, expand(lua, arguments, bytes_max));
    rust.raw_set("expand", lua.create_function(expand)?)
}

/// Why a function has no results.
enum Fault {
    /// A message for the script.
    Told(String),
    Lua(mlua::Error),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Told(message)
    }
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

fn told(lua: &Lua, result: Result<MultiValue, Fault>) -> mlua::Result<MultiValue> {
    match result {
        Ok(values) => Ok(values),
        Err(Fault::Told(message)) => {
            let message = LuaValue::String(lua.create_string(message)?);
            Ok(MultiValue::from_vec(vec![fault_mark(), message]))
        }
        Err(Fault::Lua(error)) => Err(error),
    }
}

/// The first result where a fault is told. No script has a light userdata to mistake for it.
const fn fault_mark() -> LuaValue {
    LuaValue::NULL
}

/// A string or number as a string, else the fault that Lua's own functions tell.
fn text(
    lua: &Lua,
    (value, position, function): (LuaValue, i64, LuaString),
) -> mlua::Result<MultiValue> {
    let function = function.to_string_lossy();
    let text = as_text(lua, value, position, &function);
    told(lua, text.map(|text| MultiValue::from_vec(vec![LuaValue::String(text)])))
}

fn as_text(lua: &Lua, value: LuaValue, position: i64, function: &str) -> Result<LuaString, Fault> {
    let what = type_of(&value);
    lua.coerce_string(value)?.ok_or_else(|| {
        format!("bad argument #{position} to '{function}' (a string expected, not {what})").into()
    })
}

/// Where a search starts, counted from 1; beyond the end if there is nothing to search.
fn place(lua: &Lua, (text, init): (LuaString, LuaValue)) -> mlua::Result<MultiValue> {
    let length = text.as_bytes().len();
    let place = start_of(lua, length, init, "gmatch").map(|start| start.unwrap_or(length + 1));
    told(lua, place.and_then(|start| Ok(one((start + 1).into_lua(lua)?))))
}

/// A start as scripts give it (counted from 1, or from the end if negative), counted from 0; none
/// if it lies behind the end.
fn start_of(
    lua: &Lua,
    length: usize,
    init: LuaValue,
    function: &str,
) -> Result<Option<usize>, Fault> {
    if init.is_nil() {
        return Ok(Some(0));
    }
    let what = type_of(&init);
    let init = lua.coerce_integer(init)?.ok_or_else(|| {
        format!("bad argument #3 to '{function}' (an integer expected, not {what})")
    })?;
    let distance = usize::try_from(init.unsigned_abs()).unwrap_or(usize::MAX);
    let start =
        if init >= 0 { distance.saturating_sub(1) } else { length.saturating_sub(distance) };
    Ok((start <= length).then_some(start))
}

/// What a search for the first match answers.
#[derive(Clone, Copy)]
enum Answer {
    /// Start, end and captures: `find`.
    Place,
    /// The captures or the whole match: `match`.
    Captures,
}

type FindArguments = (LuaValue, LuaValue, LuaValue, Option<bool>);

fn find_function(lua: &Lua, interrupt: &Interrupt, answer: Answer) -> mlua::Result<Function> {
    let interrupt = interrupt.clone();
    lua.create_function(move |lua, arguments: FindArguments| {
        told(lua, find(lua, &interrupt, answer, arguments))
    })
}

fn find(
    lua: &Lua,
    interrupt: &Interrupt,
    answer: Answer,
    (subject, pattern, init, is_plain): FindArguments,
) -> Result<MultiValue, Fault> {
    let name = match answer {
        Answer::Place => "find",
        Answer::Captures => "match",
    };
    let subject = as_text(lua, subject, 1, name)?;
    let pattern = as_text(lua, pattern, 2, name)?;
    let (bytes, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let Some(start) = start_of(lua, bytes.len(), init, name)? else {
        return Ok(one(LuaValue::Nil));
    };
    let is_literal = is_plain == Some(true) || !pattern.iter().any(|byte| MAGIC.contains(byte));
    let found = if is_literal && matches!(answer, Answer::Place) {
        let place = memchr::memmem::find(&bytes[start..], &pattern);
        place.map(|place| Match {
            start: start + place,
            end: start + place + pattern.len(),
            captures: Vec::new(),
        })
    } else {
        let pattern = Pattern::parse(&pattern, true)?;
        pattern.search(&bytes, start, None, || interrupt.check())?
    };
    let Some(found) = found else { return Ok(one(LuaValue::Nil)) };
    let mut results = match answer {
        Answer::Place => vec![(found.start + 1).into_lua(lua)?, found.end.into_lua(lua)?],
        Answer::Captures if found.captures.is_empty() => {
            vec![LuaValue::String(lua.create_string(&bytes[found.start..found.end])?)]
        }
        Answer::Captures => Vec::new(),
    };
    push_captures(lua, &bytes, &found, &mut results)?;
    Ok(MultiValue::from_vec(results))
}

/// The next match of `gmatch` and `gsub`: start, end and explicit captures, or nil.
fn search_function(lua: &Lua, interrupt: &Interrupt) -> mlua::Result<Function> {
    type Arguments = (LuaString, LuaString, usize, Option<usize>, bool);
    let interrupt = interrupt.clone();
    lua.create_function(move |lua, (subject, pattern, from, last, has_anchor): Arguments| {
        let bytes = subject.as_bytes();
        let search = || {
            let pattern = Pattern::parse(&pattern.as_bytes(), has_anchor)?;
            let found = pattern.search(&bytes, from - 1, last, || interrupt.check())?;
            let Some(found) = found else { return Ok(one(LuaValue::Nil)) };
            let mut results = vec![(found.start + 1).into_lua(lua)?, found.end.into_lua(lua)?];
            push_captures(lua, &bytes, &found, &mut results)?;
            Ok(MultiValue::from_vec(results))
        };
        told(lua, search())
    })
}

/// The string that replaces a match: `%0` to `%9` and `%%` in the template are filled in.
fn expand(
    lua: &Lua,
    (template, whole, captures): (LuaString, LuaString, Variadic<LuaValue>),
    bytes_max: usize,
) -> Result<MultiValue, Fault> {
    let template = template.as_bytes();
    let mut text = Vec::with_capacity(template.len());
    let mut rest = template.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            text.push(*byte);
            continue;
        }
        let piece = match rest.next() {
            Some(b'%') => {
                text.push(b'%');
                continue;
            }
            Some(b'0') => Some(whole.clone()),
            Some(b'1') if captures.is_empty() => Some(whole.clone()),
            Some(digit @ b'1'..=b'9') => {
                let index = usize::from(digit - b'1');
                let capture = captures.get(index).ok_or_else(|| {
                    format!("invalid capture index %{} in replacement string", index + 1)
                })?;
                lua.coerce_string(capture.clone())?
            }
            _ => return Err("invalid use of '%' in replacement string".to_owned().into()),
        };
        text.extend_from_slice(&piece.expect("captures are strings and integers").as_bytes());
        if text.len() > bytes_max {
            return Err(mlua::Error::MemoryError(NOT_ENOUGH_MEMORY.to_owned()).into());
        }
    }
    Ok(one(LuaValue::String(lua.create_string(text)?)))
}

fn push_captures(
    lua: &Lua,
    subject: &[u8],
    found: &Match,
    results: &mut Vec<LuaValue>,
) -> mlua::Result<()> {
    for capture in &found.captures {
        results.push(match capture {
            Capture::Bytes(start, end) => {
                LuaValue::String(lua.create_string(&subject[*start..*end])?)
            }
            Capture::Position(place) => (place + 1).into_lua(lua)?,
        });
    }
    Ok(())
}

fn one(value: LuaValue) -> MultiValue {
    MultiValue::from_vec(vec![value])
}

/// The bytes that mean something else than themselves in a pattern.
const MAGIC: &[u8] = b"^$*+?.([%-";
