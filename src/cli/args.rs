//! The command line as types: every command, argument and option, with its help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::json;
use crate::limits::RAFT_FOUNDERS_MAX;
use crate::policy::Actor;
use crate::registry::parse_duration;
use crate::value::Value;

/// A formally tested key-value engine.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a Lua script with the stores of a configuration
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Try Lua and the stores of a configuration, chunk by chunk
    #[command(after_help = REPL_EXAMPLES)]
    Repl(ReplArgs),
    /// Watch a cluster of three nodes survive, and what its stores do
    Demo(DemoArgs),
    /// Print the value of a key
    Get(KeyArgs),
    /// Print an entry: key, value, version, expiry
    Entry(KeyArgs),
    /// Write a value
    Set(SetArgs),
    /// Write a value under a condition, and print the new entry
    Put(PutArgs),
    /// Tell whether a key exists
    Has(KeyArgs),
    /// Delete a key; tells whether it existed
    Delete(DeleteArgs),
    /// List entries in key order
    List(ListArgs),
    /// Print every change of a store as it happens
    Watch(WatchArgs),
    /// Copy the entries of a store or a namespace to another
    #[command(after_help = COPY_EXAMPLES)]
    Copy(CopyArgs),
    /// Tell what a store is and what it supports
    Info(InfoArgs),
    /// Show what each node of a cluster tells of itself
    Status(StatusArgs),
    /// List the members of a cluster, or change who they are
    Member(MemberArgs),
    /// Write everything that a cluster holds to a file
    Backup(BackupArgs),
    /// Begin a new cluster with a backup
    Restore(RestoreArgs),
    /// Let one member go on alone after a majority was lost for ever
    Recover(RecoverArgs),
    /// Load a store from several clients, and print throughput and latencies
    Bench(BenchArgs),
    /// Run a node of a cluster until it is told to stop
    Node(NodeArgs),
    /// Make the folder of a cluster whose nodes share this machine
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Check a configuration without opening anything
    CheckConfig(CheckConfigArgs),
    /// Check whether a recorded history of calls is linearizable
    #[command(after_help = CHECK_HISTORY_CODES)]
    CheckHistory(CheckHistoryArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Where the stores come from.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// A YAML file, or a folder of _index.yaml files; without it app:cache (in memory),
    /// app:records (SQLite), app:deployments (Raft) and app:sessions (CRDT, all three in .plimsoll/)
    /// are there
    #[arg(long, env = "PLIMSOLL_CONFIG", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub actor: ActorArgs,
}

/// Where one store is: in a configuration, or in a cluster that is asked directly.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// A cluster that is asked directly, without a configuration.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Nodes of a cluster, HOST:PORT each (of their client addresses); the store is then the name of a
    /// namespace of store.kv.raft, or crdt:NAMESPACE or crdt-durable:NAMESPACE of store.kv.crdt
    #[arg(
        long = "cluster",
        env = "PLIMSOLL_CLUSTER",
        value_name = "ADDRS",
        value_delimiter = ',',
        requires = "secret_file"
    )]
    pub addresses: Vec<String>,

    /// The file with the cluster's secret
    #[arg(long, env = "PLIMSOLL_SECRET_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret_file: Option<PathBuf>,
}

/// On whose behalf the command is run, as the policies of the configuration see it.
#[derive(Debug, Args)]
pub struct ActorArgs {
    /// The actor whose rights are checked; without it only policies for everyone allow anything.
    /// It has no effect without policies
    #[arg(long = "actor", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,

    /// A group that the actor is in; may be given several times
    #[arg(long = "actor-group", value_name = "GROUP", requires = "name")]
    pub groups: Vec<String>,

    /// What conditions find as actor.meta.KEY: JSON, or else a string; may be given several times
    #[arg(long = "actor-meta", value_name = "KEY=VALUE", requires = "name", value_parser = parse_meta)]
    pub meta: Vec<(String, Value)>,
}

impl ActorArgs {
    /// The actor that the arguments describe.
    pub fn to_actor(&self) -> Actor {
        let actor = Actor::new(self.name.as_deref().unwrap_or_default());
        let actor = self.groups.iter().fold(actor, |actor, group| actor.with_group(group));
        self.meta.iter().fold(actor, |actor, (name, value)| actor.with_meta(name, value.clone()))
    }
}

/// Reads `KEY=VALUE`.
fn parse_meta(argument: &str) -> Result<(String, Value), String> {
    match argument.split_once('=') {
        Some((name, text)) if !name.is_empty() => {
            let value = json::parse(text.as_bytes()).unwrap_or_else(|_| Some(text.into()));
            let value = value.ok_or("null is no value; leave the argument out")?;
            Ok((name.to_owned(), value))
        }
        _ => Err("write KEY=VALUE, such as role=editor".to_owned()),
    }
}

/// Reads a number of bytes: `65536`, `64KiB`, `64MiB`, `1GiB`.
fn parse_bytes(argument: &str) -> Result<usize, String> {
    let digits = argument.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = argument.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err("write a number of bytes, such as 64MiB".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| "write a number of bytes, such as 64MiB")?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than there can be".to_owned())
}

