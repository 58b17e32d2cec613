//! Version zones: what can be said about a history without trusting any index.
//!
//! A version is never used twice, so an entry has it during one stretch of time without a gap: from
//! the instant at which its maker happened to the last at which it was seen. That stretch begins
//! before the first call of the version's *cluster* (its maker and all that saw it) returned, and
//! lasts until after the last of them was made. Where the first return lies before the last call,
//! the key certainly had the version in between: its *zone*. A write that required a version and
//! succeeded joins its cluster to that of the version required: a *chain*, whose zone is one.
//!
//! 1. A version is made by one call, with one value; it is seen by no call that returned before it
//!    was made; it satisfies at most one write that replaces it (`facts`).
//! 2. Along a chain no call stands behind one made after it returned (`chains`).
//! 3. Zones of one key do not overlap; no cluster lies within another's zone, and neither does a
//!    call that found the key absent, or left it so (`chains`).
//! 4. A key that was present and then absent was deleted in between, or expired; one that is present
//!    was written, and not certainly deleted since (`presence`).
//! 5. If calls are about several keys, the orders that 2 and 3 demand are joined for all keys, with
//!    that of real time: they make no cycle (`cycle`).
//!
//! (After Gibbons and Korach, "Testing Shared Memories", 1997: with known writers one register is
//! checked in O(n log n).) O(n log n) here too, save for wide pages over many keys.
//!
//! **Whatever is found is a violation.** Where a time to live or an unknown outcome leaves open what
//! happened, nothing is found. Absence of violations proves nothing: that takes a
//! [certificate](super::certificate). A history begins with empty keyspaces.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod chains;
mod cycle;
mod facts;
mod presence;

use super::history::History;
use super::violation::Violation;
use facts::Facts;

/// Looks for a violation in a history, by its versions and times only.
///
/// # Errors
/// The first violation that is found.
pub fn check(history: &History) -> Result<(), Violation> {
    let facts = Facts::of(history)?;
    let mut chains = Vec::with_capacity(facts.keys.len());
    for key in &facts.keys {
        let of_key = chains::of(&facts, key)?;
        chains::check_zones(&facts, key, &of_key)?;
        presence::check(&facts, key)?;
        chains.push(of_key);
    }
    if facts.has_wide_calls {
        cycle::check(&facts, &chains)?;
    }
    Ok(())
}
