//! Why a connection can't be made, or has ended.
//!
//! Each says who is at fault and what to do. Whether to connect again is the caller's decision:
//! what a network or a starting peer may cause is worth a retry, a wrong secret or version is not
//! until somebody changes it.

use std::fmt;

use super::handshake::PROTOCOL_VERSION;
use crate::codec::DecodeError;
use crate::limits::{FRAME_BYTES_MAX, GREETING_TEXT_BYTES_MAX};

/// Why a connection can't be made, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// The name could not be resolved.
    Address {
        /// What was to be resolved.
        address: String,
        /// What the system says.
        why: String,
    },
    /// Nobody takes connections there.
    Unreachable {
        /// The address as it was given.
        address: String,
        /// What the system says, of the address that was tried last.
        why: String,
    },
    /// The time was over.
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for, in milliseconds.
        after_ms: u64,
    },
    /// The connection failed.
    Broken {
        /// What the system says.
        why: String,
    },
    /// The peer left in the middle of something.
    Cut {
        /// What it left unfinished.
        what: &'static str,
    },
    /// The peer does not speak this protocol.
    Foreign,
    /// The peer speaks another version of the protocol.
    Version {
        /// Its version.
        peer: u8,
    },
    /// The peer does not hold the cluster's secret.
    Secret,
    /// The peer takes no more connections for now.
    Full,
    /// What the peer said of itself can't be read.
    Greeting(DecodeError),
    /// A record is not the next one that the peer sealed.
    Tampered {
        /// Which one, counted from 0 in its direction.
        record: u64,
    },
    /// The peer sends a frame that is too long.
    Oversized {
        /// Its length as the peer says, in bytes.
        bytes: usize,
        /// The most that is taken here.
        bytes_max: usize,
    },
    /// A frame that was to be sent is too long; nothing of it was sent.
    FrameTooLong {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// A text of the own greeting is too long.
    GreetingTooLong {
        /// Which one.
        field: &'static str,
    },
    /// The system gave no random numbers.
    Random,
}

impl TransportError {
    pub(super) fn broken(error: &std::io::Error) -> Self {
        Self::Broken { why: error.to_string() }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, why } => {
                write!(f, "the address `{address}` can't be resolved: {why}; it is `host:port`")
            }
            Self::Unreachable { address, why } => {
                write!(f, "no connection to `{address}`: {why}; is the node running there?")
            }
            Self::Timeout { doing, after_ms } => {
                write!(f, "{doing} was not done within {after_ms} ms")
            }
            Self::Broken { why } => write!(f, "the connection failed: {why}"),
            Self::Cut { what } => write!(f, "the peer closed the connection within {what}"),
            Self::Foreign => f.write_str(
                "the peer does not speak the protocol of Plimsoll's cluster: is it the right port?",
            ),
            Self::Version { peer } => write!(
                f,
                "the peer speaks version {peer} of the protocol, this node version \
                 {PROTOCOL_VERSION}: run versions of Plimsoll that go together"
            ),
            Self::Secret => f.write_str(
                "the peer does not hold the cluster's secret: give all of the cluster the same one",
            ),
            Self::Full => f.write_str("the peer has as many connections as it takes"),
            Self::Greeting(error) => write!(f, "the peer's greeting is {error}"),
            Self::Tampered { record } => write!(
                f,
                "record {record} of the connection is damaged, or is not the one that comes next"
            ),
            Self::Oversized { bytes, bytes_max } => {
                write!(f, "the peer sends a frame of {bytes} bytes where the limit is {bytes_max}")
            }
            Self::FrameTooLong { bytes } => {
                write!(f, "a frame of {bytes} bytes can't be sent, the limit is {FRAME_BYTES_MAX}")
            }
            Self::GreetingTooLong { field } => {
                write!(f, "this node's {field} is longer than {GREETING_TEXT_BYTES_MAX} bytes")
            }
            Self::Random => f.write_str("the system gave no random numbers"),
        }
    }
}

impl std::error::Error for TransportError {}