fn parse_time(argument: &str) -> Result<Duration, String> {
    parse_duration(argument).map_err(|error| error.message().to_owned())
}

/// How results are printed and values are read.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Values are JSON, and so is what is printed
    #[arg(long)]
    pub json: bool,
}

/// `plimsoll run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Trust the script with nothing but the stores: no files, no system, limited memory and time,
    /// no KV
    #[arg(long)]
    pub sandbox: bool,

    /// The memory that a script in a sandbox may take [default: 64MiB]
    #[arg(long, value_name = "BYTES", requires = "sandbox", value_parser = parse_bytes)]
    pub memory: Option<usize>,

    /// The time that a script in a sandbox may take, waiting included [default: 5s]
    #[arg(long, value_name = "DURATION", requires = "sandbox", value_parser = parse_time)]
    pub time: Option<Duration>,

    /// The script
    #[arg(value_hint = ValueHint::FilePath)]
    pub script: PathBuf,

    /// Arguments of the script, in `arg` and `...`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `plimsoll repl`.
#[derive(Debug, Args)]
pub struct ReplArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// A verb on one key.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    /// The store's id, such as app:cache, or kv:NAMESPACE for a namespace of KV
    pub store: String,
    /// The key
    pub key: String,
}

/// What is written.
#[derive(Debug, Args)]
pub struct ValueArgs {
    /// The value, a string (JSON with --json); `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub value: OsString,
    /// Seconds until the entry expires; fractions are allowed. 0 means never, but in a namespace
    /// of KV at once
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub ttl: Option<f64>,
    /// In a namespace of KV: the Unix time at which the entry expires, in seconds
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub expiration: Option<f64>,
    /// In a namespace of KV: a JSON object or array to keep with the value
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub metadata: Option<String>,
}

/// `plimsoll set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    #[command(flatten)]
    pub at: KeyArgs,
    #[command(flatten)]
    pub value: ValueArgs,
}

/// `plimsoll put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub at: KeyArgs,
    #[command(flatten)]
    pub value: ValueArgs,
    /// Write only if the key does not exist
    #[arg(long)]
    pub if_absent: bool,
    /// Write only if the key has this version
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<String>,
}

/// `plimsoll delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub at: KeyArgs,
    /// Delete only if the key has this version
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<String>,
}

/// `plimsoll list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    /// The store's id, such as app:cache, or kv:NAMESPACE for a namespace of KV
    pub store: String,
    /// Only keys that start with this, taken literally
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Only keys after this one; of a namespace, the cursor of the page before
    #[arg(long, default_value = "", value_name = "KEY")]
    pub after: String,
    /// Most entries on the page; 0 means 100, at most 1000; in a namespace of KV 1000 and 10000
    #[arg(long, default_value_t = 0, value_name = "N", allow_hyphen_values = true)]
    pub limit: usize,
}

/// `plimsoll watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    /// The store's id, such as app:deployments
    pub store: String,
    /// Only keys that start with this, taken literally
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Only changes after this version; without it those from now on
    #[arg(long, value_name = "VERSION")]
    pub after: Option<String>,
    /// End after so many revisions
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `plimsoll copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What is read: a store's id, or kv:NAMESPACE
    pub from: String,
    /// What is written: a store's id, or kv:NAMESPACE
    pub to: String,
    /// Only keys that start with this, taken literally
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Go on where an earlier copy ended, as it said
    #[arg(long, default_value = "", value_name = "CURSOR")]
    pub after: String,
    /// Read everything, tell what would be copied, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `plimsoll info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    /// The store's id, such as app:cache
    pub store: String,
}

/// `plimsoll init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// How many nodes, from 1 to 16
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=FOUNDERS_MAX))]
    pub nodes: u16,
    /// The first port of the first node; each node has three, and the next one starts ten further on
    #[arg(long, value_name = "PORT", default_value_t = 7946, value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: u16,
    /// The folder to make, or an empty one
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// `plimsoll status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `plimsoll member`.
#[derive(Debug, Args)]
pub struct MemberArgs {
    #[command(subcommand)]
    pub command: MemberCommand,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What to do with members. A member is named by its name or its id.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members
    List,
    /// Add a member that does not vote; nodes that are started with join_addrs add themselves
    Add {
        /// Its id, of 16 hex digits
        id: String,
        /// Its name
        name: String,
        /// Where the others reach it, HOST:PORT
        address: String,
    },
    /// Make a member that has caught up a voter
    Promote {
        /// Which one
        member: String,
    },
    /// Make a voter a member that does not vote
    Demote {
        /// Which one
        member: String,
    },
    /// Remove a member for ever
    Remove {
        /// Which one
        member: String,
    },
    /// Hand leadership to a voter, and wait until it leads
    TransferLeader {
        /// Which one
        member: String,
    },
}

/// `plimsoll backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `plimsoll restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The configuration of the node that is to begin the new cluster, with an empty data directory
    #[arg(long, env = "PLIMSOLL_CONFIG", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub config: PathBuf,
}

