//! What nodes tell of themselves, and whom gossip sees: what a leader decides by who votes.
//!
//! ```text
//! traits: eligible: byte, priority: signed, failure domain: 0, or 1 and text
//! about:  name, traits                        (what a node tells by gossip of itself, beside its address)
//! ```
//! Nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::options::NodeOptions;
use super::protocol::{Decoded, read_flag, read_text};
use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};
use crate::limits::GOSSIP_ABOUT_BYTES_MAX;
use crate::raft::RaftId;

/// What a node is, beside its name and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether it may become a voter.
    pub is_eligible: bool,
    /// Among those that may become voters the higher goes first.
    pub priority: i64,
    /// Nodes that name the same one are likely to fail together.
    pub failure_domain: Option<String>,
}

/// What a node tells of itself by gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// Its name, for people.
    pub name: String,
    pub traits: Traits,
}

/// Who is there, as gossip sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sightings {
    /// Since when gossip runs here, on the node's monotonic clock: whoever was never seen counts as away
    /// since then.
    pub since_ms: u64,
    /// Those that were seen.
    pub seen: BTreeMap<RaftId, Sighting>,
}

/// How gossip sees a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Where it is.
    pub address: Arc<str>,
    pub is_up: bool,
    /// Since when that is so, on the node's monotonic clock.
    pub since_ms: u64,
    /// What it tells of itself, if that can be read.
    pub about: Option<About>,
}

impl Sightings {
    /// Where those are that are there.
    pub fn addresses(&self) -> Vec<String> {
        let up = self.seen.values().filter(|sighting| sighting.is_up);
        up.map(|sighting| sighting.address.to_string()).collect()
    }
}

impl Traits {
    pub fn write(&self, writer: &mut Writer) {
        writer.byte(u8::from(self.is_eligible));
        writer.signed(self.priority);
        writer.byte(u8::from(self.failure_domain.is_some()));
        if let Some(domain) = &self.failure_domain {
            writer.bytes(domain.as_bytes());
        }
    }

    pub fn read(reader: &mut Reader) -> Decoded<Self> {
        let is_eligible = read_flag(reader)?;
        let priority = reader.signed("a priority")?;
        let failure_domain = match read_flag(reader)? {
            true => Some(read_text(reader, "a failure domain")?),
            false => None,
        };
        Ok(Self { is_eligible, priority, failure_domain })
    }
}

impl About {
    /// What the node of these options tells of itself.
    ///
    /// # Errors
    /// `INVALID` if its names are too long to be told.
    pub fn of(options: &NodeOptions) -> Result<Self> {
        let about = Self { name: options.name.clone(), traits: options.traits() };
        match about.encode().len() {
            length if length <= GOSSIP_ABOUT_BYTES_MAX => Ok(about),
            _ => {
                Err(Error::invalid("the names of the node and of its failure domain are too long")
                    .with_detail("field", "cluster.name"))
            }
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.bytes(self.name.as_bytes());
        self.traits.write(&mut writer);
        writer.finish()
    }

    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let name = read_text(&mut reader, "a name")?;
        let traits = Traits::read(&mut reader)?;
        reader.finish("the end of what a node tells of itself")?;
        Ok(Self { name, traits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_what_is_cut_is_refused() {
        for failure_domain in [None, Some("rack-7".to_owned())] {
            for (is_eligible, priority) in [(true, 100), (false, -1)] {
                let failure_domain = failure_domain.clone();
                let traits = Traits { is_eligible, priority, failure_domain };
                let about = About { name: "n1".into(), traits };
                let bytes = about.encode();
                assert_eq!(About::decode(bytes.clone()), Ok(about));
                for end in 0..bytes.len() {
                    assert!(About::decode(bytes.slice(..end)).is_err(), "cut at {end}");
                }
            }
        }
    }

    #[test]
    fn names_that_can_not_be_told_are_refused() {
        let clock = Arc::new(crate::clock::ManualClock::new(crate::clock::UnixMillis(0)));
        let options = |domain: usize| NodeOptions {
            failure_domain: Some("x".repeat(domain)),
            ..NodeOptions::alone("n1", clock.clone())
        };
        assert!(About::of(&options(128)).is_ok());
        assert!(About::of(&options(GOSSIP_ABOUT_BYTES_MAX)).is_err());
    }
}
