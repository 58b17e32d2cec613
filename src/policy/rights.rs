//! Rights: what one actor may do with one resource.
//!
//! What depends on the actor and the resource alone was decided when the rights were made, so that
//! each question costs only the policies that are left, with their conditions on keys. A listing
//! asks for every key that it passes.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;

use super::{Effect, Permission, Policy, Subject};
use crate::error::{Error, Result};
use crate::mutant::mutant;

/// What an actor may do with a resource. Cloning shares it.
#[derive(Clone)]
pub struct Rights(Option<Arc<Inner>>);

struct Inner {
    /// The actor's id, for messages.
    actor: String,
    resource: String,
    /// Those that concern the actor and the resource.
    policies: Vec<Arc<Policy>>,
}

impl Rights {
    /// Everything is allowed.
    #[must_use]
    pub const fn unrestricted() -> Self {
        Self(None)
    }

    pub(super) fn new(actor: &str, resource: &str, policies: Vec<Arc<Policy>>) -> Self {
        let (actor, resource) = (actor.to_owned(), resource.to_owned());
        Self(Some(Arc::new(Inner { actor, resource, policies })))
    }

    /// Whether there are policies at all, so that something may be denied.
    #[must_use]
    pub const fn are_restricted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a permission is given. For a key that is not known yet: whether it may be.
    #[must_use]
    pub fn allow(&self, permission: Permission, subject: Subject<'_>) -> bool {
        let Some(inner) = &self.0 else {
            return true;
        };
        let mut is_allowed = false;
        for policy in &inner.policies {
            match (policy.effect, policy.applies(permission, subject)) {
                (_, Some(false)) | (Effect::Deny, None) => {}
                (Effect::Deny, _) if mutant!("policy that denies does not win") => {}
                (Effect::Deny, Some(true)) => return false,
                (Effect::Allow, Some(true) | None) => is_allowed = true,
            }
        }
        is_allowed || mutant!("what no policy allows is allowed")
    }

    /// Whether a key may be read, and so may be listed and its changes told.
    #[must_use]
    pub fn may_read(&self, key: &str) -> bool {
        self.allow(Permission::KeyGet, Subject::Key(key))
    }

    /// Refuses what is not allowed.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, with what was asked in its details and nothing else.
    pub fn check(&self, permission: Permission, subject: Subject<'_>) -> Result<()> {
        match &self.0 {
            Some(inner) if !self.allow(permission, subject) => {
                Err(inner.denied(permission, subject))
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    /// The same words whether no policy allows it or one denies it, whether the resource and the
    /// key are there or not.
    fn denied(&self, permission: Permission, subject: Subject<'_>) -> Error {
        let who = match self.actor.as_str() {
            "" => "an anonymous actor".to_owned(),
            actor => format!("the actor {actor:?}"),
        };
        let (what, detail) = match subject {
            Subject::Whole | Subject::SomeKey => (String::new(), None),
            Subject::Key(key) => (format!(" of the key {key:?}"), Some(("key", key.as_bytes()))),
            Subject::Prefix(prefix) => {
                let text = String::from_utf8_lossy(prefix);
                (format!(" of the prefix {text:?}"), Some(("prefix", prefix)))
            }
        };
        let resource = &self.resource;
        let error = Error::permission_denied(format!(
            "{who} has no right to {permission}{what} in {resource}: a policy must allow it, and \
             none deny it"
        ))
        .with_detail("action", permission.as_str())
        .with_detail("resource", resource.as_str());
        match detail {
            Some((name, bytes)) => error.with_detail(name, bytes),
            None => error,
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Rights{unrestricted}"),
            Some(inner) => {
                write!(f, "Rights{{{:?} in {}: {:?}}}", inner.actor, inner.resource, inner.policies)
            }
        }
    }
}
