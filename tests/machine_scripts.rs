//! Runs the golden scripts of the state machine: each file under `tests/machine_scripts` is one
//! behaviour, and its name is the sentence.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test machine_scripts` writes the output anew; read it before
//! you keep it. Commands are listed at [`Line`]; versions are written `epoch-revision`, in short.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, EventKind, Key, ListQuery, Ttl, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{
    Action, Command, KeyRef, Outcome, QualifiedKey, Reason, Record, Refusal, Reply, RevisionChange,
    SessionId, SessionStamp, StateMachine, Write, Written,
};
use plimsoll::value::Encoded;

#[test]
fn every_script_gives_its_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine_scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "the scripts were found");
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Script::new(), &path).unwrap();
    }
}

/// One line of a script. Commands of the machine take `as=SESSION/SEQ/LOW`, a session being the
/// name that `open` gave it.
#[derive(goldenscript::Command)]
enum Line {
    /// Sets the stamp of what follows, in ms: `at 100`.
    At(u64),
    /// `put KEY VALUE [ttl=MS] [if=absent|VERSION] [room=true] [as=…]`
    Put {
        key: String,
        value: String,
        #[arg(key, optional)]
        ttl: u64,
        #[arg(key = "if", optional)]
        condition: String,
        #[arg(key, optional)]
        room: bool,
        #[arg(key = "as", optional)]
        session: String,
    },
    /// `delete KEY [if=VERSION] [as=…]`
    Delete {
        key: String,
        #[arg(key = "if", optional)]
        condition: String,
        #[arg(key = "as", optional)]
        session: String,
    },
    /// `transact "put KEY VALUE [if]" "delete KEY [if]" "check KEY if" [as=…]`
    Transact {
        #[arg(many)]
        writes: Vec<String>,
        #[arg(key = "as", optional)]
        session: String,
    },
    /// Removes expired entries.
    Advance,
    /// Opens a session under a name: `open alice`.
    Open(String),
    /// Opens so many sessions that nobody uses.
    OpenMany(u64),
    /// Puts so many entries, `PREFIX/1` and on: `fill PREFIX COUNT ttl=MS`.
    Fill {
        prefix: String,
        count: u64,
        #[arg(key, optional)]
        ttl: u64,
    },
    /// `get KEY [now=MS]`
    Get {
        key: String,
        #[arg(key)]
        now: Option<u64>,
    },
    /// `list [prefix=P] [after=KEY] [limit=N] [now=MS]`
    List {
        #[arg(key, optional)]
        prefix: String,
        #[arg(key, optional)]
        after: String,
        #[arg(key, optional)]
        limit: usize,
        #[arg(key)]
        now: Option<u64>,
    },
    /// The changes after a revision.
    Changes(u64),
    /// Continues as the machine that the snapshot makes.
    Reload,
    /// Continues from the snapshot, in a new epoch: `restore 2`.
    Restore(u64),
    /// Prints what the machine counts.
    Status,
}

struct Script {
    machine: StateMachine,
    index: u64,
    stamp: UnixMillis,
    sessions: BTreeMap<String, SessionId>,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl goldenscript::Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &goldenscript::Context) -> Result<String> {
        match line {
            Line::At(stamp) => {
                self.stamp = UnixMillis(*stamp);
                Ok(String::new())
            }
            Line::Put { key, value, ttl, condition, room, session } => {
                let write = put(key, value, *ttl, parse_condition(condition)?)?;
                self.apply(Action::Write { write, make_room: *room }, session)
            }
            Line::Delete { key, condition, session } => {
                let write = delete(key, parse_condition(condition)?)?;
                self.apply(Action::Write { write, make_room: false }, session)
            }
            Line::Transact { writes, session } => {
                let writes =
                    writes.iter().map(|write| parse_write(write)).collect::<Result<_>>()?;
                self.apply(Action::Transact { writes, make_room: false }, session)
            }
            Line::Advance => self.apply(Action::Advance, ""),
            Line::Open(name) => {
                self.sessions.insert(
                    name.clone(),
                    SessionId { epoch: self.machine.epoch(), index: self.index + 1 },
                );
                self.apply(Action::OpenSession, "")
            }
            Line::OpenMany(count) => {
                for _ in 0..*count {
                    self.apply(Action::OpenSession, "")?;
                }
                Ok(String::new())
            }
            Line::Fill { prefix, count, ttl } => {
                for number in 1..=*count {
                    let write = put(&format!("{prefix}/{number}"), "x", *ttl, Condition::None)?;
                    self.apply(Action::Write { write, make_room: false }, "")?;
                }
                Ok(String::new())
            }
            Line::Reload => {
                self.machine = StateMachine::from_snapshot(self.machine.snapshot())?;
                Ok(String::new())
            }
            Line::Restore(epoch) => {
                self.machine = StateMachine::restore(self.machine.snapshot(), *epoch)?;
                Ok(String::new())
            }
            read => self.read(read),
        }
    }
}

