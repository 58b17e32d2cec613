//! Histories from lines. Equal keys, values and observations are shared, so that a long history
//! takes the memory of what is different in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;

use super::HEADER;
use super::fields::{Fields, Parsed, from_hex};
use crate::check::history::{
    Answer, Call, CommandId, Delivery, History, Label, Observation, Outcome, Request, Upkeep, Work,
};
use crate::check::spec::Refusal;
use crate::clock::UnixMillis;
use crate::entry::{
    Change, Condition, Entry, Event, EventKind, Key, ListQuery, Operation, OperationResult, Page,
    PutOptions, Ttl, Version,
};
use crate::error::{Error, ErrorKind, Result};
use crate::json;
use crate::keyspace::Keyspace;
use crate::limits::{HISTORY_LINE_BYTES_MAX, HISTORY_LINES_MAX};
use crate::value::{Encoded, Value};

/// Reads a history.
///
/// # Errors
/// `INVALID`, with `details.line`, if the text is not exactly of the documented form;
/// `UNAVAILABLE` if it can't be read.
pub fn read(from: impl BufRead) -> Result<History> {
    let mut reader = Reader::default();
    let mut lines = Lines { from, lines_max: HISTORY_LINES_MAX, number: 0, line: Vec::new() };
    match lines.next()? {
        Some(header) if header == HEADER.as_bytes() => {}
        _ => return Err(at_line(1, format!("the first line must be {HEADER}"))),
    }
    while let Some(line) = lines.next()? {
        let line =
            serde_json::from_slice(line).map_err(|error| format!("this is no JSON: {error}"));
        let number = lines.number;
        line.and_then(|json| reader.line(json)).map_err(|problem| at_line(number, problem))?;
    }
    Ok(reader.history)
}

fn at_line(line: usize, problem: impl std::fmt::Display) -> Error {
    Error::invalid(format!("line {line}: {problem}")).with_detail("line", line)
}

/// The lines of a file, within their limits.
struct Lines<R> {
    from: R,
    lines_max: usize,
    number: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let limit = HISTORY_LINE_BYTES_MAX as u64 + 1;
        let mut limited = std::io::Read::take(&mut self.from, limit);
        let read = limited.read_until(b'\n', &mut self.line).map_err(|error| {
            Error::unavailable(format!("line {}: it can't be read: {error}", self.number + 1))
        })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.len() > HISTORY_LINE_BYTES_MAX {
            let problem = format!("it is longer than {HISTORY_LINE_BYTES_MAX} bytes");
            return Err(at_line(self.number, problem).with_detail("limit", HISTORY_LINE_BYTES_MAX));
        }
        if self.number > self.lines_max {
            let problem = format!("a history has at most {} lines", self.lines_max);
            return Err(at_line(self.number, problem).with_detail("limit", self.lines_max));
        }
        Ok(Some(&self.line))
    }
}

#[derive(Default)]
struct Reader {
    history: History,
    ids: BTreeSet<u64>,
    keyspaces: BTreeMap<String, Keyspace>,
    keys: BTreeMap<String, Key>,
    values: BTreeMap<Bytes, Arc<Value>>,
    observations: BTreeMap<(u64, u64), Arc<Observation>>,
}

impl Reader {
    fn line(&mut self, line: Json) -> Parsed<()> {
        let mut fields = Fields::of(line, "the line")?;
        if fields.has("id") {
            let call = self.call(&mut fields)?;
            if !self.ids.insert(call.id) {
                return Err(format!("the id {} was there before", call.id));
            }
            self.history.calls.push(call);
        } else if fields.has("watch") {
            let delivery = self.delivery(&mut fields)?;
            self.history.deliveries.push(delivery);
        } else if fields.has("upkeep") {
            self.history.upkeep.push(upkeep(&mut fields)?);
        } else {
            return Err("it must have the field id, watch or upkeep".to_owned());
        }
        fields.finish()
    }

