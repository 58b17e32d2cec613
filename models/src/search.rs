//! One exhaustive search: how it is run, watched and summed up.

use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// With more than one the traces may not be the shortest, and the depth not exact.
    pub threads: usize,
    /// Whether to tell on stderr how far the search is.
    pub is_watched: bool,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found<S> {
    /// States that were reached, each counted once.
    pub unique: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// A property that does not always hold, and the states that lead to where it does not.
    pub violated: Option<(&'static str, Vec<S>)>,
    /// What never happened, though it should. Only of a search that came to its end.
    pub never: Vec<&'static str>,
}

/// Lets through the first violation only. The checker looks on for a while after it has found one,
/// and replaces it by what it finds then, which may be farther from the start.
#[derive(Clone, Debug, Default)]
pub struct First(Arc<AtomicBool>);

impl First {
    /// What a property answers that holds in a state or not.
    #[must_use]
    pub fn admit(&self, holds: bool) -> bool {
        holds || self.0.swap(true, Ordering::Relaxed)
    }
}

/// Searches all states of a model, or until a property is violated.
pub fn search<M>(model: M, manner: Manner) -> Found<M::State>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let properties = model.properties();
    let start = Instant::now();
    let checker = model
        .checker()
        .threads(manner.threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs();
    watch(&checker, manner, start);
    let checker = checker.join();
    let discoveries = checker.discoveries();
    let violated = properties
        .iter()
        .filter(|property| property.expectation == Expectation::Always)
        .filter_map(|property| discoveries.get(property.name).map(|path| (property.name, path)))
        .map(|(name, path)| (name, path.clone().into_states()))
        .min_by_key(|(_, states)| states.len());
    let is_never = |property: &&Property<M>| {
        property.expectation == Expectation::Sometimes && !discoveries.contains_key(property.name)
    };
    let never = if violated.is_some() {
        Vec::new()
    } else {
        properties.iter().filter(is_never).map(|property| property.name).collect()
    };
    Found {
        unique: checker.unique_state_count(),
        depth: violated.as_ref().map_or(checker.max_depth(), |(_, states)| states.len()) - 1,
        time: start.elapsed(),
        violated,
        never,
    }
}

/// Tells once a second how far a search is, until it has ended.
fn watch<M: Model>(checker: &impl Checker<M>, manner: Manner, start: Instant) {
    let mut last = Instant::now();
    let mut before = 0;
    while !checker.is_done() {
        thread::sleep(POLL);
        if !manner.is_watched || last.elapsed() < TELL {
            continue;
        }
        let unique = checker.unique_state_count();
        let fresh = u32::try_from(unique - before).unwrap_or(u32::MAX);
        let rate = f64::from(fresh) / last.elapsed().as_secs_f64();
        let (seconds, depth) = (start.elapsed().as_secs(), checker.max_depth() - 1);
        // Progress that can't be told is no reason to stop.
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{unique} states, {rate:.0} a second, depth {depth}, {seconds} s"
        );
        (last, before) = (Instant::now(), unique);
    }
    if manner.is_watched {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

const POLL: Duration = Duration::from_millis(5);
const TELL: Duration = Duration::from_secs(1);
