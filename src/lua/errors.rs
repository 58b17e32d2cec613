//! Error objects of Lua, and the table `errors`.
//!
//! An error object is a userdata with the methods `kind message retryable details stack`. The
//! engine's errors become one by [`object`]; scripts make theirs with `errors.new`. They can be
//! returned, thrown with `error` and caught with `pcall`, printed and concatenated.
//!
//! `errors.wrap` adds a context and keeps everything else, `message()` included: the context
//! stands in `tostring` and `stack()` only, so a test on kind or message finds the same as before.
//!
//! What a script gives as kind or details may be any Lua value. It is kept as a user value of the
//! userdata, where the garbage collector sees it: a handle in the Rust part would keep a cycle
//! alive for ever.

use mlua::{AnyUserData, Lua, LuaString, MetaMethod, Table, UserDataFields, Value as LuaValue};

use super::call::{Calls, Refusal, Style, Values, done};
use super::stack::Stack;
use super::{memory, value};
use crate::error::{Details, Error, ErrorKind, Result};

/// The Rust part of an error object.
#[derive(Clone)]
struct ErrorObject {
    origin: Origin,
    /// Added by `errors.wrap`, innermost first.
    contexts: Vec<Context>,
    stack: Stack,
}

#[derive(Clone)]
enum Origin {
    Engine(Error),
    Script { message: Vec<u8>, kind: Kind, retryable: Option<bool> },
}

#[derive(Clone)]
enum Kind {
    Known(ErrorKind),
    /// The user value [`KIND_SLOT`], as the script gave it.
    Given,
}

#[derive(Clone)]
struct Context {
    message: Vec<u8>,
    stack: Stack,
}

impl ErrorObject {
    fn into_userdata(self, lua: &Lua) -> mlua::Result<AnyUserData> {
        let bytes = self.bytes();
        let userdata = lua.create_any_userdata(self)?;
        memory::charge(lua, &userdata, bytes)?;
        Ok(userdata)
    }

    /// About what it holds beside itself.
    fn bytes(&self) -> usize {
        let message = match &self.origin {
            Origin::Engine(error) => error.message().len() + ENGINE_ERROR_BYTES,
            Origin::Script { message, .. } => message.len(),
        };
        let contexts = self
            .contexts
            .iter()
            .map(|context| size_of::<Context>() + context.message.len() + context.stack.bytes());
        message + self.stack.bytes() + contexts.sum::<usize>()
    }
}

/// About what the details of an engine error take.
const ENGINE_ERROR_BYTES: usize = 512;

const KIND_SLOT: usize = 1;
const DETAILS_SLOT: usize = 2;

/// Makes the table `errors`.
pub(super) fn module(lua: &Lua, calls: &Calls) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for kind in ErrorKind::ALL {
        table.raw_set(kind.constant(), kind.as_str())?;
    }
    table.raw_set("new", calls.function(lua, Style::RAISE, new)?)?;
    table.raw_set("wrap", calls.function(lua, Style::RAISE, wrap)?)?;
    table.raw_set("is", lua.create_function(is)?)?;
    table.raw_set("call_stack", calls.function(lua, Style::RAISE, call_stack)?)?;
    Ok(table)
}

/// The error object of an engine error; its stack is the present one.
///
/// # Errors
/// If Lua is out of memory.
pub fn object(lua: &Lua, error: Error) -> mlua::Result<LuaValue> {
    let origin = Origin::Engine(error);
    let object = ErrorObject { origin, contexts: Vec::new(), stack: Stack::capture(lua) };
    Ok(LuaValue::UserData(object.into_userdata(lua)?))
}

/// The engine error behind an error object, wrapped or not; none for errors that scripts made and
/// for anything else.
#[must_use]
pub fn engine_error(value: &LuaValue) -> Option<Error> {
    let object = borrow(value)?;
    match &object.origin {
        Origin::Engine(error) => Some(error.clone()),
        Origin::Script { .. } => None,
    }
}