    fn call(&mut self, fields: &mut Fields) -> Parsed<Call> {
        let called_at = fields.number("from")?;
        let returned_at = fields.optional_number("to")?;
        if returned_at.is_some_and(|returned_at| returned_at < called_at) {
            return Err("it returned before it was made".to_owned());
        }
        let request = self.request(fields)?;
        Ok(Call {
            id: fields.number("id")?,
            client: fields.small_number("client")?,
            node: fields.small_number("node")?,
            called_at,
            returned_at,
            keyspace: self.keyspace(fields)?,
            outcome: self.outcome(fields, &request)?,
            request,
            command: fields.optional_object("command")?.map(command).transpose()?.map(Box::new),
            label: fields.optional_object("label")?.map(label).transpose()?,
        })
    }

    fn keyspace(&mut self, fields: &mut Fields) -> Parsed<Keyspace> {
        let name = fields.text("keyspace")?;
        if let Some(keyspace) = self.keyspaces.get(&name) {
            return Ok(keyspace.clone());
        }
        let keyspace = Keyspace::new(&name).map_err(|error| error.message().to_owned())?;
        self.keyspaces.insert(name, keyspace.clone());
        Ok(keyspace)
    }

    fn key(&mut self, name: String) -> Parsed<Key> {
        if let Some(key) = self.keys.get(&name) {
            return Ok(key.clone());
        }
        let key = Key::new(&name).map_err(|error| error.message().to_owned())?;
        self.keys.insert(name, key.clone());
        Ok(key)
    }

    fn value(&mut self, fields: &mut Fields) -> Parsed<Arc<Value>> {
        let encoded = match (fields.take("value"), fields.take("value_hex")) {
            (Some(json), None) => {
                let value = json::from_json(json).ok_or("null is no value")?;
                Encoded::new(&value).map_err(|error| error.message().to_owned())?
            }
            (None, Some(Json::String(hex))) => {
                let bytes = from_hex(&hex).ok_or("value_hex is not hexadecimal")?;
                Encoded::from_bytes(bytes.into())
                    .map_err(|_| "value_hex is no canonical encoding of a value".to_owned())?
            }
            _ => return Err("there must be either value or value_hex, a string".to_owned()),
        };
        let bytes = encoded.as_bytes().clone();
        Ok(Arc::clone(self.values.entry(bytes).or_insert_with(|| Arc::new(encoded.decode()))))
    }

    fn request(&mut self, fields: &mut Fields) -> Parsed<Request> {
        let mut requests = Vec::new();
        for name in ["get", "entry", "has"] {
            if let Some(key) = fields.optional_text(name)? {
                let key = self.key(key)?;
                requests.push(match name {
                    "get" => Request::Get(key),
                    "entry" => Request::Entry(key),
                    _ => Request::Has(key),
                });
            }
        }
        if let Some(put) = fields.optional_object("put")? {
            let (key, value, options) = self.put(put)?;
            requests.push(Request::put(key, value, options));
        }
        if let Some(delete) = fields.optional_object("delete")? {
            let (key, if_version) = self.delete(delete)?;
            requests.push(Request::delete(key, if_version));
        }
        if let Some(list) = fields.optional_object("list")? {
            requests.push(Request::list(query(list)?));
        }
        if let Some(operations) = fields.optional_list("transact")? {
            let operations = operations.into_iter().map(|operation| self.operation(operation));
            requests.push(Request::transact(operations.collect::<Parsed<_>>()?));
        }
        let only = requests.pop().filter(|_| requests.is_empty());
        only.ok_or_else(|| {
            "there must be one of get, entry, has, put, delete, list, transact".to_owned()
        })
    }

    fn put(&mut self, mut fields: Fields) -> Parsed<(Key, Arc<Value>, PutOptions)> {
        let key = self.key(fields.text("key")?)?;
        let value = self.value(&mut fields)?;
        let ttl = match fields.optional_number("ttl_ms")? {
            Some(0) => return Err("ttl_ms is positive, or not there".to_owned()),
            Some(ttl) => Ttl::from_ms(ttl).map_err(|error| error.message().to_owned())?,
            None => None,
        };
        let condition = fields.condition()?;
        fields.finish()?;
        Ok((key, value, PutOptions { ttl, condition }))
    }

    fn delete(&mut self, mut fields: Fields) -> Parsed<(Key, Option<Version>)> {
        let key = self.key(fields.text("key")?)?;
        let if_version = fields.optional_version("if_version")?;
        fields.finish()?;
        Ok((key, if_version))
    }

