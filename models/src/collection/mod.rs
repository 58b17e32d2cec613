//! The model `collection`: three replicas of one key, whose tombstones are collected.
//!
//! The rule is in [`rule`] alone: the model asks it whether a message is looked at, what
//! merging does, who has joined, and when a tombstone may go. Around it stand what can happen
//! ([`actions`]), what has to hold ([`properties`]), how much may happen ([`bounds`]) and what is known
//! to be wrong ([`mutants`]). `docs/models.md` says what is left out.

pub mod actions;
pub mod bounds;
mod cut;
pub mod mutants;
pub mod properties;
pub mod rule;
pub mod state;
pub mod trace;

use stateright::{Model, Property};

use crate::search::First;
use actions::Action;
use bounds::Bounds;
use rule::Rule;
use state::State;

/// The model: a rule, and bounds for what may happen.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The rule that the members follow.
    pub rule: Rule,
    /// What may happen.
    pub bounds: Bounds,
    view: View,
}

/// How states are looked at.
#[derive(Clone, Debug)]
enum View {
    /// States that differ in the numbers of members alone are one, and the search ends with the first
    /// violation.
    Search(First),
    /// Every state is itself, and every violation is shown.
    Walk,
}

impl Collection {
    /// The model to search.
    #[must_use]
    pub fn new(rule: Rule, bounds: Bounds) -> Self {
        Self { rule, bounds, view: View::Search(First::default()) }
    }

    /// The same, to walk through step by step.
    #[must_use]
    pub fn to_walk(&self) -> Self {
        Self { view: View::Walk, ..self.clone() }
    }

    fn admit(&self, holds: bool) -> bool {
        match &self.view {
            View::Search(first) => first.admit(holds),
            View::Walk => holds,
        }
    }
}

impl Model for Collection {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions::enabled(state, self.rule, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = actions::after(state, self.rule, action);
        if next == *state {
            return None;
        }
        Some(match self.view {
            View::Search(_) => next.representative(),
            View::Walk => next,
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties(&self.bounds)
    }

    fn format_action(&self, action: &Action) -> String {
        trace::phrase(*action)
    }

    fn format_step(&self, state: &State, action: Action) -> Option<String> {
        self.next_state(state, action).map(|next| trace::brief(&next))
    }
}
