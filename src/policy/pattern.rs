//! Patterns of actions and resources: a name, or the start of names followed by `*`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use super::Permission;
use crate::error::{Error, Result};

/// What the actions or resources of a policy match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Whether a `*` followed the text.
    is_open: bool,
}

impl Pattern {
    /// Parses `name`, `prefix*` or `*`.
    ///
    /// # Errors
    /// `INVALID` if it is empty or has a `*` elsewhere than at its end.
    pub fn parse(pattern: &str) -> Result<Self> {
        let text = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern.is_empty() {
            return Err(Error::invalid("the pattern is empty; write a name, prefix* or \"*\""));
        }
        if text.contains('*') {
            return Err(Error::invalid(format!(
                "{pattern:?} has a * before its end; write a name, prefix* or \"*\""
            )));
        }
        Ok(Self { text: text.to_owned(), is_open: text.len() < pattern.len() })
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_open { name.starts_with(&self.text) } else { name == self.text }
    }

    /// The pattern as a configuration writes it.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}{}", self.text, if self.is_open { "*" } else { "" })
    }

    /// Whether it speaks of stores but matches none of their permissions: surely a slip.
    #[must_use]
    pub fn misses_every_permission(&self) -> bool {
        self.text.starts_with("store.")
            && !Permission::ALL.iter().any(|permission| self.matches(permission.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_rest_and_only_at_the_end() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("*", "app:cache", true),
            ("app:*", "app:cache", true),
            ("app:*", "app:", true),
            ("app:*", "app", false),
            ("app:*", "xapp:cache", false),
            ("app:cache", "app:cache", true),
            ("app:cache", "app:cache2", false),
            ("app:cache", "App:cache", false),
        ] {
            assert_eq!(Pattern::parse(pattern).expect(pattern).matches(name), matches, "{pattern}");
        }
        for bad in ["", "**", "*a", "a*b", "a**"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_slip_in_an_action_of_stores_is_seen() {
        for (pattern, is_slip) in [
            ("store.key.gett", true),
            ("store.keys.*", true),
            ("store.key.get", false),
            ("store.key.*", false),
            ("store*", false),
            ("http.get", false),
        ] {
            let pattern = Pattern::parse(pattern).expect(pattern);
            assert_eq!(pattern.misses_every_permission(), is_slip, "{pattern:?}");
        }
    }
}
