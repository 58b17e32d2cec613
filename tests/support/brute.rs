//! The plainest checker: tries every order of a tiny history.
//!
//! A version is an opaque name that is given once. Entries with a time to live may be gone at any
//! time after they were written: what a clock could say is left open. So it accepts whatever a
//! checker with a clock accepts, and whatever it refuses is wrong.
#![allow(dead_code)]

use std::collections::BTreeMap;

use plimsoll::check::history::{Answer, Call, History, Observation, Outcome, Request};
use plimsoll::check::spec::{Name, Refusal};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{
    Condition, Entry, Key, ListQuery, Operation, OperationResult, Page, PutOptions, Version,
};
use plimsoll::error::ErrorKind;
use plimsoll::value::Value;

/// Whether some order explains the history.
pub fn is_linearizable(history: &History) -> bool {
    let calls: Vec<&Call> = history
        .calls
        .iter()
        .filter(|call| match call.outcome {
            Outcome::Unknown => call.request.is_command(),
            _ => call.is_observation(),
        })
        .collect();
    assert!(calls.len() <= 10, "only for tiny histories");
    search(&calls, (1 << calls.len()) - 1, &State::default())
}

fn search(calls: &[&Call], left: u32, state: &State) -> bool {
    let in_left = |number: &usize| left & (1 << number) != 0;
    let remaining = || (0..calls.len()).filter(in_left);
    let first_end = remaining().filter_map(|number| calls[number].ended_at()).min();
    let Some(first_end) = first_end.or_else(|| {
        let is_open = |number: usize| calls[number].outcome == Outcome::Unknown;
        remaining().any(|number| !is_open(number)).then_some(u64::MAX)
    }) else {
        return true;
    };
    remaining().any(|number| {
        let call = calls[number];
        let mut next = state.clone();
        call.called_at <= first_end
            && next.make(call).is_some()
            && search(calls, left & !(1 << number), &next)
    })
}

#[derive(Clone, Default)]
struct State {
    entries: BTreeMap<Name, Held>,
    /// The versions that were given.
    given: Vec<Version>,
    /// The versions of writes whose outcome is unknown, from when somebody sees them.
    found: BTreeMap<u64, Version>,
}

#[derive(Clone)]
struct Held {
    /// None if its maker does not say.
    version: Option<Version>,
    made_by: u64,
    value: Value,
    has_ttl: bool,
    /// None until somebody sees it.
    deadline: Option<Option<UnixMillis>>,
}

/// `None`: the call can't have been answered like this here.
type Possible = Option<()>;

fn only_if(condition: bool) -> Possible {
    condition.then_some(())
}

impl State {
    fn make(&mut self, call: &Call) -> Possible {
        let name = |key: &Key| (call.keyspace.clone(), key.clone());
        match (&call.request, &call.outcome) {
            (Request::Get(key) | Request::Entry(key), Outcome::Ok(Answer::Entry(seen))) => {
                self.see(&name(key), seen.version, Some(seen))
            }
            (Request::Get(key) | Request::Entry(key), Outcome::Failed(refusal)) => {
                only_if(refusal.kind == ErrorKind::NotFound)?;
                self.see_absent(&name(key))
            }
            (Request::Has(key), Outcome::Ok(Answer::Present(true))) => self.see_present(&name(key)),
            (Request::Has(key), Outcome::Ok(Answer::Present(false))) => self.see_absent(&name(key)),
            (Request::List(query), Outcome::Ok(Answer::Page(page))) => self.list(call, query, page),
            (request, outcome) if request.is_command() => {
                let operations = operations(request);
                match outcome {
                    Outcome::Failed(refusal) => self.refuse(call, &operations, refusal),
                    Outcome::Unknown => {
                        self.conditions_hold(call, &operations)?;
                        self.execute(call, &operations, None)
                    }
                    Outcome::Ok(answer) => {
                        self.conditions_hold(call, &operations)?;
                        let results: Vec<OperationResult> = match (answer, request) {
                            (Answer::Entry(seen), Request::Put(put)) => {
                                vec![OperationResult::Put(Entry {
                                    key: put.key.clone(),
                                    value: seen.value.as_ref().clone(),
                                    version: seen.version,
                                    expires_at: seen.expires_at,
                                })]
                            }
                            (Answer::Present(found), Request::Delete(_)) => {
                                vec![OperationResult::Deleted(*found)]
                            }
                            (Answer::Transacted(results), Request::Transact(_)) => results.to_vec(),
                            _ => return None,
                        };
                        self.execute(call, &operations, Some(&results))
                    }
                }
            }
            _ => None,
        }
    }

    fn see_present(&mut self, name: &Name) -> Possible {
        only_if(self.entries.contains_key(name))
    }

    /// What has a time to live may just have expired.
    fn see_absent(&mut self, name: &Name) -> Possible {
        match self.entries.get(name) {
            Some(held) if !held.has_ttl => None,
            _ => {
                self.entries.remove(name);
                Some(())
            }
        }
    }

