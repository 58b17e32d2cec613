//! `cargo sim convergence`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use super::repair::{Repair, Twins};
use super::{plot, spread};

/// How soon writes are everywhere, and in how many bytes: the shipped gossip in virtual time.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo sim convergence")]
struct Args {
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 16, 128])]
    nodes: Vec<u64>,
    /// Messages lost, of a hundred.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 5])]
    loss: Vec<u32>,
    /// Writes for each.
    #[arg(long, default_value_t = 100)]
    writes: usize,
    /// Keys of the replicas that are repaired; 0 for none.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw a picture of it in this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// Runs the command line; its name is the first argument.
#[must_use]
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(args);
    let spreads = print_spreads(&args);
    if let Some(path) = &args.svg
        && let Err(error) = std::fs::write(path, plot::svg(&spreads))
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if args.keys > 0 {
        print_repairs(args.keys);
    }
    ExitCode::SUCCESS
}

fn print_spreads(args: &Args) -> Vec<spread::Spread> {
    println!("a write on half of the nodes, and on all of them; bytes that each node sent");
    println!(" nodes  lost      half   all p50   all p99  B/write   idle B/s  SWIM B/s");
    let mut spreads = Vec::new();
    for nodes in &args.nodes {
        for loss in &args.loss {
            let start = Instant::now();
            let spread = spread::measure(*nodes, *loss, args.writes, args.seed);
            let (half_ms, bytes) = (spread.half_ms(), spread.bytes_per_write);
            let [p50_ms, p99_ms] = [50, 99].map(|percent| spread.percentile_ms(percent));
            let (idle, swim) = spread.idle_bytes;
            println!(
                "{nodes:>6} {loss:>4}% {half_ms:>6} ms {p50_ms:>6} ms {p99_ms:>6} ms {bytes:>8.0} \
                 {idle:>10.0} {swim:>9.0}"
            );
            eprintln!("{:.1} s", start.elapsed().as_secs_f64());
            spreads.push(spread);
        }
    }
    spreads
}

fn print_repairs(keys: usize) {
    println!("two replicas of {keys} keys of which some differ, and what both sent to be the same");
    println!("   how        differing       bytes     payload      beyond  messages");
    let mut twins = Twins::new(keys);
    for differing in [10, 1_000, keys / 10] {
        print_repair("by coverage", twins.by_coverage(differing));
    }
    for differing in [10, 1_000] {
        print_repair("by trie", twins.by_trie(differing));
    }
}

fn print_repair(how: &str, repair: Repair) {
    let Repair { differing, bytes, payload, messages, .. } = repair;
    let beyond = bytes - payload;
    println!("   {how:<12} {differing:>7} {bytes:>11} {payload:>11} {beyond:>11} {messages:>9}");
}