    fn operation(&mut self, operation: Json) -> Parsed<Operation> {
        let mut fields = Fields::of(operation, "an operation")?;
        let put = fields.optional_object("put")?;
        let delete = fields.optional_object("delete")?;
        let check = fields.optional_object("check")?;
        fields.finish()?;
        match (put, delete, check) {
            (Some(put), None, None) => {
                let (key, value, options) = self.put(put)?;
                Ok(Operation::Put { key, value: value.as_ref().clone(), options })
            }
            (None, Some(delete), None) => {
                let (key, if_version) = self.delete(delete)?;
                Ok(Operation::Delete { key, if_version })
            }
            (None, None, Some(mut check)) => {
                let key = self.key(check.text("key")?)?;
                let condition = check.condition()?;
                check.finish()?;
                if condition == Condition::None {
                    return Err("a check needs if_absent or if_version".to_owned());
                }
                Ok(Operation::Check { key, condition })
            }
            _ => Err("an operation is one of put, delete, check".to_owned()),
        }
    }

    fn outcome(&mut self, fields: &mut Fields, request: &Request) -> Parsed<Outcome> {
        let (ok, unknown) = (fields.take("ok"), fields.take("unknown"));
        match (ok, fields.optional_object("failed")?, unknown) {
            (Some(answer), None, None) => Ok(Outcome::Ok(self.answer(answer, request)?)),
            (None, Some(refusal), None) => Ok(Outcome::failed(refusal_of(refusal)?)),
            (None, None, Some(Json::Bool(true))) => Ok(Outcome::Unknown),
            _ => Err("there must be one of ok, failed, and unknown, which is true".to_owned()),
        }
    }

    fn answer(&mut self, answer: Json, request: &Request) -> Parsed<Answer> {
        match (request, answer) {
            (Request::Has(_) | Request::Delete(_), Json::Bool(is_present)) => {
                Ok(Answer::Present(is_present))
            }
            (Request::Get(_) | Request::Entry(_) | Request::Put(_), answer) => {
                let mut fields = Fields::of(answer, "ok")?;
                let observation = self.observation(&mut fields)?;
                fields.finish()?;
                Ok(Answer::Entry(observation))
            }
            (Request::List(_), answer) => {
                let mut fields = Fields::of(answer, "ok")?;
                let items = fields.optional_list("items")?.ok_or("ok needs items")?;
                let items = items.into_iter().map(|item| self.item(item));
                let page = Page {
                    items: items.collect::<Parsed<_>>()?,
                    cursor: fields.text("cursor")?,
                    has_more: fields.flag("has_more")?,
                };
                fields.finish()?;
                Ok(Answer::page(page))
            }
            (Request::Transact(_), Json::Array(results)) => {
                let results = results.into_iter().map(|result| match result {
                    Json::Bool(was_present) => Ok(OperationResult::Deleted(was_present)),
                    Json::String(text) if text == "holds" => Ok(OperationResult::Checked),
                    entry => self.item(entry).map(OperationResult::Put),
                });
                Ok(Answer::transacted(results.collect::<Parsed<_>>()?))
            }
            _ => Err("ok does not fit what was asked".to_owned()),
        }
    }

    fn item(&mut self, item: Json) -> Parsed<Entry> {
        let mut fields = Fields::of(item, "an entry")?;
        let key = self.key(fields.text("key")?)?;
        let observation = self.observation(&mut fields)?;
        fields.finish()?;
        Ok(entry_of(key, &observation))
    }

    fn observation(&mut self, fields: &mut Fields) -> Parsed<Arc<Observation>> {
        let value = self.value(fields)?;
        let version = fields.version("version")?;
        let expires_at = fields.optional_number("expires_at")?.map(UnixMillis);
        let observation = Observation { value, version, expires_at };
        let Version::Numbered { epoch, revision } = version else {
            return Ok(Arc::new(observation));
        };
        let known = self.observations.entry((epoch, revision));
        let known = known.or_insert_with(|| Arc::new(observation.clone()));
        Ok(if **known == observation { Arc::clone(known) } else { Arc::new(observation) })
    }

