//! `plimsoll node`: runs a node of a cluster until it is told to stop, or can't go on.

use std::time::Duration;

use super::Exit;
use super::args::NodeArgs;
use super::output::{progress, say};
use crate::error::Error;
use crate::node::{NodeHandle, NodeStatus, Phase};
use crate::raft::FoundingStatus;
use crate::registry::{ClusterOptions, Config, LoadOptions, Plimsoll};

/// Runs the node of a configuration, and its stores that start with it.
pub async fn node(args: NodeArgs) -> Result<Exit, Error> {
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
        () = tell_phases(&node) => None,
        signal = stop_signal() => {
            progress(&format!("{signal}: stopping"));
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

/// Tells how founding goes on, and who leads, whenever that changes. Does not end by itself.
async fn tell_phases(node: &NodeHandle) {
    let mut told = String::new();
    loop {
        if let Some(status) = node.status().await {
            let words = words_of(&status);
            if words != told {
                progress(&words);
                told = words;
            }
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn words_of(status: &NodeStatus) -> String {
    match &status.phase {
        Phase::Founding(FoundingStatus::Waiting { seen }) => {
            format!("waiting for the others: {seen} seen, this one included")
        }
        Phase::Founding(FoundingStatus::Pledged { agreed }) => {
            format!("founding: {agreed} agreed, this one included")
        }
        Phase::Founding(FoundingStatus::Split) => {
            "founding can't go on: nodes have pledged to different clusters; empty the folder of those \
             that are to give way"
                .to_owned()
        }
        Phase::Founding(FoundingStatus::Join { cluster, via }) => {
            format!("joining cluster {cluster} by {}", via.name)
        }
        Phase::Member(status) => {
            let name = |id| status.members.get(&id).map_or("?", |member| member.name.as_str());
            match status.raft.leader {
                None => "no leader".to_owned(),
                Some(leader) if leader == status.raft.id => "leading".to_owned(),
                Some(leader) => format!("following {}", name(leader)),
            }
        }
    }
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

/// How often it is looked whether there is something to tell.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
