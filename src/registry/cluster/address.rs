//! Addresses of nodes as a configuration writes them: a host, and a port unless it is the usual one.
//!
//! Nothing is looked up: a name is resolved by whoever dials it, each time anew.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::error::{Error, Result};

/// Where a node can be reached: a name or an IP address, and a port.
///
/// ```
/// use plimsoll::registry::HostAddress;
///
/// let address = HostAddress::parse("db-1.example.com", 7946)?;
/// assert_eq!((address.host.as_str(), address.port), ("db-1.example.com", 7946));
/// assert_eq!(HostAddress::parse("[::1]:80", 7946)?.to_string(), "[::1]:80");
/// assert!(HostAddress::parse("http://db-1", 7946).is_err());
/// # Ok::<(), plimsoll::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostAddress {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port, from 1.
    pub port: u16,
}

impl HostAddress {
    /// Parses `host`, `host:port`, an IPv6 address, or one in brackets with or without a port.
    ///
    /// # Errors
    /// `INVALID` if it has another form, or names the address that stands for all of a machine's own.
    pub fn parse(text: &str, default_port: u16) -> Result<Self> {
        let (host, port) = split(text).ok_or_else(|| no_address(text))?;
        let is_number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = match port {
            Some(port) if !is_number(port) => return Err(no_address(text)),
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::invalid(format!("{port:?} is no port; write a number from 1 to 65535"))
            })?,
            None => default_port,
        };
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Err(Error::invalid(format!(
                "nobody can be reached at {host}; write the name or the address of a node"
            ))),
            Err(_) if !is_host_name(host) => Err(no_address(text)),
            _ => Ok(Self { host: host.to_owned(), port }),
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// Host and port of a text whose brackets and colons are where they belong.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// Letters, digits, `-` and `_` between dots.
fn is_host_name(host: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
}

fn no_address(text: &str) -> Error {
    Error::invalid(format!(
        "{text:?} is no address; write host or host:port, such as 10.0.0.2:7946 or [::1]:7946"
    ))
}

/// What the domain name system carries.
const LABEL_BYTES_MAX: usize = 63;
const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_or_without_a_port() {
        for (text, host, port, shown) in [
            ("n1", "n1", 7946, "n1:7946"),
            ("n1:80", "n1", 80, "n1:80"),
            ("n-1.example_x.com.:65535", "n-1.example_x.com.", 65_535, "n-1.example_x.com.:65535"),
            ("10.0.0.2:7947", "10.0.0.2", 7947, "10.0.0.2:7947"),
            ("::1", "::1", 7946, "[::1]:7946"),
            ("[fe80::2]", "fe80::2", 7946, "[fe80::2]:7946"),
            ("[fe80::2]:1", "fe80::2", 1, "[fe80::2]:1"),
        ] {
            let address = HostAddress::parse(text, 7946).expect(text);
            assert_eq!(address, HostAddress { host: host.to_owned(), port }, "{text}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(HostAddress::parse(shown, 1).expect(shown), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            ":",
            ":80",
            "a b",
            "a..b",
            "-a",
            "http://n1",
            "n1/x",
            "[n1]:80",
            "[::1",
            "[::1]80",
            "1:2:3",
            "é",
            &long,
            "a,b",
            "u@n1",
            "n1:",
            "n1:x",
            "n1:+1",
            "[::1]:",
        ] {
            let error = HostAddress::parse(text, 7946).expect_err(text);
            assert!(
                error.message().contains("is no address; write host or host:port"),
                "{text}: {error}"
            );
        }
        for text in ["n1:0", "n1:65536", "[::1]:0"] {
            let error = HostAddress::parse(text, 7946).expect_err(text);
            assert!(error.message().ends_with("write a number from 1 to 65535"), "{text}: {error}");
        }
        for text in ["0.0.0.0", "0.0.0.0:80", "::", "[::]:80"] {
            let error = HostAddress::parse(text, 7946).expect_err(text);
            assert!(error.message().starts_with("nobody can be reached at "), "{text}: {error}");
        }
    }
}