/// What to show a human of a value that a script threw or returned as its error: of an error
/// object the message and the stack, of anything else what `tostring` says.
#[must_use]
pub fn describe(value: &LuaValue) -> String {
    match value.as_userdata() {
        Some(userdata) if is_object(value) => {
            String::from_utf8_lossy(&stack_text(userdata).unwrap_or_default()).into_owned()
        }
        _ => value.to_string().unwrap_or_else(|_| value.type_name().to_owned()),
    }
}

/// As [`describe`], without calling any metamethod.
pub(super) fn describe_raw(value: &LuaValue) -> String {
    match value {
        LuaValue::Table(_) => "the error is a table".to_owned(),
        value => describe(value),
    }
}

/// Whether a value is an error object.
#[must_use]
pub fn is_object(value: &LuaValue) -> bool {
    value.as_userdata().is_some_and(AnyUserData::is::<ErrorObject>)
}

fn borrow(value: &LuaValue) -> Option<mlua::UserDataRef<ErrorObject>> {
    value.as_userdata()?.borrow::<ErrorObject>().ok()
}

/// Adds the type of error objects to a state.
pub(super) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<ErrorObject>(|registry| {
        registry.add_meta_field(MetaMethod::Type, "error");
        registry.add_meta_field_with(MetaMethod::Index, methods);
        registry.add_meta_field_with(MetaMethod::ToString, |lua| {
            lua.create_function(|lua, this: AnyUserData| lua.create_string(text(&this)?))
        });
        registry.add_meta_field_with(MetaMethod::Concat, |lua| {
            lua.create_function(|lua, (left, right): (LuaValue, LuaValue)| {
                let mut joined = text_of(lua, &left)?;
                joined.extend(text_of(lua, &right)?);
                lua.create_string(joined)
            })
        });
    })
}

fn methods(lua: &Lua) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    methods.raw_set("kind", lua.create_function(|lua, this: AnyUserData| kind(lua, &this))?)?;
    methods.raw_set(
        "message",
        lua.create_function(|lua, this: AnyUserData| {
            let this = this.borrow::<ErrorObject>()?;
            match &this.origin {
                Origin::Engine(error) => lua.create_string(error.message()),
                Origin::Script { message, .. } => lua.create_string(message),
            }
        })?,
    )?;
    methods.raw_set(
        "retryable",
        lua.create_function(|_, this: AnyUserData| {
            Ok(match &this.borrow::<ErrorObject>()?.origin {
                Origin::Engine(error) => Some(error.retryable()),
                Origin::Script { retryable, .. } => *retryable,
            })
        })?,
    )?;
    methods
        .raw_set("details", lua.create_function(|lua, this: AnyUserData| details(lua, &this))?)?;
    methods.raw_set(
        "stack",
        lua.create_function(|lua, this: AnyUserData| lua.create_string(stack_text(&this)?))?,
    )?;
    Ok(methods)
}

fn kind(lua: &Lua, this: &AnyUserData) -> mlua::Result<LuaValue> {
    let known = match &this.borrow::<ErrorObject>()?.origin {
        Origin::Engine(error) => error.kind(),
        Origin::Script { kind: Kind::Known(kind), .. } => *kind,
        Origin::Script { kind: Kind::Given, .. } => return this.nth_user_value(KIND_SLOT),
    };
    Ok(LuaValue::String(lua.create_string(known.as_str())?))
}

fn details(lua: &Lua, this: &AnyUserData) -> mlua::Result<LuaValue> {
    match &this.borrow::<ErrorObject>()?.origin {
        Origin::Engine(error) => details_to_lua(lua, error.details()),
        Origin::Script { .. } => this.nth_user_value(DETAILS_SLOT),
    }
}

fn details_to_lua(lua: &Lua, details: &Details) -> mlua::Result<LuaValue> {
    if details.is_empty() {
        return Ok(LuaValue::Nil);
    }
    let pairs = details.iter().map(|(name, value)| (&**name, value::pushed(value)));
    Ok(LuaValue::Table(lua.create_table_from(pairs)?))
}

