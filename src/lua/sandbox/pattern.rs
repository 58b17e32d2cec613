//! Lua patterns, matched in bounded slices of time.
//!
//! Lua's own matcher backtracks inside one C function: a short pattern can keep it busy for years,
//! where no hook reaches. This one gives the same answers and calls a function of the caller every
//! [`STEPS_PER_CHECK`] steps, which may end it. (Reference: Lua 5.4 manual, section 6.4.1.)
//!
//! A pattern is parsed first, so a malformed one is an error even where Lua would have failed to
//! match before it came to the malformed part.
//!
//! Patterns have no alternatives and no nested repetition: their items stand in a row. So matching
//! needs no recursion, only a stack with at most one choice for each repeated item; and a capture
//! needs no undoing, because on the way to whoever reads it, it is always written anew.

use crate::limits::SANDBOX_PATTERN_BYTES_MAX;

/// A parsed pattern.
pub(super) struct Pattern {
    items: Vec<Item>,
    captures: Vec<CaptureKind>,
    is_anchored: bool,
}

/// What a match has captured, in bytes counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// The bytes from a place up to another.
    Bytes(usize, usize),
    /// A place: `()`.
    Position(usize),
}

/// Where a pattern has matched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) captures: Vec<Capture>,
}

impl Pattern {
    /// Parses a pattern. With `has_anchor` a leading `^` ties it to the start of the search.
    pub(super) fn parse(text: &[u8], has_anchor: bool) -> Result<Self, String> {
        if text.len() > SANDBOX_PATTERN_BYTES_MAX {
            return Err(format!(
                "the pattern has {} bytes, the limit is {SANDBOX_PATTERN_BYTES_MAX}",
                text.len()
            ));
        }
        let is_anchored = has_anchor && text.first() == Some(&b'^');
        let rest = if is_anchored { &text[1..] } else { text };
        let mut parser = Parser { rest, items: Vec::new(), captures: Vec::new(), open: Vec::new() };
        parser.parse()?;
        Ok(Self { items: parser.items, captures: parser.captures, is_anchored })
    }

    /// The first match that starts at `from` or later and does not end at `not_ending_at`. An
    /// anchored pattern is tried at `from` only.
    pub(super) fn search<E>(
        &self,
        subject: &[u8],
        from: usize,
        not_ending_at: Option<usize>,
        check: impl FnMut() -> Result<(), E>,
    ) -> Result<Option<Match>, E> {
        let captures = vec![Capture::Bytes(0, 0); self.captures.len()];
        let mut run =
            Run { pattern: self, subject, captures, choices: Vec::new(), steps: 0, check };
        let last = if self.is_anchored { from } else { subject.len() };
        for start in from..=last {
            if let Some(end) = run.match_at(start)?
                && not_ending_at != Some(end)
            {
                return Ok(Some(Match { start, end, captures: run.captures }));
            }
        }
        Ok(None)
    }
}

/// Most captures of a pattern: Lua's own limit.
const CAPTURES_MAX: usize = 32;

/// A step is a byte looked at or an item tried, so this many take some microseconds.
const STEPS_PER_CHECK: usize = 4_096;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ByteSet([u64; 4]);

impl ByteSet {
    const NONE: Self = Self([0; 4]);
    const ALL: Self = Self([u64::MAX; 4]);

    const fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }

    const fn insert(&mut self, byte: u8) {
        self.0[byte as usize / 64] |= 1 << (byte % 64);
    }

    fn one(byte: u8) -> Self {
        let mut set = Self::NONE;
        set.insert(byte);
        set
    }

    fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    fn complement(self) -> Self {
        Self(self.0.map(|bits| !bits))
    }

    /// What follows a `%`: a class by its letter, its complement by the capital, else the byte.
    fn escaped(letter: u8) -> Self {
        let is_member: fn(u8) -> bool = match letter.to_ascii_lowercase() {
            b'a' => |byte| byte.is_ascii_alphabetic(),
            b'c' => |byte| byte.is_ascii_control(),
            b'd' => |byte| byte.is_ascii_digit(),
            b'g' => |byte| byte.is_ascii_graphic(),
            b'l' => |byte| byte.is_ascii_lowercase(),
            b'p' => |byte| byte.is_ascii_punctuation(),
            // C's isspace has the vertical tab, Rust's has not.
            b's' => |byte| byte.is_ascii_whitespace() || byte == 0x0b,
            b'u' => |byte| byte.is_ascii_uppercase(),
            b'w' => |byte| byte.is_ascii_alphanumeric(),
            b'x' => |byte| byte.is_ascii_hexdigit(),
            // An old spelling that Lua still understands.
            b'z' => |byte| byte == 0,
            _ => return Self::one(letter),
        };
        let mut set = Self::NONE;
        (0..=u8::MAX).filter(|byte| is_member(*byte)).for_each(|byte| set.insert(byte));
        if letter.is_ascii_uppercase() { set.complement() } else { set }
    }
}

