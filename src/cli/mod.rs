//! The command line: parses arguments, opens the engine, does one thing, prints it.
//!
//! Results go to standard output, everything else to standard error. The exit code tells what
//! happened: 0 done, 1 absent or condition failed (or a script failed), 2 wrong usage or
//! configuration, 3 the store is unavailable.

mod admin;
mod args;
mod bench;
mod check_history;
mod copy;
mod demo;
mod init;
mod kv;
mod log;
mod node;
mod output;
mod repl;
mod run;
mod verbs;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::error::{Error, ErrorKind};
use crate::keyspace::Keyspace;
use crate::namespaces::Namespaces;
use crate::registry::{
    ClusterOptions, Config, CrdtStoreOptions, HostAddress, LoadOptions, LuatProject, Plimsoll,
    RaftRole, RaftStoreOptions,
};
use crate::sql::SqliteNamespaces;
use crate::store::WallClock;
use args::{CheckConfigArgs, Cli, ClusterArgs, Command, ConfigArgs, PlaceArgs};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::unavailable(format!("no runtime could be started: {error}"));
            return Exit::from(error).report();
        }
    };
    let exit = runtime.block_on(execute(command));
    // A blocking call that was given up may still run: the process does not wait for it.
    runtime.shutdown_background();
    exit.report()
}

/// How a command ended.
enum Exit {
    /// Done.
    Done,
    /// The key is absent, or a condition failed; what there is to say was printed.
    Negative,
    /// An error of the engine.
    Failed(Error),
    /// An error of the engine that was told already.
    Told(ErrorKind),
    /// An uncaught error of a script, with its stack.
    ScriptFailed(String),
}

impl From<Error> for Exit {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Exit {
    /// Prints what went wrong, and gives the code.
    fn report(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Negative => ExitCode::from(1),
            Self::Failed(error) => {
                output::error(&error);
                ExitCode::from(code_of(error.kind()))
            }
            Self::Told(kind) => ExitCode::from(code_of(kind)),
            Self::ScriptFailed(message) => {
                output::script_error(&message);
                ExitCode::from(1)
            }
        }
    }
}

const fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Conflict => 1,
        ErrorKind::Invalid | ErrorKind::PermissionDenied => 2,
        ErrorKind::Unavailable
        | ErrorKind::Internal
        | ErrorKind::Canceled
        | ErrorKind::Timeout
        | ErrorKind::RateLimited
        | ErrorKind::Unknown => 3,
    }
}

async fn execute(command: Command) -> Exit {
    let result = match command {
        Command::Run(args) => return run::run(args).await,
        Command::Repl(args) => return repl::repl(args).await,
        Command::Demo(args) => return demo::demo(args).await,
        Command::Status(args) => admin::status(args).await,
        Command::Member(args) => admin::member(args).await,
        Command::Backup(args) => admin::backup(args).await,
        Command::Restore(args) => admin::restore(&args),
        Command::Recover(args) => admin::recover(&args),
        Command::Bench(args) => bench::bench(args).await,
        Command::Node(args) => node::node(args).await,
        Command::Init(args) => init::init(&args),
        Command::CheckConfig(args) => check_config(&args),
        Command::CheckHistory(args) => check_history::check_history(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "plimsoll", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        Command::Get(args) => verbs::get(args).await,
        Command::Entry(args) => verbs::entry(args).await,
        Command::Set(args) => verbs::set(args).await,
        Command::Put(args) => verbs::put(args).await,
        Command::Has(args) => verbs::has(args).await,
        Command::Delete(args) => verbs::delete(args).await,
        Command::List(args) => verbs::list(args).await,
        Command::Watch(args) => verbs::watch(args).await,
        Command::Copy(args) => copy::copy(args).await,
        Command::Info(args) => verbs::info(args).await,
    };
    result.unwrap_or_else(Exit::from)
}

fn check_config(args: &CheckConfigArgs) -> Result<Exit, Error> {
    let options =
        LoadOptions { skip_foreign_kinds: args.skip_foreign_kinds, ..LoadOptions::default() };
    let config = Config::load(&args.path, options)?;
    output::config(&config);
    Ok(Exit::Done)
}

/// A store of a cluster that is asked directly, as the command line names it: `NAMESPACE` of
/// `store.kv.raft`, `crdt:NAMESPACE` and `crdt-durable:NAMESPACE` of `store.kv.crdt`.
struct NamedStore<'a> {
    namespace: &'a str,
    /// What is said of a `store.kv.crdt`; none of a `store.kv.raft`.
    durable: Option<bool>,
}

