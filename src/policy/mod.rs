//! Policies: who may do what with which store. A pure decision, and nothing around it.
//!
//! A [`Policy`] allows or denies some permissions on some resources to some actors, under
//! conditions. [`Policies`] are all that a configuration has; together they give an [`Actor`] its
//! [`Rights`] on one resource, and these answer each question: is this permission, for this key or
//! prefix, allowed?
//!
//! The rule, in the order in which it is applied:
//! 1. Without any policy everything is allowed.
//! 2. A policy applies if the actor is in one of its groups (or it has none), one of its actions
//!    and one of its resources match, and all of its conditions hold.
//! 3. If a policy that denies applies, the answer is no.
//! 4. If one that allows applies, the answer is yes.
//! 5. Else it is no.
//!
//! Conditions: a field that is not there makes every condition false except the negated ones
//! (`ne nin nexists ncontains nmatches`), each of which is true exactly when its counterpart is
//! false. Numbers are compared with numbers, strings with strings by their bytes; values of
//! different types are not equal and have no order.
//!
//! Invariant: the answer depends on the policies, the actor and the question only. Nothing here
//! looks at what a store holds, so a refusal can't tell of it.
//!
//! Where it stands: with the machines. It reads no clock and does no IO, and what enforces it
//! (`store::StoreHandle`, and the scans of the stores themselves) stands above.
//!
//! No roles, no inheritance, no owners: groups and the actor's metadata serve for these. No
//! identity is established here: who the actor is, the host knows.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod actor;
mod condition;
mod datum;
mod pattern;
mod permission;
mod rights;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use actor::Actor;
pub use condition::{Field, Operand, Operator, PolicyCondition};
pub use pattern::Pattern;
pub use permission::{Permission, Subject};
pub use rights::Rights;

/// What a policy does where it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another policy denies.
    Allow,
    /// It denies, whatever other policies allow.
    Deny,
}

/// One policy: an effect, and all that must hold for it to apply.
#[derive(Clone, Debug)]
pub struct Policy {
    effect: Effect,
    /// Empty: every actor.
    groups: BTreeSet<String>,
    actions: Vec<Pattern>,
    resources: Vec<Pattern>,
    conditions: Vec<PolicyCondition>,
}

impl Policy {
    /// A policy for actions on resources: for every actor and without conditions.
    #[must_use]
    pub fn new(effect: Effect, actions: Vec<Pattern>, resources: Vec<Pattern>) -> Self {
        let (groups, conditions) = (BTreeSet::new(), Vec::new());
        Self { effect, groups, actions, resources, conditions }
    }

    /// Restricts it to the actors of these groups; none at all means every actor.
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.groups = groups.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a condition; all must hold.
    #[must_use]
    pub fn with_condition(mut self, condition: PolicyCondition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// What it does where it applies.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The groups whose actors it is for; none means every actor.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// The actions that it is about.
    #[must_use]
    pub fn actions(&self) -> &[Pattern] {
        &self.actions
    }

    /// The resources that it is about.
    #[must_use]
    pub fn resources(&self) -> &[Pattern] {
        &self.resources
    }

    /// The conditions, all of which must hold.
    #[must_use]
    pub fn conditions(&self) -> &[PolicyCondition] {
        &self.conditions
    }

    /// Whether it may apply to some question of an actor about a resource.
    fn concerns(&self, actor: &Actor, resource: &str) -> bool {
        let is_member = self.groups.is_empty() || actor.is_in_any(&self.groups);
        is_member
            && self.resources.iter().any(|pattern| pattern.matches(resource))
            && self.conditions.iter().all(|condition| condition.may_hold_for(actor))
    }

    /// Whether it applies to a question, for an actor and a resource that it concerns. None if
    /// that depends on a key that is not known yet.
    fn applies(&self, permission: Permission, subject: Subject<'_>) -> Option<bool> {
        if !self.actions.iter().any(|pattern| pattern.matches(permission.as_str())) {
            return Some(false);
        }
        let mut applies = Some(true);
        for condition in &self.conditions {
            match condition.holds_for(subject) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => applies = None,
            }
        }
        applies
    }
}

/// All policies of an engine. Without any, everything is allowed.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Arc<Policy>>);

impl Policies {
    /// What an actor may do with a resource.
    #[must_use]
    pub fn rights(&self, actor: &Actor, resource: &str) -> Rights {
        if self.0.is_empty() {
            return Rights::unrestricted();
        }
        let concerning = self.0.iter().filter(|policy| policy.concerns(actor, resource));
        Rights::new(actor.id(), resource, concerning.cloned().collect())
    }
}

impl FromIterator<Policy> for Policies {
    fn from_iter<I: IntoIterator<Item = Policy>>(policies: I) -> Self {
        Self(policies.into_iter().map(Arc::new).collect())
    }
}
