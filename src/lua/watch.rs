//! Watches in Lua: an object with `next(timeout?)` and `close()`, which a `for` can call.
//!
//! `next` answers a change; `nil` once the stream is closed; `nil, err` if nothing came in time or
//! the stream was ended by an error, which it then answers for ever: a `for` loop ends on both and
//! `next` afterwards tells which it was.
//!
//! Several coroutines may call `next`: each change goes to one of them. `close` ends their waiting.

use std::sync::Arc;
use std::time::Duration;

use mlua::Value as LuaValue;
use mlua::{AnyUserData, Either, Function, Lua, MetaMethod, Table, UserDataFields, UserDataRef};
use tokio::sync::{Mutex, watch};

use super::args::{self, This};
use super::call::{Calls, Refusal, Style, Values, done, run};
use super::errors::type_of;
use super::handle::entry_to_lua;
use super::memory;
use crate::entry::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Watch;

/// A stream of changes that a script holds. Clones are the same stream.
#[derive(Clone)]
struct Stream(Arc<Inner>);

struct Inner {
    changes: Mutex<Changes>,
    is_closed: watch::Sender<bool>,
}

struct Changes {
    watch: Watch,
    ended_by: Option<Error>,
}

impl Stream {
    fn new(watch: Watch) -> Self {
        let changes = Mutex::new(Changes { watch, ended_by: None });
        Self(Arc::new(Inner { changes, is_closed: watch::Sender::new(false) }))
    }

    fn close(&self) {
        self.0.is_closed.send_replace(true);
    }

    async fn next(&self, timeout: Option<Duration>) -> Result<Option<Change>> {
        let mut is_closed = self.0.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is_closed| *is_closed) => Ok(None),
            next = self.next_open(timeout) => next,
        }
    }

    async fn next_open(&self, timeout: Option<Duration>) -> Result<Option<Change>> {
        let mut changes = self.0.changes.lock().await;
        if let Some(error) = &changes.ended_by {
            return Err(error.clone());
        }
        let next = changes.watch.next(timeout).await;
        if let Err(error) = &next
            && error.kind() != ErrorKind::Timeout
        {
            changes.ended_by = Some(error.clone());
        }
        next
    }
}

/// Adds the type of streams to a state.
pub(super) fn register(lua: &Lua, calls: &Calls) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let next_change = calls.function(lua, Style::READ, next)?;
    methods.raw_set("next", next_change)?;
    methods.raw_set("close", calls.function(lua, Style::READ, close)?)?;
    // A `for` passes its control values, which are no timeout.
    let call = calls
        .function(lua, Style::READ, |lua, this: ThisStream| next(lua, (this, LuaValue::Nil)))?;
    lua.register_userdata_type::<Stream>(|registry| {
        registry.add_meta_field(MetaMethod::Type, "store.Watch");
        registry.add_meta_field(MetaMethod::Index, methods);
        registry.add_meta_field(MetaMethod::Call, call);
        registry.add_meta_field_with(MetaMethod::Close, |lua| {
            lua.create_function(|_, this: AnyUserData| {
                this.borrow::<Stream>()?.close();
                Ok(())
            })
        });
        registry.add_meta_field_with(MetaMethod::ToString, |lua| {
            lua.create_function(|_, this: AnyUserData| {
                let is_closed = *this.borrow::<Stream>()?.0.is_closed.borrow();
                Ok(if is_closed { "store.Watch{closed}" } else { "store.Watch{}" })
            })
        });
    })
}

/// The method `watch` of a store.
pub(super) fn method(lua: &Lua, calls: &Calls) -> mlua::Result<Function> {
    calls.stream_function(lua, Style::READ, open)
}

type ThisStream = Either<UserDataRef<Stream>, LuaValue>;

fn open(lua: &Lua, (this, options): (This, LuaValue)) -> Result<Values, Refusal> {
    let handle = args::open(&this)?;
    let query = args::watch_query(&options)?;
    run(lua, Style::READ, async move { handle.watch(&query).await }, |lua, watch| {
        let userdata = lua.create_any_userdata(Stream::new(watch))?;
        memory::charge(lua, &userdata, STREAM_BYTES)?;
        Ok(LuaValue::UserData(userdata))
    })
}

fn next(lua: &Lua, (this, timeout): (ThisStream, LuaValue)) -> Result<Values, Refusal> {
    let stream = stream(this)?;
    let timeout = args::timeout(&timeout)?;
    run(lua, Style::READ, async move { stream.next(timeout).await }, |lua, change| match change {
        Some(change) => Ok(LuaValue::Table(change_to_lua(lua, change)?)),
        None => Ok(LuaValue::Nil),
    })
}

fn close(_: &Lua, this: ThisStream) -> Result<Values, Refusal> {
    stream(this)?.close();
    done(LuaValue::Boolean(true))
}

fn stream(this: ThisStream) -> Result<Stream, Refusal> {
    match this {
        Either::Left(stream) => Ok(Stream::clone(&stream)),
        Either::Right(other) => Err(Refusal::Raised(Error::invalid(format!(
            "this is a method of a watch, but was called on {}: call it as watch:method(...)",
            type_of(&other)
        )))),
    }
}

fn change_to_lua(lua: &Lua, change: Change) -> mlua::Result<Table> {
    let events = lua.create_table_with_capacity(change.events.len(), 0)?;
    for event in change.events {
        let table = lua.create_table_with_capacity(0, 3)?;
        table.raw_set("type", event.kind.as_str())?;
        table.raw_set("key", event.key.as_str())?;
        if let Some(entry) = event.entry {
            table.raw_set("entry", entry_to_lua(lua, entry)?)?;
        }
        events.raw_push(table)?;
    }
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("revision", change.revision.to_string())?;
    table.raw_set("events", events)?;
    Ok(table)
}

/// About what a stream holds.
const STREAM_BYTES: usize = 1 << 10;
