//! What happened last: a ring of small notes, put into words only when someone reads them.
//!
//! Every event of a world leaves a note. Notes are numbers and static words, so that keeping them
//! costs next to nothing; text is made for a failure, or for `--trace`.

use std::collections::VecDeque;
use std::fmt;

use plimsoll::raft::{Body, Envelope, Hello, RaftId};

use crate::faults::Fault;
use crate::world::{Letter, host_of, number_of};

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// In which step.
    pub step: u64,
    /// At which true time.
    pub at_us: u64,
    /// At which node, if at one.
    pub node: Option<u8>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A tick of a node.
    Tick,
    /// A message arrives.
    Receive(Said),
    /// A message leaves.
    Send(Said),
    /// A message is lost, doubled or late.
    Troubled(Said, Fault),
    /// A message between CRDT nodes arrives.
    Hear(Saying),
    /// A message between CRDT nodes leaves.
    Say(Saying),
    /// A message between CRDT nodes is lost, doubled or late.
    Disturbed(Saying, Fault),
    /// A CRDT replica takes a write.
    Put {
        /// Whether it is the durable one.
        is_durable: bool,
        /// The stamp's wall time, for the eye.
        wall: u64,
        /// Which of its author's writes it is.
        counter: u64,
    },
    /// A batch is written.
    Write {
        /// Up to which step of persistence.
        number: u64,
        /// The last index in it; 0 if it has no entry.
        last: u64,
    },
    /// A batch is durable.
    Sync {
        /// Up to which step of persistence.
        number: u64,
    },
    /// A snapshot is saved.
    Snapshot {
        /// Up to which index.
        index: u64,
    },
    /// The machine was replaced.
    Install {
        /// Up to which index.
        index: u64,
    },
    /// A command is applied.
    Apply {
        /// At which index.
        index: u64,
        /// Of which term.
        term: u64,
    },
    /// The node leads.
    Lead {
        /// In which term.
        term: u64,
    },
    /// A request arrives.
    Ask {
        /// Which one.
        request: u64,
    },
    /// A request is answered.
    Answer {
        /// Which one.
        request: u64,
        /// How.
        how: &'static str,
    },
    /// A node starts.
    Start {
        /// For the how many-th time.
        start: u64,
        /// The last index that it found.
        last: u64,
    },
    /// A fault.
    Fault(Fault),
    /// Something in a word or two.
    Word(&'static str),
}

/// What a message says, in short.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    from: u8,
    to: u8,
    kind: &'static str,
    term: u64,
    index: u64,
    commit: u64,
    entries: usize,
    reject: bool,
}

impl Said {
    /// What a letter says.
    #[must_use]
    pub(crate) fn of(letter: &Letter) -> Self {
        match letter {
            Letter::Member(envelope) => Self::of_envelope(envelope),
            Letter::Hello { to, hello } => Self::of_hello(*to, hello),
        }
    }

    /// What a hello says: its number stands in the place of an index.
    fn of_hello(to: RaftId, hello: &Hello) -> Self {
        let (from, to) = (host_of(hello.member.id), host_of(to));
        let kind = match (&hello.cluster, &hello.pledge) {
            (Some(_), _) => "hello-of-member",
            (None, Some(_)) => "hello-of-pledged",
            (None, None) => "hello",
        };
        let index = number_of(hello);
        Self { from, to, kind, term: 0, index, commit: 0, entries: 0, reject: false }
    }

    fn of_envelope(envelope: &Envelope) -> Self {
        let (from, to) = (host_of(envelope.from), host_of(envelope.to));
        let kind = envelope.body.kind();
        let none = Self { from, to, kind, term: 0, index: 0, commit: 0, entries: 0, reject: false };
        match &envelope.body {
            Body::Raft(message) => Self {
                term: message.term,
                index: message.index,
                commit: message.commit,
                entries: message.entries.len(),
                reject: message.reject,
                ..none
            },
            Body::Chunk { snapshot, offset, .. } | Body::ChunkReceived { snapshot, offset } => {
                Self { index: snapshot.index, commit: *offset, ..none }
            }
            Body::NotMember { index } => Self { index: *index, ..none },
            Body::Forward { .. } | Body::ForwardChange { .. } | Body::Decline { .. } => none,
        }
    }

    /// A number that differs where messages do.
    #[must_use]
    pub const fn number(&self) -> u64 {
        let head =
            (self.from as u64) << 60 | (self.to as u64) << 56 | (self.kind.len() as u64) << 50;
        let body = self.term << 40 ^ self.index << 16 ^ self.commit ^ (self.entries as u64) << 32;
        head ^ body ^ self.reject as u64
    }
}