    fn see(&mut self, name: &Name, version: Version, seen: Option<&Observation>) -> Possible {
        let is_new = !self.given.contains(&version);
        let held = self.entries.get_mut(name)?;
        match held.version.or_else(|| self.found.get(&held.made_by).copied()) {
            Some(known) => only_if(known == version)?,
            None => {
                only_if(is_new)?;
                self.found.insert(held.made_by, version);
                self.given.push(version);
            }
        }
        let Some(seen) = seen else { return Some(()) };
        only_if(*seen.value == held.value && seen.expires_at.is_some() == held.has_ttl)?;
        let deadline = *held.deadline.get_or_insert(seen.expires_at);
        only_if(deadline == seen.expires_at)
    }

    fn condition_holds(&mut self, name: &Name, condition: Condition) -> Possible {
        match condition {
            Condition::None => Some(()),
            Condition::Absent => self.see_absent(name),
            Condition::Version(version) => self.see(name, version, None),
        }
    }

    fn conditions_hold(&mut self, call: &Call, operations: &[Operation]) -> Possible {
        for operation in operations {
            let name = (call.keyspace.clone(), operation.key().clone());
            self.condition_holds(&name, operation.condition())?;
        }
        Some(())
    }

    fn refuse(&mut self, call: &Call, operations: &[Operation], refusal: &Refusal) -> Possible {
        let failed = refusal.index.unwrap_or(1) - 1;
        only_if(failed < operations.len())?;
        self.conditions_hold(call, &operations[..failed])?;
        let operation = &operations[failed];
        let name = (call.keyspace.clone(), operation.key().clone());
        match (refusal.kind, operation.condition(), refusal.current) {
            (ErrorKind::NotFound, Condition::Version(_), _) => self.see_absent(&name),
            (ErrorKind::AlreadyExists, Condition::Absent, Some(current)) => {
                self.see(&name, current, None)
            }
            (ErrorKind::Conflict, Condition::Version(required), Some(current)) => {
                only_if(required != current)?;
                self.see(&name, current, None)
            }
            _ => None,
        }
    }

    fn execute(
        &mut self,
        call: &Call,
        operations: &[Operation],
        results: Option<&[OperationResult]>,
    ) -> Possible {
        only_if(results.is_none_or(|results| results.len() == operations.len()))?;
        let mut made: Vec<Version> = Vec::new();
        for (position, operation) in operations.iter().enumerate() {
            let name = (call.keyspace.clone(), operation.key().clone());
            match (operation, results.map(|results| &results[position])) {
                (Operation::Put { value, options, .. }, None) => {
                    self.entries.insert(name, held(call, value, options, None));
                }
                (Operation::Put { value, options, .. }, Some(OperationResult::Put(entry))) => {
                    only_if(!self.given.contains(&entry.version))?;
                    only_if(entry.value == *value)?;
                    only_if(entry.expires_at.is_some() == options.ttl.is_some())?;
                    made.push(entry.version);
                    self.entries.insert(name, held(call, value, options, Some(entry)));
                }
                (Operation::Delete { .. }, None) => {
                    self.entries.remove(&name);
                }
                (Operation::Delete { .. }, Some(OperationResult::Deleted(true))) => {
                    self.entries.remove(&name)?;
                }
                (Operation::Delete { .. }, Some(OperationResult::Deleted(false))) => {
                    // Nothing expires between a condition and what depends on it.
                    only_if(operation.condition() == Condition::None)?;
                    self.see_absent(&name)?;
                }
                (Operation::Check { .. }, None | Some(OperationResult::Checked)) => {}
                _ => return None,
            }
        }
        self.given.extend(made);
        Some(())
    }

    fn list(&mut self, call: &Call, query: &ListQuery, page: &Page) -> Possible {
        let in_range = |(keyspace, key): &&Name| {
            let key = key.as_str().as_bytes();
            *keyspace == call.keyspace
                && key.starts_with(&query.prefix)
                && key > query.after.as_slice()
        };
        let mut items = page.items.iter().peekable();
        let mut count = 0;
        for name in self.entries.keys().filter(in_range).cloned().collect::<Vec<_>>() {
            if count == query.items_max() && page.has_more {
                // Something follows.
                return only_if(items.next().is_none());
            }
            match items.next_if(|item| item.key == name.1) {
                Some(item) if count < query.items_max() => {
                    let Entry { value, version, expires_at, .. } = item.clone();
                    let seen = Observation { value: value.into(), version, expires_at };
                    self.see(&name, version, Some(&seen))?;
                    count += 1;
                }
                Some(_) => return None,
                None => self.see_absent(&name)?,
            }
        }
        only_if(items.next().is_none() && !page.has_more)
    }
}

fn held(call: &Call, value: &Value, options: &PutOptions, entry: Option<&Entry>) -> Held {
    Held {
        version: entry.map(|entry| entry.version),
        made_by: call.id,
        value: value.clone(),
        has_ttl: options.ttl.is_some(),
        deadline: entry.map(|entry| entry.expires_at),
    }
}

fn operations(request: &Request) -> Vec<Operation> {
    match request {
        Request::Put(put) => {
            let options = PutOptions { ttl: put.ttl, condition: put.condition };
            let value = put.value.as_ref().clone();
            vec![Operation::Put { key: put.key.clone(), value, options }]
        }
        Request::Delete(delete) => {
            vec![Operation::Delete { key: delete.key.clone(), if_version: delete.if_version }]
        }
        Request::Transact(operations) => operations.to_vec(),
        Request::Get(_) | Request::Entry(_) | Request::Has(_) | Request::List(_) => Vec::new(),
    }
}