impl Script {
    fn new() -> Self {
        Self {
            machine: StateMachine::new(1),
            index: 0,
            stamp: UnixMillis(0),
            sessions: BTreeMap::new(),
        }
    }

    fn apply(&mut self, action: Action, session: &str) -> Result<String> {
        self.index += 1;
        let session = self.parse_session(session)?;
        let outcome = self.machine.apply(self.index, self.stamp, &Command { session, action });
        show_outcome(&outcome)
    }

    fn read(&self, line: &Line) -> Result<String> {
        let mut output = String::new();
        match line {
            Line::Get { key, now } => {
                let key = Key::new(key)?;
                match self.machine.get(KeyRef::new(&keyspace(), &key), self.now(*now)) {
                    Some(record) => writeln!(output, "{}", show_record(key.as_str(), record))?,
                    None => writeln!(output, "{key} is absent")?,
                }
            }
            Line::List { prefix, after, limit, now } => {
                let query = ListQuery::new()
                    .prefix(prefix.as_bytes())
                    .after(after.as_bytes())
                    .limit(*limit);
                let page = self.machine.list(KEYSPACE, &query, self.now(*now));
                for (key, record) in &page.items {
                    writeln!(output, "{}", show_record(key.key(), record))?;
                }
                writeln!(output, "{}", if page.has_more { "more follow" } else { "the end" })?;
            }
            Line::Changes(revision) => match self.machine.changes_after(*revision) {
                Some(changes) => changes.for_each(|change| output += &show_change(change)),
                None => writeln!(output, "compacted")?,
            },
            Line::Status => writeln!(
                output,
                "epoch {:x}, revision {}, log time {}, {} entries, {} sessions",
                self.machine.epoch(),
                self.machine.revision(),
                self.machine.log_time().0,
                self.machine.len(),
                self.machine.sessions_len()
            )?,
            _ => unreachable!("what changes the machine is run above"),
        }
        Ok(output)
    }

    /// A reader's clock: the last stamp, unless it is said.
    fn now(&self, now: Option<u64>) -> UnixMillis {
        now.map_or(self.stamp, UnixMillis)
    }

    /// `SESSION/SEQ/LOW`, or nothing.
    fn parse_session(&self, text: &str) -> Result<Option<SessionStamp>> {
        if text.is_empty() {
            return Ok(None);
        }
        let parts: Vec<_> = text.split('/').collect();
        let [name, seq, low] = parts[..] else { return Err("not SESSION/SEQ/LOW".into()) };
        let session = *self.sessions.get(name).ok_or("no session of that name was opened")?;
        Ok(Some(SessionStamp { session, seq: seq.parse()?, low: low.parse()? }))
    }
}

/// `put KEY VALUE [CONDITION]`, `delete KEY [CONDITION]` or `check KEY CONDITION`.
fn parse_write(text: &str) -> Result<Write> {
    let words: Vec<_> = text.split_whitespace().collect();
    match words[..] {
        ["put", key, value] => put(key, value, 0, Condition::None),
        ["put", key, value, condition] => put(key, value, 0, parse_condition(condition)?),
        ["delete", key] => delete(key, Condition::None),
        ["delete", key, condition] => delete(key, parse_condition(condition)?),
        ["check", key, condition] => {
            Ok(Write::Check { key: qualified(key)?, condition: parse_condition(condition)? })
        }
        _ => Err(format!("no write: {text}").into()),
    }
}

