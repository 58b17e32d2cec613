//! How much may happen in a run of the model: a search is exhaustive within its bounds.

use std::str::FromStr;

use super::rule::MEMBERS;

/// How often each kind of event may happen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// Members that are listed at first: 1 to 4.
    pub members: u8,
    /// Whether the members start for the first time, instead of having joined and met. 1 or 0.
    pub first: u8,
    /// 1: no relayed pushes, no digests of their own, and no answers that are cut off. 2: no pushes
    /// either, so that all is exchanges.
    pub plain: u8,
    /// Puts without a deadline.
    pub puts: u8,
    /// Puts with a deadline; at most one.
    pub leases: u8,
    /// Deletes.
    pub deletes: u8,
    /// Restarts with the state that was synced.
    pub durable: u8,
    /// Restarts with nothing.
    pub empty: u8,
    /// Restarts with the state of an older snapshot.
    pub older: u8,
    /// Syncs, answers, digests and relayed pushes that stay under way for ever.
    pub delayed: u8,
    /// New lists without a member of the last one.
    pub removals: u8,
    /// New lists with a new member.
    pub additions: u8,
}

/// A way to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With the state that was synced.
    Durable,
    /// With nothing.
    Empty,
    /// With the state of an older snapshot.
    Older,
}

impl Bounds {
    /// Nothing ever happens.
    pub const NONE: Self = Self {
        members: 3,
        first: 0,
        plain: 0,
        puts: 0,
        leases: 0,
        deletes: 0,
        durable: 0,
        empty: 0,
        older: 0,
        delayed: 0,
        removals: 0,
        additions: 0,
    };

    /// How many restarts of this manner.
    pub fn restarts(&mut self, manner: Manner) -> &mut u8 {
        match manner {
            Manner::Durable => &mut self.durable,
            Manner::Empty => &mut self.empty,
            Manner::Older => &mut self.older,
        }
    }

    fn field(&mut self, name: &str) -> Option<&mut u8> {
        Some(match name {
            "members" => &mut self.members,
            "first" => &mut self.first,
            "plain" => &mut self.plain,
            "puts" => &mut self.puts,
            "leases" => &mut self.leases,
            "deletes" => &mut self.deletes,
            "durable" => &mut self.durable,
            "empty" => &mut self.empty,
            "older" => &mut self.older,
            "delayed" => &mut self.delayed,
            "removals" => &mut self.removals,
            "additions" => &mut self.additions,
            _ => return None,
        })
    }
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Durable, Self::Empty, Self::Older];
}

impl FromStr for Bounds {
    type Err = String;

    /// Reads `puts=1,deletes=1,empty=2`; what is not named does not happen, to three members.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bounds = Self::NONE;
        for part in text.split(',') {
            let parsed = part.split_once('=').and_then(|(name, value)| {
                let value = value.parse().ok().filter(|value| *value <= EACH_MAX)?;
                Some((bounds.field(name)?, value))
            });
            let (field, value) = parsed.ok_or_else(|| {
                format!("{part:?}: members, first, plain, puts, leases, deletes, durable, empty, older, delayed, removals or additions, = 0 to {EACH_MAX}")
            })?;
            *field = value;
        }
        let writes = bounds.puts + bounds.leases + bounds.deletes;
        if bounds.leases > 1
            || usize::from(writes) > WRITES_MAX
            || usize::from(bounds.delayed) > DELAYED_MAX
        {
            return Err(format!(
                "at most 1 lease, {WRITES_MAX} writes and {DELAYED_MAX} delayed messages"
            ));
        }
        let members = bounds.members + bounds.additions;
        if bounds.members == 0
            || usize::from(members) > MEMBERS
            || usize::from(bounds.removals + bounds.additions) >= LISTS_MAX
            || bounds.leases > 0 && members > bounds.members
        {
            return Err(format!(
                "1 to {MEMBERS} members, at most {} changes, and no leases with additions",
                LISTS_MAX - 1
            ));
        }
        Ok(bounds)
    }
}

/// The most writes of a run.
pub const WRITES_MAX: usize = 5;

/// The most messages that stay under way.
pub const DELAYED_MAX: usize = 2;

/// The most lists of members, the first one included.
pub const LISTS_MAX: usize = 3;

const EACH_MAX: u8 = 5;
