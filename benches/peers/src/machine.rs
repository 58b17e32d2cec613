//! What the machine itself can do, measured beside the systems: an fdatasync, a round trip on the
//! loopback, and the processor time that processes have used.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What the machine can do at a moment, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub fdatasync_us: f64,
    pub round_trip_us: f64,
}

impl Machine {
    /// Measures it, in well under a second on most disks.
    pub fn measure(folder: &Path) -> Result<Self, String> {
        let fdatasync_us = fdatasync(folder).map_err(|error| format!("fdatasync: {error}"))?;
        let round_trip_us = round_trip().map_err(|error| format!("loopback: {error}"))?;
        Ok(Self { fdatasync_us, round_trip_us })
    }
}

/// The median time of an append of 384 bytes and its fdatasync, on the disk of a folder.
fn fdatasync(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < SYNCS && began.elapsed() < CALIBRATION_TIME {
        let before = Instant::now();
        file.write_all(&[b'v'; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(before.elapsed());
    }
    fs::remove_file(path)?;
    Ok(median_us(times))
}

/// The median time of a round trip of 320 bytes over a TCP connection on the loopback.
fn round_trip() -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut ours = TcpStream::connect(listener.local_addr()?)?;
    let (mut theirs, _) = listener.accept()?;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut message = [0; ROUND_TRIP_BYTES];
        while theirs.read_exact(&mut message).is_ok() && theirs.write_all(&message).is_ok() {}
    });
    let mut times = Vec::new();
    let mut message = [0; ROUND_TRIP_BYTES];
    for _ in 0..ROUND_TRIPS {
        let before = Instant::now();
        ours.write_all(&message)?;
        ours.read_exact(&mut message)?;
        times.push(before.elapsed());
    }
    drop(ours);
    // It has ended with the connection.
    let _ = echo.join();
    Ok(median_us(times))
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// The processor time that processes have used together, in all their threads, user and system.
pub fn processor_time(pids: impl IntoIterator<Item = u32>) -> Result<Duration, String> {
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // Behind the name, which may hold anything, stand state, and from there the 12th and 13th.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let used = rest.split_ascii_whitespace().skip(11).take(2);
        ticks += used.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// Linux tells processor time in hundredths of a second, whatever its own clock does.
const TICK_MS: u64 = 10;
const SYNCS: usize = 200;
const SYNC_BYTES: usize = 384;
const CALIBRATION_TIME: Duration = Duration::from_millis(1_000);
const ROUND_TRIPS: usize = 2_000;
const ROUND_TRIP_BYTES: usize = 320;
