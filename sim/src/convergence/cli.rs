//! `cargo sim convergence`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use super::spread;

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
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command line; its name is the first argument.
#[must_use]
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let args = Args::parse_from(args);
    println!("nodes loss  half p50   all p50   all p99  bytes/node/write  idle bytes/s (SWIM)");
    for nodes in &args.nodes {
        for loss in &args.loss {
            let start = Instant::now();
            let spread = spread::measure(*nodes, *loss, args.writes, args.seed);
            println!(
                "{nodes:>5} {loss:>3}% {:>6} ms {:>6} ms {:>6} ms {:>17.0} {:>13.0} ({:.0})",
                spread.half_ms(),
                spread.percentile_ms(50),
                spread.percentile_ms(99),
                spread.bytes_per_write,
                spread.idle_bytes.0,
                spread.idle_bytes.1,
            );
            eprintln!("{:.1} s", start.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}