/// `absent`, a version such as `1-7`, or nothing.
fn parse_condition(text: &str) -> Result<Condition> {
    match text {
        "" => Ok(Condition::None),
        "absent" => Ok(Condition::Absent),
        version => {
            let (epoch, revision) = version.split_once('-').ok_or("no version")?;
            let epoch = u64::from_str_radix(epoch, 16)?;
            Ok(Condition::Version(Version::Numbered { epoch, revision: revision.parse()? }))
        }
    }
}

fn put(key: &str, value: &str, ttl: u64, condition: Condition) -> Result<Write> {
    let (key, value) = (qualified(key)?, Encoded::new(&value.into())?);
    Ok(Write::Put { key, value, ttl: Ttl::from_ms(ttl)?, condition })
}

fn delete(key: &str, condition: Condition) -> Result<Write> {
    let if_version = match condition {
        Condition::None => None,
        Condition::Version(version) => Some(version),
        Condition::Absent => return Err("an absent key is not deleted".into()),
    };
    Ok(Write::Delete { key: qualified(key)?, if_version })
}

fn qualified(key: &str) -> Result<QualifiedKey> {
    Ok(QualifiedKey::new(&keyspace(), &Key::new(key)?))
}

fn keyspace() -> Keyspace {
    Keyspace::new(KEYSPACE).unwrap()
}

fn show_outcome(outcome: &Outcome) -> Result<String> {
    let mut output = String::new();
    match &outcome.reply {
        Reply::Written(written) => writeln!(output, "{}", show_written(written))?,
        Reply::Transacted(written) => {
            let written: Vec<_> = written.iter().map(show_written).collect();
            writeln!(output, "{}", written.join(", "))?;
        }
        Reply::Advanced(removed) => writeln!(output, "removed {removed}")?,
        Reply::SessionOpened(session) => writeln!(output, "session {session:?}")?,
        Reply::Refused(refusal) => writeln!(output, "{}", show_refusal(refusal))?,
    }
    if let Some(change) = &outcome.change {
        output += &show_change(change);
    }
    Ok(output)
}

fn show_written(written: &Written) -> String {
    match written {
        Written::Put { version, deadline: None } => show_version(*version),
        Written::Put { version, deadline: Some(deadline) } => {
            format!("{} until {}", show_version(*version), deadline.0)
        }
        Written::Deleted(true) => "deleted".to_owned(),
        Written::Deleted(false) => "was absent".to_owned(),
        Written::Checked => "holds".to_owned(),
    }
}

fn show_refusal(refusal: &Refusal) -> String {
    let reason = match refusal.reason {
        Reason::Exists(version) => format!("exists as {}", show_version(version)),
        Reason::Absent => "is absent".to_owned(),
        Reason::OtherVersion(version) => format!("has {}", show_version(version)),
        Reason::SessionExpired => "the session is unknown".to_owned(),
        Reason::SequenceTooLow => "the number is below low".to_owned(),
        Reason::SequenceTooHigh => "the number is beyond the window".to_owned(),
    };
    match refusal.index {
        None => format!("refused: {reason}"),
        Some(index) => format!("refused: operation {index}: {reason}"),
    }
}

/// One line; a long one is cut in the middle.
fn show_change(change: &RevisionChange) -> String {
    let mut events: Vec<_> = change
        .events
        .iter()
        .map(|event| match (event.kind, &event.record) {
            (EventKind::Put, Some(record)) => {
                format!("put {} = {:?}", event.key.key(), record.value.decode())
            }
            (kind, _) => format!("{} {}", kind.as_str(), event.key.key()),
        })
        .collect();
    if events.len() > SHOWN_EVENTS_MAX {
        let hidden = events.len() - SHOWN_EVENTS_MAX;
        events.splice(2..2 + hidden, [format!("… {hidden} more")]);
    }
    format!("  revision {}: {}\n", change.revision, events.join(", "))
}

fn show_record(key: &str, record: &Record) -> String {
    let version = show_version(record.version);
    let deadline =
        record.deadline.map_or(String::new(), |deadline| format!(" until {}", deadline.0));
    format!("{key} = {:?}, {version}{deadline}", record.value.decode())
}

fn show_version(version: Version) -> String {
    match version {
        Version::Numbered { epoch, revision } => format!("{epoch:x}-{revision}"),
        version => version.to_string(),
    }
}

const KEYSPACE: &str = "scripts";

const SHOWN_EVENTS_MAX: usize = 5;