/// What a message between CRDT nodes says, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Who sent it, and who is to get it.
    pub link: (u8, u8),
    /// What it is.
    pub kind: &'static str,
    /// Of the durable replica.
    pub is_durable: bool,
    /// Of what incarnation, in what list; of an exchange which one and which step.
    pub numbers: [u64; 4],
    /// How long it is.
    pub bytes: usize,
}

impl Saying {
    /// A number that differs where messages do.
    #[must_use]
    pub const fn number(&self) -> u64 {
        let [incarnation, epoch, exchange, step] = self.numbers;
        let head = (self.link.0 as u64) << 60 | (self.link.1 as u64) << 56 | self.bytes as u64;
        head ^ (self.kind.len() as u64) << 50
            ^ incarnation << 40
            ^ epoch << 32
            ^ exchange << 24
            ^ step << 20
    }
}

impl fmt::Display for Saying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, kind, is_durable, numbers, bytes } = self;
        let [incarnation, epoch, exchange, step] = numbers;
        write!(f, "{kind} {}>{}", link.0, link.1)?;
        if *kind != "swim" {
            let space = if *is_durable { "durable" } else { "volatile" };
            write!(f, " {space} incarnation {incarnation} epoch {epoch}")?;
        }
        if *exchange > 0 {
            write!(f, " exchange {exchange} step {step}")?;
        }
        write!(f, ", {bytes} bytes")
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, kind, term, index, commit, entries, reject } = self;
        write!(f, "{kind} {from}>{to} term {term} index {index} commit {commit}")?;
        if *entries > 0 {
            write!(f, " entries {entries}")?;
        }
        if *reject { f.write_str(" rejected") } else { Ok(()) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => f.write_str("tick"),
            Self::Receive(said) => write!(f, "receives {said}"),
            Self::Send(said) => write!(f, "sends {said}"),
            Self::Troubled(said, fault) => write!(f, "{said}: {fault}"),
            Self::Hear(saying) => write!(f, "receives {saying}"),
            Self::Say(saying) => write!(f, "sends {saying}"),
            Self::Disturbed(saying, fault) => write!(f, "{saying}: {fault}"),
            Self::Put { is_durable, wall, counter } => {
                let space = if *is_durable { "durable" } else { "volatile" };
                write!(f, "takes write {counter} into its {space} replica, at {wall}")
            }
            Self::Write { number, last } => write!(f, "writes step {number}, last index {last}"),
            Self::Sync { number } => write!(f, "has synced step {number}"),
            Self::Snapshot { index } => write!(f, "has saved a snapshot of index {index}"),
            Self::Install { index } => write!(f, "has installed a snapshot of index {index}"),
            Self::Apply { index, term } => write!(f, "applies index {index} of term {term}"),
            Self::Lead { term } => write!(f, "leads in term {term}"),
            Self::Ask { request } => write!(f, "is asked {request}"),
            Self::Answer { request, how } => write!(f, "answers {request}: {how}"),
            Self::Start { start, last } => write!(f, "starts, number {start}, last index {last}"),
            Self::Fault(fault) => write!(f, "fault: {fault}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(f, "{:>8} {seconds:>4}.{micros:06} ", self.step)?;
        match self.node {
            Some(node) => write!(f, "node {node} ")?,
            None => f.write_str("       ")?,
        }
        fmt::Display::fmt(&self.what, f)
    }
}

/// Which notes are printed as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// From this step on.
    pub from: u64,
    /// Up to this step.
    pub to: u64,
    /// Only of this node.
    pub node: Option<u8>,
}

/// The newest notes.
#[derive(Debug)]
pub struct Trace {
    ring: VecDeque<Note>,
    printed: Option<Filter>,
}

impl Trace {
    /// Keeps the newest notes, and prints those that a filter lets through.
    #[must_use]
    pub fn new(printed: Option<Filter>) -> Self {
        Self { ring: VecDeque::with_capacity(NOTES_KEPT), printed }
    }

    pub(crate) fn note(&mut self, note: Note) {
        if self.ring.len() == NOTES_KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(note);
        if let Some(filter) = self.printed
            && (filter.from..=filter.to).contains(&note.step)
            && (filter.node.is_none() || note.node == filter.node)
        {
            println!("{note}");
        }
    }

    /// The newest notes in words, oldest first.
    #[must_use]
    pub fn newest(&self) -> Vec<String> {
        self.ring.iter().map(Note::to_string).collect()
    }
}

/// How many notes are kept for a failure.
const NOTES_KEPT: usize = 40;
