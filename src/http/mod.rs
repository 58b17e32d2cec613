//! What a node tells over HTTP: metrics for Prometheus, and whether it lives and is ready.
//!
//! - `GET /metrics`: what it counts and measures, in the OpenMetrics text format (`exposition`);
//! - `GET /livez`: 200 if its driver answers, else 503;
//! - `GET /readyz`: 200 if a majority has just confirmed that it can read, else 503 (`readiness`).
//!
//! Whoever reaches the address may ask: it shows names, addresses and numbers of the cluster, no keys
//! and no values. There is nothing to change here.
//!
//! Invariants:
//! 1. A connection carries one request and ends within [`HTTP_CONNECTION_MS_MAX`](crate::limits::HTTP_CONNECTION_MS_MAX),
//!    whatever the other side does or does not; there are at most
//!    [`HTTP_CONNECTIONS_MAX`](crate::limits::HTTP_CONNECTIONS_MAX) of them.
//! 2. Probes at one time cost the cluster one confirmation.
//! 3. Everything ends with the server.
//!
//! No TLS, no authentication: the address is to be one of the machine, or of a network that is trusted.

mod exposition;
mod readiness;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::node::NodeHandle;
use readiness::Readiness;
use serve::Serving;

/// An address that is taken, and not served yet: before a node is opened it is known that it can be.
#[derive(Debug)]
pub struct HttpListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// What a node tells over HTTP, until it is closed or dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    /// None once it was closed.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl HttpListener {
    /// Takes an address. With port 0 the system gives a port.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it is in use, or none of this machine.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("{address} can't be listened on for HTTP: {error}"))
                .with_detail("address", address.to_string())
                .with_detail("field", "cluster.http")
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Serves a node, whose files lie in a folder, if they lie in one.
    #[must_use]
    pub fn serve(self, node: NodeHandle, folder: Option<PathBuf>) -> HttpServer {
        let Self { listener, address } = self;
        let readiness = Readiness::new(node.clone());
        let look = Arc::new(Semaphore::new(1));
        let serving = Serving { node, readiness, folder: folder.map(Arc::from), look };
        tracing::info!(target: "plimsoll::http", %address, "serves metrics and probes");
        let task = tokio::spawn(serving.run(listener));
        HttpServer { address, task: Mutex::new(Some(task)) }
    }
}

impl HttpServer {
    /// Where it is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, with all connections; its address is free then.
    pub async fn close(&self) {
        if let Some(task) = self.take() {
            task.abort();
            // It ends by having been aborted.
            let _ = task.await;
        }
    }

    fn take(&self) -> Option<JoinHandle<()>> {
        // Nothing in there panics half-way.
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(task) = self.take() {
            task.abort();
        }
    }
}
