//! Values with their places, for what is checked between fields.

use std::ops::Deref;

use crate::registry::fields::{Fields, Given};
use crate::registry::problem::{Origin, Refusal};

/// A value, and where it stands or would stand.
pub(super) struct Placed<T> {
    value: T,
    pub(super) origin: Origin,
    pub(super) is_given: bool,
}

impl<T> Placed<T> {
    /// Takes a field; its default has the place of the mapping.
    pub(super) fn take(
        fields: &mut Fields<'_>,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&Given<'_>) -> Result<T, Refusal>,
    ) -> Self {
        let placed = fields.optional(name, |given| Ok((parse(given)?, given.origin.clone())));
        match placed {
            Some((value, origin)) => Self { value, origin, is_given: true },
            None => {
                let path = fields.origin().path.field(name);
                let origin = Origin { path, ..fields.origin().clone() };
                Self { value: default, origin, is_given: false }
            }
        }
    }

    /// The place of this field, or that of another if only that one is given.
    pub(super) fn origin_or<'a, U>(&'a self, other: &'a Placed<U>) -> &'a Origin {
        if other.is_given && !self.is_given { &other.origin } else { &self.origin }
    }

    pub(super) fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