#[derive(Clone, Copy)]
enum CaptureKind {
    Bytes,
    Position,
}

#[derive(Clone, Copy)]
enum Repeat {
    Once,
    /// `?`
    Optional,
    /// `*`, or `+` with a least number of 1.
    Greedy(usize),
    /// `-`
    Lazy,
}

enum Item {
    Bytes(ByteSet, Repeat),
    Open(usize),
    Close(usize),
    /// `%b()`
    Balanced(u8, u8),
    /// `%f[set]`
    Frontier(ByteSet),
    /// `%1`
    Same(usize),
    /// `$` at the end.
    End,
}

struct Parser<'a> {
    rest: &'a [u8],
    items: Vec<Item>,
    captures: Vec<CaptureKind>,
    /// Captures that are not closed yet, outermost first.
    open: Vec<usize>,
}

impl Parser<'_> {
    fn parse(&mut self) -> Result<(), String> {
        while let Some(byte) = self.next() {
            match byte {
                b'(' => self.open_capture()?,
                b')' => {
                    let closed = self.open.pop().ok_or("invalid pattern capture")?;
                    self.items.push(Item::Close(closed));
                }
                b'$' if self.rest.is_empty() => self.items.push(Item::End),
                b'%' => self.parse_escape()?,
                b'[' => {
                    let set = self.parse_set()?;
                    self.push_repeated(set);
                }
                b'.' => self.push_repeated(ByteSet::ALL),
                byte => self.push_repeated(ByteSet::one(byte)),
            }
        }
        if self.open.is_empty() { Ok(()) } else { Err("unfinished capture".to_owned()) }
    }

    fn open_capture(&mut self) -> Result<(), String> {
        if self.captures.len() == CAPTURES_MAX {
            return Err("too many captures".to_owned());
        }
        let index = self.captures.len();
        self.items.push(Item::Open(index));
        if self.rest.first() == Some(&b')') {
            self.rest = &self.rest[1..];
            self.captures.push(CaptureKind::Position);
        } else {
            self.captures.push(CaptureKind::Bytes);
            self.open.push(index);
        }
        Ok(())
    }

    fn parse_escape(&mut self) -> Result<(), String> {
        match self.next().ok_or("malformed pattern (ends with '%')")? {
            b'b' => {
                let pair = (self.next(), self.next());
                let (Some(open), Some(close)) = pair else {
                    return Err("malformed pattern (missing arguments to '%b')".to_owned());
                };
                self.items.push(Item::Balanced(open, close));
            }
            b'f' => {
                if self.next() != Some(b'[') {
                    return Err("missing '[' after '%f' in pattern".to_owned());
                }
                let set = self.parse_set()?;
                self.items.push(Item::Frontier(set));
            }
            digit @ b'0'..=b'9' => {
                let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
                if index >= self.captures.len() || self.open.contains(&index) {
                    let number = digit - b'0';
                    return Err(format!("invalid capture index %{number} in pattern"));
                }
                self.items.push(Item::Same(index));
            }
            letter => self.push_repeated(ByteSet::escaped(letter)),
        }
        Ok(())
    }

    /// The rest of a set, after its `[`. Its end is found first: inside, only `%` escapes, and a
    /// range takes the two bytes around its `-` as they are.
    fn parse_set(&mut self) -> Result<ByteSet, String> {
        let is_complement = self.rest.first() == Some(&b'^');
        if is_complement {
            self.rest = &self.rest[1..];
        }
        let mut members = self.split_members().ok_or("malformed pattern (missing ']')")?;
        let mut set = ByteSet::NONE;
        loop {
            match members {
                [] => break,
                [b'%', letter, rest @ ..] => {
                    set = set.union(ByteSet::escaped(*letter));
                    members = rest;
                }
                [first, b'-', last, rest @ ..] => {
                    (*first..=*last).for_each(|member| set.insert(member));
                    members = rest;
                }
                [member, rest @ ..] => {
                    set.insert(*member);
                    members = rest;
                }
            }
        }
        Ok(if is_complement { set.complement() } else { set })
    }

    /// The members of a set up to the `]` that ends it. The first member may be a `]`.
    fn split_members(&mut self) -> Option<&[u8]> {
        let text = self.rest;
        let mut end = 0;
        loop {
            end += if *text.get(end)? == b'%' { 2 } else { 1 };
            if *text.get(end)? == b']' {
                self.rest = &text[end + 1..];
                return Some(&text[..end]);
            }
        }
    }

    fn push_repeated(&mut self, set: ByteSet) {
        let repeat = match self.rest.first() {
            Some(b'?') => Repeat::Optional,
            Some(b'*') => Repeat::Greedy(0),
            Some(b'+') => Repeat::Greedy(1),
            Some(b'-') => Repeat::Lazy,
            _ => Repeat::Once,
        };
        if !matches!(repeat, Repeat::Once) {
            self.rest = &self.rest[1..];
        }
        self.items.push(Item::Bytes(set, repeat));
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

/// What can be done instead, once what was chosen has failed.
enum Choice {
    /// Go on behind the item, one byte earlier than last time but not before `least`.
    Shorter { item: usize, least: usize, last: usize },
    /// Take one more byte at `at`, then go on behind the item.
    Longer { item: usize, at: usize },
}

struct Run<'a, F> {
    pattern: &'a Pattern,
    subject: &'a [u8],
    captures: Vec<Capture>,
    choices: Vec<Choice>,
    steps: usize,
    check: F,
}

