//! The log of `plimsoll node` on standard error: which events, and in which form.
//!
//! A thread of its own writes the lines. If whoever reads them stalls, lines are left out, and it is
//! said how many: a node does not wait for its log.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{LogArgs, LogFormat};
use crate::error::{Error, Result};
use crate::limits::LOG_LINES_MAX;

/// Where events go. What was logged is written when it is dropped, or is given up.
pub struct Log(Lines);

impl Log {
    /// Begins to log what happens in this process.
    ///
    /// # Errors
    /// `UNAVAILABLE` if no thread can be started.
    pub fn start(args: &LogArgs) -> Result<Self> {
        let lines = Lines::start()?;
        let layer = fmt::layer().with_writer(lines.clone()).log_internal_errors(false);
        let layer = match args.log_format {
            LogFormat::Text => layer.boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        };
        // Another one is there only if the command runs twice in a process.
        let _ = registry().with(layer.with_filter(args.log.clone())).try_init();
        Ok(Self(lines))
    }
}

impl Log {
    /// Writes something behind what was logged, as it is.
    pub fn tell(&self, text: &str) {
        let mut lines = self.0.clone();
        // It takes all that it is given.
        let _ = lines.write_all(text.as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, is_done) = sync_channel(1);
        // The thread is gone only with the process.
        if self.0.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Lines that wait to be written. Clones are the same queue.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Item>,
    left_out: Arc<AtomicU64>,
}

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Lines {
    fn start() -> Result<Self> {
        let (queue, items) = sync_channel(LOG_LINES_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&left_out);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread
            .spawn(move || write_all(&items, &counter, io::stderr()))
            .map_err(|error| Error::unavailable(format!("no thread for the log: {error}")))?;
        Ok(Self { queue, left_out })
    }
}

/// Writes what comes until nobody can log any more. Where there is nobody to read, it is lost.
fn write_all(items: &Receiver<Item>, left_out: &AtomicU64, mut to: impl Write) {
    while let Ok(item) = items.recv() {
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                to,
                "{missing} lines of the log were left out: they were not read in time"
            );
        }
        match item {
            Item::Line(line) => drop(to.write_all(&line)),
            Item::Flush(done) => {
                let _ = to.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Each write is one event.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(bytes.to_vec())).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long the end waits for what was logged to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_in_time_is_left_out_and_counted() {
        let (queue, items) = sync_channel(2);
        let mut lines = Lines { queue, left_out: Arc::default() };
        let left_out = Arc::clone(&lines.left_out);
        for n in 0..5 {
            lines.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        drop(lines);
        let mut written = Vec::new();
        write_all(&items, &left_out, &mut written);
        let says = "3 lines of the log were left out: they were not read in time\n0\n1\n";
        assert_eq!(String::from_utf8(written).unwrap(), says);
    }
}
