//! The load generator of `benches/cluster.sh`: one loop, one clock and one way to count for Plimsoll
//! and for those that it is compared with.
//!
//! It starts no server and stops none: it is told where they listen and which processes they are.
//!
//! Invariants:
//! 1. What is compared is measured in one run, in turn, beside what the machine itself can do.
//! 2. An operation counts only if it was answered as it should be; every other is told.

mod contest;
mod load;
mod machine;
mod million;
mod report;
mod systems;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use systems::{Cluster, Server, System};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure all clusters that are given, in turn
    Contest(ContestArgs),
    /// Fill a Plimsoll cluster, and tell how long writes were held up
    Fill(FillArgs),
    /// Wait until a linearizable read of Plimsoll succeeds, and print when that was
    FirstRead(PlimsollArgs),
}

#[derive(Args)]
struct PlimsollArgs {
    /// Nodes of Plimsoll: HOST:PORT=PID of each, with commas; the port is that for clients
    #[arg(long, value_delimiter = ',')]
    plimsoll: Vec<Server>,
    /// The file with the cluster's secret
    #[arg(long)]
    secret_file: Option<PathBuf>,
}

#[derive(Args)]
struct ContestArgs {
    #[command(flatten)]
    plimsoll: PlimsollArgs,
    /// Nodes of etcd, likewise
    #[arg(long, value_delimiter = ',')]
    etcd: Vec<Server>,
    /// Servers of NATS, likewise
    #[arg(long, value_delimiter = ',')]
    nats: Vec<Server>,
    /// A folder on the disk of the servers, for the fdatasync of the run
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// For how many milliseconds an operation is measured, once in a round
    #[arg(long, default_value_t = 2_000)]
    milliseconds: u64,
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
}

#[derive(Args)]
struct FillArgs {
    #[command(flatten)]
    plimsoll: PlimsollArgs,
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    #[arg(long, default_value_t = 256)]
    clients: u64,
}

impl PlimsollArgs {
    fn cluster(&self) -> Result<Cluster, String> {
        let file = self.secret_file.as_ref().ok_or("--secret-file is needed for Plimsoll")?;
        let secret = plimsoll::transport::Secret::from_file(file);
        let secret = secret.map_err(|error| error.to_string())?;
        Ok(Cluster::new(System::Plimsoll, self.plimsoll.clone(), Some(secret)))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let done = runtime.block_on(run(cli.command));
        // Connections end with their tasks.
        runtime.shutdown_timeout(Duration::from_secs(1));
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("plimsoll-peers: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Contest(args) => {
            let mut clusters = vec![args.plimsoll.cluster()?];
            clusters.push(Cluster::new(System::Etcd, args.etcd.clone(), None));
            clusters.push(Cluster::new(System::Nats, args.nats.clone(), None));
            clusters.retain(|cluster| !cluster.servers.is_empty());
            contest::run(&args, clusters).await
        }
        Command::Fill(args) => million::fill(&args, &args.plimsoll.cluster()?).await,
        Command::FirstRead(args) => million::first_read(&args.cluster()?).await,
    }
}
