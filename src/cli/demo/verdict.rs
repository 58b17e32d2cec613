//! The end of the demo: what was recorded is judged, and the judge is shown to be able to say no.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::output::{BOLD, GREEN, RESET, say};
use super::Told;
use crate::check::history::{Answer, Call, History, Observation, Outcome, Request};
use crate::check::verdict::{Verdict, judge};
use crate::entry::Key;
use crate::history_file;

/// Act five.
pub(super) fn tell(history: Told<History>, file: Option<&Path>) -> Told<()> {
    let mut history = history?;
    say!("{BOLD}Act five: the verdict.{RESET}");
    say!("Every call was recorded, with when it was made and answered, and what it was told. If");
    say!("there is one order of all calls that explains every answer, and puts no call before one");
    say!(
        "that had ended before it began, the history is linearizable: as if one machine had served."
    );
    if let Some(file) = file {
        keep(&history, file).map_err(|error| format!("{}: {error}", file.display()))?;
        say!("    recorded in {}: `plimsoll check-history` judges it too", file.display());
    }
    let began = Instant::now();
    let calls = history.calls.len();
    match judge(&history) {
        Verdict::Linearizable(_) => {}
        Verdict::Violated(why) => return Err(format!("not linearizable: {why}")),
        Verdict::Undecided(why) => return Err(format!("undecided: {why}")),
        Verdict::Empty => return Err("nothing was recorded".to_owned()),
    }
    let seconds = began.elapsed().as_secs_f64();
    say!(
        "    {GREEN}linearizable{RESET}: {calls} calls, the order found and verified in {seconds:.1} s"
    );
    let what = make_stale(&mut history).ok_or("no answer was followed by another of its key")?;
    let Verdict::Violated(why) = judge(&history) else {
        return Err("a stale answer was not found".to_owned());
    };
    say!(
        "Can it say no? {what}, and it does, by {} calls that can't all be true:",
        why.calls.len()
    );
    say!("    {}", why.explanation);
    say!();
    Ok(())
}

fn keep(history: &History, file: &Path) -> std::io::Result<()> {
    let mut to = BufWriter::new(File::create(file)?);
    history_file::write(history, &mut to)?;
    to.flush()
}

/// Lets the last read that found an entry have found what an earlier read of that key did.
fn make_stale(history: &mut History) -> Option<String> {
    let calls = &history.calls;
    let (last, key, seen) = calls.iter().enumerate().rev().find_map(|(position, call)| {
        let (key, seen) = entry_read(call)?;
        Some((position, key.clone(), seen.version))
    })?;
    let old = calls[..last].iter().filter_map(entry_read);
    let mut old = old.filter(|(of, old)| **of == key && old.version != seen).map(|(_, old)| old);
    let old = Arc::clone(old.next_back()?);
    history.calls[last].outcome = Outcome::Ok(Answer::Entry(old));
    Some(format!("One answer of {calls} is replaced by an older one", calls = history.calls.len()))
}

/// What a read found, if it found an entry.
const fn entry_read(call: &Call) -> Option<(&Key, &Arc<Observation>)> {
    match (&call.request, &call.outcome) {
        (Request::Entry(key), Outcome::Ok(Answer::Entry(seen))) => Some((key, seen)),
        _ => None,
    }
}