/// What `tostring` answers: the contexts, outermost first, the kind and the message.
fn text(this: &AnyUserData) -> mlua::Result<Vec<u8>> {
    let object = this.borrow::<ErrorObject>()?;
    let mut text = Vec::new();
    for context in object.contexts.iter().rev() {
        text.extend_from_slice(&context.message);
        text.extend_from_slice(b": ");
    }
    match &object.origin {
        Origin::Engine(error) => text.extend_from_slice(error.to_string().as_bytes()),
        Origin::Script { message, kind, .. } => {
            match kind {
                Kind::Known(kind) => text.extend_from_slice(kind.as_str().as_bytes()),
                Kind::Given => {
                    if let LuaValue::String(kind) = this.nth_user_value(KIND_SLOT)? {
                        text.extend_from_slice(&kind.as_bytes());
                    }
                }
            }
            if !text.is_empty() && !text.ends_with(b": ") {
                text.extend_from_slice(b": ");
            }
            text.extend_from_slice(message);
        }
    }
    Ok(text)
}

/// What `stack()` answers: the text, where the error was made, and where each context was added.
fn stack_text(this: &AnyUserData) -> mlua::Result<Vec<u8>> {
    let mut text = text(this)?;
    let object = this.borrow::<ErrorObject>()?;
    let mut frames = String::from("\nstack traceback:");
    object.stack.write(&mut frames);
    text.extend_from_slice(frames.as_bytes());
    for context in &object.contexts {
        text.extend_from_slice(b"\nwrapped with \"");
        text.extend_from_slice(&context.message);
        let mut frames = String::from("\" at:");
        context.stack.write(&mut frames);
        text.extend_from_slice(frames.as_bytes());
    }
    Ok(text)
}

/// What an error, a string or a number says; of anything else its type, because `__tostring` is
/// not called from here.
fn text_of(lua: &Lua, value: &LuaValue) -> mlua::Result<Vec<u8>> {
    match value {
        LuaValue::UserData(this) if this.is::<ErrorObject>() => text(this),
        value => match lua.coerce_string(value.clone())? {
            Some(string) => Ok(string.as_bytes().to_vec()),
            None => Ok(type_of(value).into_bytes()),
        },
    }
}

/// What `errors.new` was given, whatever the form.
#[derive(Default)]
struct Given {
    message: Option<Vec<u8>>,
    kind: LuaValue,
    retryable: Option<bool>,
    details: Option<Table>,
}

fn new(lua: &Lua, (first, second): (LuaValue, LuaValue)) -> Result<Values, Refusal> {
    let given = match (first, second) {
        (LuaValue::Table(fields), LuaValue::Nil) => read_fields(lua, &fields)?,
        (message, LuaValue::Nil) => {
            Given { message: Some(message_bytes(lua, &message)?), ..Given::default() }
        }
        (kind, message) => {
            Given { message: Some(message_bytes(lua, &message)?), kind, ..Given::default() }
        }
    };
    let message = given.message.ok_or_else(|| Error::invalid("an error needs a message"))?;
    let (kind, given_kind) = normalized(given.kind);
    let origin = Origin::Script { message, kind, retryable: given.retryable };
    let object = ErrorObject { origin, contexts: Vec::new(), stack: Stack::capture(lua) };
    let userdata = object.into_userdata(lua)?;
    if let Some(kind) = given_kind {
        userdata.set_nth_user_value(KIND_SLOT, kind)?;
    }
    if let Some(details) = given.details {
        userdata.set_nth_user_value(DETAILS_SLOT, details)?;
    }
    done(LuaValue::UserData(userdata))
}

fn read_fields(lua: &Lua, fields: &Table) -> Result<Given, Refusal> {
    let mut given = Given::default();
    for pair in fields.pairs::<LuaValue, LuaValue>() {
        let (name, value) = pair?;
        let name = name.as_string().map(LuaString::to_string_lossy).unwrap_or_default();
        match (&*name, value) {
            ("message", message) => given.message = Some(message_bytes(lua, &message)?),
            ("kind", kind) => given.kind = kind,
            ("retryable", LuaValue::Boolean(retryable)) => given.retryable = Some(retryable),
            ("details", LuaValue::Table(details)) => {
                given.details = (!is_empty(&details)?).then_some(details);
            }
            (name @ ("retryable" | "details"), value) => {
                let expected = if name == "details" { "a table" } else { "a boolean" };
                let message =
                    format!("{name} of an error must be {expected}, not {}", type_of(&value));
                return Err(Error::invalid(message).into());
            }
            (name, _) => {
                return Err(Error::invalid(format!(
                    "{name:?} is no field of an error: there are message, kind, retryable, details"
                ))
                .into());
            }
        }
    }
    Ok(given)
}

