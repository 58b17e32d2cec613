//! The secret that all of a cluster share.
//!
//! Invariant: nothing here prints it, save [`Secret::to_hex`], which whoever makes a file asks for.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The secret of a cluster: whoever holds it belongs to the cluster.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

/// Why there is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// The file can't be read.
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Others may read the file.
    Exposed {
        /// Which one.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A text is not what a secret is written as.
    Malformed {
        /// The file that holds it, if it came from one.
        file: Option<PathBuf>,
    },
}

impl Secret {
    /// The secret of these bytes. They must be random.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The secret that a text gives as 64 hexadecimal digits, white space around them aside.
    ///
    /// # Errors
    /// [`SecretError::Malformed`] if it is anything else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        read_hex(text.trim()).map(Self).ok_or(SecretError::Malformed { file: None })
    }

    /// The secret in a file, which nobody but its owner may read.
    ///
    /// # Errors
    /// If it can't be read, if others may read it, or if it holds no secret.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self, SecretError> {
        let file = file.as_ref();
        let unreadable = |error: std::io::Error| SecretError::Unreadable {
            file: file.to_owned(),
            why: error.to_string(),
        };
        let opened = File::open(file).map_err(unreadable)?;
        check_mode(file, &opened.metadata().map_err(unreadable)?)?;
        let mut bytes = Vec::new();
        opened.take(FILE_BYTES_READ).read_to_end(&mut bytes).map_err(unreadable)?;
        let malformed = SecretError::Malformed { file: Some(file.to_owned()) };
        let text = str::from_utf8(&bytes).map_err(|_| malformed.clone())?;
        Self::parse(text).map_err(|_| malformed)
    }

    /// The secret as [`Secret::parse`] takes it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) const fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, why } => {
                write!(f, "the secret in {} can't be read: {why}", file.display())
            }
            Self::Exposed { file, mode } => {
                let file = file.display();
                write!(f, "others may read the secret in {file} (mode {mode:03o}): ")?;
                write!(f, "run `chmod 600 {file}`")
            }
            Self::Malformed { file } => {
                match file {
                    Some(file) => write!(f, "{} holds no secret", file.display())?,
                    None => f.write_str("this is no secret")?,
                }
                f.write_str(": 32 random bytes are needed, as 64 hexadecimal digits")
            }
        }
    }
}

impl std::error::Error for SecretError {}

#[cfg(unix)]
fn check_mode(file: &Path, metadata: &std::fs::Metadata) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(SecretError::Exposed { file: file.to_owned(), mode })
    }
}

/// Where permissions are no bits of a mode they are the system's matter.
#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), SecretError> {
    Ok(())
}

fn read_hex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(bytes)
}

const SECRET_BYTES: usize = 32;

/// What is read of a file: more white space than anybody writes around a secret.
const FILE_BYTES_READ: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips() {
        let bytes: [u8; SECRET_BYTES] = std::array::from_fn(|i| i as u8 * 8);
        let hex = Secret::from_bytes(bytes).to_hex();
        assert!(hex.starts_with("0008101820"), "{hex}");
        for text in [hex.clone(), hex.to_uppercase(), format!(" \t{hex}\r\n")] {
            assert_eq!(Secret::parse(&text).unwrap().as_bytes(), &bytes);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let hex = "ab".repeat(SECRET_BYTES);
        for text in ["", &hex[1..], &format!("{hex}a"), &hex.replacen('a', "g", 1)] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
        for text in
            [hex.replacen('a', "+", 1), hex.replacen("ab", "ä", 1), hex.replacen("ab", "é", 2)]
        {
            assert!(Secret::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::from_bytes([0xab; SECRET_BYTES]);
        let shown = format!("{secret:?}");
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }
}
