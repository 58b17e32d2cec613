//! What each side says of itself once the connection is secure.
//!
//! ```text
//! role: byte (0 peer, 1 client)   cluster: 0 or 1 and fixed   id: 0 or 1 and fixed
//! name: bytes   address: bytes
//! ```
//!
//! Its format version is the protocol's. Whether a greeting is acceptable is the caller's decision:
//! the transport knows who holds the secret, not who belongs here.

use bytes::Bytes;

use super::error::TransportError;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::GREETING_TEXT_BYTES_MAX;
use crate::raft::{ClusterId, RaftId};

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What it is to the other side.
    pub role: Role,
    /// The cluster that it belongs to, or wants to speak with; none if it knows of none.
    pub cluster: Option<ClusterId>,
    /// Its raft id, if it has one.
    pub id: Option<RaftId>,
    /// What people call it.
    pub name: String,
    /// Where it takes connections; empty if nowhere.
    pub address: String,
}

/// What one side is to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node of a cluster.
    Peer,
    /// One that asks a node to do something.
    Client,
}

impl Greeting {
    /// The greeting in bytes.
    ///
    /// # Errors
    /// [`TransportError::GreetingTooLong`] if its name or its address is.
    pub fn encode(&self) -> Result<Bytes, TransportError> {
        for (field, text) in [("name", &self.name), ("address", &self.address)] {
            if text.len() > GREETING_TEXT_BYTES_MAX {
                return Err(TransportError::GreetingTooLong { field });
            }
        }
        let mut writer = Writer::with_capacity(64);
        writer.byte(match self.role {
            Role::Peer => ROLE_PEER,
            Role::Client => ROLE_CLIENT,
        });
        write_id(&mut writer, self.cluster.map(|cluster| cluster.0));
        write_id(&mut writer, self.id.map(|id| id.0));
        writer.bytes(self.name.as_bytes());
        writer.bytes(self.address.as_bytes());
        Ok(writer.finish())
    }

    /// The greeting that [`Greeting::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let role = match reader.byte("a role")? {
            ROLE_PEER => Role::Peer,
            ROLE_CLIENT => Role::Client,
            _ => return Err(reader.error("a role")),
        };
        let cluster = read_id(&mut reader, "a cluster id")?.map(ClusterId);
        let id = match read_id(&mut reader, "a raft id")? {
            Some(0) => return Err(reader.error("a raft id")),
            id => id.map(RaftId),
        };
        let name = read_text(&mut reader, "a name")?;
        let address = read_text(&mut reader, "an address")?;
        reader.finish("the end of the greeting")?;
        Ok(Self { role, cluster, id, name, address })
    }
}

fn write_id(writer: &mut Writer, id: Option<u64>) {
    match id {
        None => writer.byte(0),
        Some(id) => {
            writer.byte(1);
            writer.fixed(id);
        }
    }
}

fn read_id(reader: &mut Reader, what: &'static str) -> Result<Option<u64>, DecodeError> {
    match reader.byte(what)? {
        0 => Ok(None),
        1 => reader.fixed(what).map(Some),
        _ => Err(reader.error(what)),
    }
}

fn read_text(reader: &mut Reader, what: &'static str) -> Result<String, DecodeError> {
    let bytes = reader.bytes(what)?;
    if bytes.len() > GREETING_TEXT_BYTES_MAX {
        return Err(reader.error(what));
    }
    String::from_utf8(bytes.into()).map_err(|_| reader.error(what))
}

const ROLE_PEER: u8 = 0;
const ROLE_CLIENT: u8 = 1;

/// Longest greeting in bytes: role, two ids, two texts with their lengths.
pub(super) const GREETING_BYTES_MAX: usize = 1 + 2 * 9 + 2 * (2 + GREETING_TEXT_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> Greeting {
        Greeting {
            role: Role::Peer,
            cluster: Some(ClusterId(u64::MAX)),
            id: Some(RaftId(1)),
            name: "n".repeat(GREETING_TEXT_BYTES_MAX),
            address: "a".repeat(GREETING_TEXT_BYTES_MAX),
        }
    }

    #[test]
    fn greetings_round_trip_and_what_is_cut_is_refused() {
        let shortest = Greeting {
            role: Role::Client,
            cluster: None,
            id: None,
            name: String::new(),
            address: String::new(),
        };
        for greeting in [shortest, longest()] {
            let bytes = greeting.encode().unwrap();
            assert!(bytes.len() <= GREETING_BYTES_MAX);
            assert_eq!(Greeting::decode(bytes.clone()), Ok(greeting));
            for end in 0..bytes.len() {
                assert!(Greeting::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
        assert_eq!(longest().encode().unwrap().len(), GREETING_BYTES_MAX);
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        let refused: [&[u8]; 7] = [
            &[2, 0, 0, 0, 0],
            &[0, 2, 0, 0, 0],
            &[0, 0, 2, 0, 0],
            &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0xff, 0],
            &[0, 0, 0, 0, 1, 0xff],
            &[0, 0, 0, 0, 0, 0],
        ];
        for bytes in refused {
            assert!(Greeting::decode(Bytes::from_static(bytes)).is_err(), "{bytes:x?}");
        }
        let mut writer = Writer::new();
        writer.raw(&[0, 0, 0]);
        writer.bytes(&[b'n'; GREETING_TEXT_BYTES_MAX + 1]);
        writer.byte(0);
        assert!(Greeting::decode(writer.finish()).is_err());
    }

    #[test]
    fn an_own_text_that_is_too_long_is_named() {
        let mut greeting = longest();
        greeting.address.push('a');
        assert_eq!(greeting.encode(), Err(TransportError::GreetingTooLong { field: "address" }));
        greeting.name.push('n');
        assert_eq!(greeting.encode(), Err(TransportError::GreetingTooLong { field: "name" }));
    }
}