impl<E, F: FnMut() -> Result<(), E>> Run<'_, F> {
    /// The end of the match that starts at a place.
    fn match_at(&mut self, start: usize) -> Result<Option<usize>, E> {
        self.choices.clear();
        let (mut item, mut at) = (0, start);
        loop {
            self.step()?;
            if item == self.pattern.items.len() {
                return Ok(Some(at));
            }
            let next = match self.advance(item, at)? {
                Some(next) => Some((item + 1, next)),
                None => self.choose_again()?,
            };
            let Some(next) = next else { return Ok(None) };
            (item, at) = next;
        }
    }

    /// Where the next item starts if this one matches here.
    fn advance(&mut self, item: usize, at: usize) -> Result<Option<usize>, E> {
        let subject = self.subject;
        Ok(match &self.pattern.items[item] {
            Item::Bytes(set, repeat) => return self.repeat(item, set, *repeat, at),
            Item::Open(index) => {
                self.captures[*index] = match self.pattern.captures[*index] {
                    CaptureKind::Position => Capture::Position(at),
                    CaptureKind::Bytes => Capture::Bytes(at, at),
                };
                Some(at)
            }
            Item::Close(index) => {
                if let Capture::Bytes(_, end) = &mut self.captures[*index] {
                    *end = at;
                }
                Some(at)
            }
            Item::Balanced(open, close) => self.balanced(*open, *close, at)?,
            Item::Frontier(set) => {
                let before = at.checked_sub(1).map_or(0, |before| subject[before]);
                let here = subject.get(at).copied().unwrap_or(0);
                (!set.contains(before) && set.contains(here)).then_some(at)
            }
            Item::Same(index) => {
                let Capture::Bytes(start, end) = self.captures[*index] else { return Ok(None) };
                self.spend((end - start) / 64)?;
                subject[at..].starts_with(&subject[start..end]).then_some(at + end - start)
            }
            Item::End => (at == subject.len()).then_some(at),
        })
    }

    fn repeat(
        &mut self,
        item: usize,
        set: &ByteSet,
        repeat: Repeat,
        at: usize,
    ) -> Result<Option<usize>, E> {
        let is_here = self.subject.get(at).is_some_and(|byte| set.contains(*byte));
        Ok(match repeat {
            Repeat::Once => is_here.then_some(at + 1),
            Repeat::Optional => {
                if is_here {
                    self.choices.push(Choice::Shorter { item, least: at, last: at + 1 });
                }
                Some(at + usize::from(is_here))
            }
            Repeat::Greedy(least) => {
                let mut end = at;
                while self.subject.get(end).is_some_and(|byte| set.contains(*byte)) {
                    self.step()?;
                    end += 1;
                }
                if end < at + least {
                    return Ok(None);
                }
                self.choices.push(Choice::Shorter { item, least: at + least, last: end });
                Some(end)
            }
            Repeat::Lazy => {
                self.choices.push(Choice::Longer { item, at });
                Some(at)
            }
        })
    }

    /// Takes back the latest choice that leaves another one: the item and the place to go on at.
    fn choose_again(&mut self) -> Result<Option<(usize, usize)>, E> {
        while let Some(choice) = self.choices.pop() {
            self.step()?;
            match choice {
                Choice::Shorter { item, least, last } if last > least => {
                    let last = last - 1;
                    self.choices.push(Choice::Shorter { item, least, last });
                    return Ok(Some((item + 1, last)));
                }
                Choice::Longer { item, at } => {
                    let Item::Bytes(set, _) = &self.pattern.items[item] else {
                        unreachable!("only bytes are repeated")
                    };
                    if self.subject.get(at).is_some_and(|byte| set.contains(*byte)) {
                        self.choices.push(Choice::Longer { item, at: at + 1 });
                        return Ok(Some((item + 1, at + 1)));
                    }
                }
                Choice::Shorter { .. } => {}
            }
        }
        Ok(None)
    }

    /// The end of what starts with `open` and goes on to the `close` that belongs to it.
    fn balanced(&mut self, open: u8, close: u8, at: usize) -> Result<Option<usize>, E> {
        if self.subject.get(at) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for place in at + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[place];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(place + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<(), E> {
        self.spend(1)
    }

    fn spend(&mut self, steps: usize) -> Result<(), E> {
        self.steps += steps;
        if self.steps >= STEPS_PER_CHECK {
            self.steps = 0;
            (self.check)()?;
        }
        Ok(())
    }
}