impl<'a> NamedStore<'a> {
    fn parse(store: &'a str) -> Result<Self, Error> {
        match store.split_once(':') {
            None => Ok(Self { namespace: store, durable: None }),
            Some((CRDT, namespace)) => Ok(Self { namespace, durable: Some(false) }),
            Some((CRDT_DURABLE, namespace)) => Ok(Self { namespace, durable: Some(true) }),
            Some(_) => Err(Error::invalid(format!(
                "{store} is a store of a configuration; in a cluster that is asked directly a store is \
                 named by its namespace: write that ({CRDT}:NAMESPACE or {CRDT_DURABLE}:NAMESPACE for one of \
                 store.kv.crdt), or leave out --cluster and unset PLIMSOLL_CLUSTER"
            ))),
        }
    }

    /// Its id in the configuration of the client.
    fn id(&self) -> String {
        format!("{CLUSTER}:{}", self.namespace)
    }
}

/// The configuration of a client with one store.
fn cluster_config(args: &ClusterArgs, store: &NamedStore<'_>) -> Result<Config, Error> {
    let keyspace = Keyspace::new(store.namespace)?;
    let mut options = ClusterOptions::new("client", ".");
    options.secret_file.clone_from(&args.secret_file);
    options.raft.role = RaftRole::Client;
    let addresses = args.addresses.iter().map(|text| HostAddress::parse(text, CLIENT_PORT));
    options.membership.join_addrs = addresses.collect::<Result<_, _>>()?;
    let (id, builder) = (store.id(), Config::builder().cluster(options));
    match store.durable {
        None => builder.raft_store(&id, RaftStoreOptions { keyspace }),
        Some(durable) => builder.crdt_store(&id, CrdtStoreOptions { keyspace, durable }),
    }
    .build()
}

/// The namespaces of `KV`: those of the configuration, else those in the file of the project that
/// the working directory belongs to.
fn namespaces(engine: &Plimsoll) -> Result<Namespaces, Error> {
    if let Some(namespaces) = engine.namespaces() {
        return Ok(namespaces);
    }
    let file = SqliteNamespaces::open(LuatProject::find(".")?.kv_file());
    Ok(Namespaces::new(file, Arc::new(WallClock::new())))
}

/// Opens the engine that a command asks for.
async fn open(args: &ConfigArgs) -> Result<Plimsoll, Error> {
    let config = match &args.config {
        Some(path) => Config::load(path, LoadOptions::default())?,
        None => Config::builtin("."),
    };
    Ok(Plimsoll::open(config).await?.as_actor(args.actor.to_actor()))
}

/// Opens the engine that a command on a store asks for. In a cluster that is asked directly the store
/// is a namespace, and has the id cluster:NAMESPACE.
async fn open_for(args: &PlaceArgs, store: &str) -> Result<Plimsoll, Error> {
    if args.cluster.addresses.is_empty() {
        return open(&args.config).await;
    }
    if args.config.config.is_some() {
        return Err(Error::invalid(
            "a configuration and a cluster exclude each other: leave out --config or --cluster, and unset \
             PLIMSOLL_CONFIG or PLIMSOLL_CLUSTER",
        ));
    }
    let config = cluster_config(&args.cluster, &NamedStore::parse(store)?)?;
    Ok(Plimsoll::open(config).await?.as_actor(args.config.actor.to_actor()))
}

/// The name of a cluster that is asked directly, in ids of its stores.
const CLUSTER: &str = "cluster";
/// What stands before the namespace of a `store.kv.crdt` there.
const CRDT: &str = "crdt";
const CRDT_DURABLE: &str = "crdt-durable";
/// Where nodes serve clients unless they say otherwise.
const CLIENT_PORT: u16 = 7947;