fn is_empty(table: &Table) -> mlua::Result<bool> {
    Ok(table.pairs::<LuaValue, LuaValue>().next().transpose()?.is_none())
}

fn message_bytes(lua: &Lua, message: &LuaValue) -> Result<Vec<u8>, Refusal> {
    match lua.coerce_string(message.clone())? {
        Some(message) => Ok(message.as_bytes().to_vec()),
        None => {
            let message = format!("the message must be a string, not {}", type_of(message));
            Err(Error::invalid(message).into())
        }
    }
}

/// A kind by the name of its constant or by its string; anything else is kept as it was given.
fn normalized(kind: LuaValue) -> (Kind, Option<LuaValue>) {
    if kind.is_nil() {
        return (Kind::Known(ErrorKind::Unknown), None);
    }
    let known = kind.as_string().and_then(|name| {
        let name = name.as_bytes();
        ErrorKind::ALL
            .into_iter()
            .find(|kind| name == kind.as_str().as_bytes() || name == kind.constant().as_bytes())
    });
    match known {
        Some(kind) => (Kind::Known(kind), None),
        None => (Kind::Given, Some(kind)),
    }
}

fn wrap(lua: &Lua, (inner, message): (LuaValue, LuaValue)) -> Result<Values, Refusal> {
    if inner.is_nil() {
        return done(LuaValue::Nil);
    }
    let message = message_bytes(lua, &message)?;
    let stack = Stack::capture(lua);
    let (mut object, user_values) = match inner.as_userdata() {
        Some(userdata) if userdata.is::<ErrorObject>() => {
            let kind: LuaValue = userdata.nth_user_value(KIND_SLOT)?;
            let details: LuaValue = userdata.nth_user_value(DETAILS_SLOT)?;
            (userdata.borrow::<ErrorObject>()?.clone(), Some((kind, details)))
        }
        _ => {
            let origin = Origin::Script {
                message: text_of(lua, &inner)?,
                kind: Kind::Known(ErrorKind::Unknown),
                retryable: None,
            };
            (ErrorObject { origin, contexts: Vec::new(), stack: stack.clone() }, None)
        }
    };
    object.contexts.push(Context { message, stack });
    let userdata = object.into_userdata(lua)?;
    if let Some((kind, details)) = user_values {
        userdata.set_nth_user_value(KIND_SLOT, kind)?;
        userdata.set_nth_user_value(DETAILS_SLOT, details)?;
    }
    done(LuaValue::UserData(userdata))
}

fn is(lua: &Lua, (error, wanted): (LuaValue, LuaValue)) -> mlua::Result<bool> {
    let Some(userdata) = error.as_userdata().filter(|userdata| userdata.is::<ErrorObject>()) else {
        return Ok(false);
    };
    match normalized(wanted) {
        (Kind::Known(wanted), _) => {
            let kind = kind(lua, userdata)?;
            Ok(kind.as_string().is_some_and(|kind| kind.as_bytes() == wanted.as_str().as_bytes()))
        }
        (Kind::Given, wanted) => Ok(wanted == Some(kind(lua, userdata)?)),
    }
}

fn call_stack(lua: &Lua, error: LuaValue) -> Result<Values, Refusal> {
    match borrow(&error) {
        Some(object) => done(LuaValue::Table(object.stack.to_lua(lua)?)),
        None => done(LuaValue::Nil),
    }
}

/// The type of a value as messages name it: `a number`, `nil`.
pub(super) fn type_of(value: &LuaValue) -> String {
    match value {
        LuaValue::Nil => "nil".to_owned(),
        LuaValue::Integer(_) => "an integer".to_owned(),
        LuaValue::Error(_) => "an error".to_owned(),
        value => format!("a {}", value.type_name()),
    }
}