    fn delivery(&mut self, fields: &mut Fields) -> Parsed<Delivery> {
        let events = fields.optional_list("events")?.ok_or("it needs events")?;
        let events = events.into_iter().map(|event| self.event(event)).collect::<Parsed<_>>()?;
        Ok(Delivery {
            watch: fields.number("watch")?,
            client: fields.small_number("client")?,
            node: fields.small_number("node")?,
            delivered_at: fields.number("at")?,
            keyspace: self.keyspace(fields)?,
            prefix: fields.bytes("prefix")?,
            after: fields.optional_version("after")?,
            change: Change { revision: fields.version("revision")?, events },
        })
    }

    fn event(&mut self, event: Json) -> Parsed<Event> {
        let mut fields = Fields::of(event, "an event")?;
        let kinds = [EventKind::Put, EventKind::Delete, EventKind::Expire];
        let kind = kinds.into_iter().find(|kind| fields.has(kind.as_str()));
        let kind = kind.ok_or("an event is one of put, delete, expire")?;
        let key = self.key(fields.text(kind.as_str())?)?;
        let entry = match kind {
            EventKind::Put => Some(entry_of(key.clone(), &*self.observation(&mut fields)?)),
            EventKind::Delete | EventKind::Expire => None,
        };
        fields.finish()?;
        Ok(Event { kind, key, entry })
    }
}

fn entry_of(key: Key, observation: &Observation) -> Entry {
    let Observation { value, version, expires_at } = observation;
    Entry { key, value: value.as_ref().clone(), version: *version, expires_at: *expires_at }
}

fn query(mut fields: Fields) -> Parsed<ListQuery> {
    let limit = fields.number("limit")?;
    let query = ListQuery::new().prefix(fields.bytes("prefix")?).after(fields.bytes("after")?);
    fields.finish()?;
    let query = query.limit(usize::try_from(limit).unwrap_or(usize::MAX));
    if query.items_max() as u64 != limit {
        return Err("limit is what the page was limited to, 1 to 1000".to_owned());
    }
    Ok(query)
}

fn refusal_of(mut fields: Fields) -> Parsed<Refusal> {
    let kind = fields.text("kind")?;
    let known = ErrorKind::ALL.into_iter().find(|known| known.constant() == kind);
    let index = fields.optional_number("index")?.map(usize::try_from);
    let refusal = Refusal {
        kind: known.ok_or_else(|| format!("{kind:?} is no kind of error"))?,
        current: fields.optional_version("version")?,
        index: index.transpose().map_err(|_| "index is too large")?,
    };
    fields.finish()?;
    Ok(refusal)
}

fn command(mut fields: Fields) -> Parsed<CommandId> {
    let session = (fields.epoch()?, fields.number("index")?);
    let seq = fields.number("seq")?;
    fields.finish()?;
    Ok(CommandId { session, seq })
}

fn label(mut fields: Fields) -> Parsed<Label> {
    let label = Label {
        index: fields.number("index")?,
        log_time: UnixMillis(fields.number("log_time")?),
        epoch: fields.epoch()?,
    };
    fields.finish()?;
    if label.index > i64::MAX.cast_unsigned() {
        return Err("index is too large".to_owned());
    }
    Ok(label)
}

fn upkeep(fields: &mut Fields) -> Parsed<Upkeep> {
    let label = label(fields.optional_object("label")?.ok_or("upkeep needs a label")?)?;
    let work = match fields.text("upkeep")?.as_str() {
        "advance" => Work::Advance,
        "restore" => Work::Restore,
        "execute" => {
            let fields = fields.optional_object("command")?.ok_or("execute needs a command")?;
            Work::Execute(command(fields)?)
        }
        other => return Err(format!("{other:?} is no upkeep")),
    };
    Ok(Upkeep { label, work })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a lower limit: nobody wants to wait for a hundred million lines.
    #[test]
    fn a_line_beyond_the_last_is_refused() {
        let mut lines =
            Lines { from: &b"1\n2\n3\n"[..], lines_max: 2, number: 0, line: Vec::new() };
        assert_eq!(lines.next(), Ok(Some(&b"1"[..])));
        assert_eq!(lines.next(), Ok(Some(&b"2"[..])));
        let error = lines.next().expect_err("there are three");
        assert_eq!(error.message(), "line 3: a history has at most 2 lines");
        assert_eq!(error.detail("limit"), Some(&2.into()));
    }
}
