//! `plimsoll node`: runs a node of a cluster until it is told to stop, or can't go on. What becomes of it
//! is told by its log.

use super::Exit;
use super::args::NodeArgs;
use super::log::Log;
use super::output::{error_text, say};
use crate::error::Error;
use crate::registry::{ClusterOptions, Config, LoadOptions, Plimsoll};

/// Runs the node of a configuration, and its stores that start with it. What ends it is told through
/// its log: where nobody reads standard error, a node still ends.
pub async fn node(args: NodeArgs) -> Result<Exit, Error> {
    let log = Log::start(&args.log)?;
    Ok(run(args).await.unwrap_or_else(|error| {
        log.tell(&format!("error: {}", error_text(&error)));
        Exit::Told(error.kind())
    }))
}

async fn run(args: NodeArgs) -> Result<Exit, Error> {
    let config = Config::load(&args.config, LoadOptions::default())?;
    let engine = Plimsoll::open(config).await?;
    let Some(node) = engine.node().await?.node() else {
        return Err(Error::invalid(
            "the configuration is one of a client: a node has cluster.raft.role: server",
        ));
    };
    let node = node.handle().clone();
    let options = engine.config().cluster().expect("its node was opened");
    say!("{}", introduction(options));
    let ended = tokio::select! {
        why = node.stopped() => Some(why),
        signal = stop_signal() => {
            tracing::info!(target: "plimsoll::node", node = options.name, signal, "is told to stop");
            None
        }
    };
    engine.close().await;
    match ended {
        None => Ok(Exit::Done),
        Some(why) => Err(Error::unavailable(format!("the node has stopped: {why}"))),
    }
}

/// One line that says who it is and where it listens.
fn introduction(options: &ClusterOptions) -> String {
    let name = &options.name;
    let members = options.membership.socket_addr().map(|address| format!("members at {address}"));
    let clients = options.client.socket_addr().map(|address| format!("clients at {address}"));
    let http = options.http.socket_addr().map(|address| format!("http at {address}"));
    let is_alone = members.is_none() && clients.is_none();
    let alone = is_alone.then(|| "alone".to_owned());
    let places: Vec<_> = [alone, members, clients, http].into_iter().flatten().collect();
    format!("node {name}, {}, in {}", places.join(", "), options.raft.data_dir.display())
}

/// Waits to be told to stop.
async fn stop_signal() -> &'static str {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = terminate.recv() => "terminated",
                _ = tokio::signal::ctrl_c() => "interrupted",
            };
        }
    }
    // Without signals it runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    "interrupted"
}