/// `plimsoll recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The data directory of the member that is to go on, as in raft.data_dir
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: PathBuf,
    /// Say that a majority of the members is lost for ever
    #[arg(long)]
    pub force_new_cluster: bool,
}

/// `plimsoll bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What each client does, over and over
    #[arg(value_enum)]
    pub operation: BenchOperation,
    /// The store
    #[arg(long, value_name = "STORE", default_value = "app:deployments")]
    pub store: String,
    /// How many clients there are, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub clients: u64,
    /// For how many seconds
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_000_000).map(|bytes| bytes as usize))]
    pub value_bytes: usize,
    /// Print a line of JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What `plimsoll bench` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchOperation {
    /// Write keys at random
    Put,
    /// Write under the version that was read last
    Cas,
    /// Read keys at random
    Get,
    /// Read pages of 100 keys
    List,
}

impl std::fmt::Display for BenchOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Cas => "cas",
            Self::Get => "get",
            Self::List => "list",
        })
    }
}

/// `plimsoll node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The configuration, with a section `cluster`
    #[arg(long, env = "PLIMSOLL_CONFIG", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub config: PathBuf,

    #[command(flatten)]
    pub log: LogArgs,
}

/// What is logged on standard error.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Which events are logged: off, error, warn, info, debug, trace, or levels by target such as
    /// info,plimsoll::net=debug
    #[arg(long, env = "PLIMSOLL_LOG", value_name = "LEVEL", default_value = "info", value_parser = parse_log)]
    pub log: Targets,
    /// How they are written: lines for people, or a JSON object a line
    #[arg(long, env = "PLIMSOLL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Which events are logged: a level, or levels by target.
fn parse_log(argument: &str) -> Result<Targets, String> {
    // A word alone is a level, not a target of which everything is logged.
    let is_level =
        |part: &str| part.contains('=') || !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let filter = argument.split(',').all(is_level).then(|| argument.parse().ok());
    filter.flatten().ok_or_else(|| {
        "write off, error, warn, info, debug or trace, or levels by target such as \
         info,plimsoll::net=debug"
            .to_owned()
    })
}

/// `plimsoll check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// A YAML file, or a folder of _index.yaml files
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: PathBuf,
    /// Skip entries of kinds that are not stores or databases, and list them
    #[arg(long)]
    pub skip_foreign_kinds: bool,
}

/// `plimsoll demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep what was recorded in this file, for `plimsoll check-history`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub history: Option<PathBuf>,
}

/// `plimsoll check-history`.
#[derive(Debug, Args)]
pub struct CheckHistoryArgs {
    /// The history, a JSON object a line; `-` reads it from standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
}

/// Every node of the folder founds its cluster.
const FOUNDERS_MAX: i64 = RAFT_FOUNDERS_MAX as i64;

const INIT_EXAMPLES: &str = "\
Examples:
  plimsoll init --nodes 3 cluster
  sh cluster/start.sh

The folder has a configuration for each node, the secret that they share, and
a script that starts them.";

const CHECK_HISTORY_CODES: &str = "\
Exit codes: 0 linearizable, 1 not (the counterexample is printed), 2 unreadable, nothing to check,
or undecided because labels are missing";

const EXAMPLES: &str = "\
Examples:
  plimsoll demo
  plimsoll set app:records user:123 Alice --ttl 3600
  plimsoll get app:records user:123
  plimsoll put app:records config '{\"debug\": true}' --json
  plimsoll list app:records --prefix user: --json
  plimsoll put kv:sessions abc data --ttl 3600 --metadata '{\"user\": 1}'
  plimsoll run script.lua one two

Exit codes: 0 done, 1 absent or condition failed (or a script failed), 2 wrong usage,
3 store unavailable";

const COPY_EXAMPLES: &str = "\
Examples:
  plimsoll copy kv:sessions app:records --dry-run
  plimsoll copy kv:blog kv:blog-backup
  plimsoll copy app:records kv:records --prefix user: --after user:4711

Each entry is read back after it was written. The time to live stays, versions are new.";

const RUN_EXAMPLES: &str = "\
Examples:
  plimsoll run script.lua
  plimsoll run --config plimsoll.yaml script.lua --flag-of-the-script value
  plimsoll run --sandbox --memory 16MiB --time 500ms untrusted.lua

In the script:
  local store = require(\"store\")
  local cache = store.get(\"app:cache\")
  cache:set(\"user:123\", {name = \"Alice\"}, 3600)
  print(cache:get(\"user:123\").name)";

const REPL_EXAMPLES: &str = "\
Examples:
  plimsoll repl
  plimsoll repl --config plimsoll.yaml --actor ann
  echo 'store.get(\"app:records\"):list()' | plimsoll repl

Globals: store, errors, json, time, KV; _ is the last value.
Tab completes, Ctrl-C stops what runs, Ctrl-D leaves.
Without a terminal, chunks are read from standard input, errors go to
standard error, and the exit code is 1 if a chunk failed.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn bytes_are_read_with_their_unit() {
        for (text, bytes) in [("0", 0), ("7B", 7), ("64KiB", 65_536), ("3MiB", 3 << 20)] {
            assert_eq!(super::parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64 MiB", "64MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(super::parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
