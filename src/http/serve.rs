//! Connections over HTTP: who is let in, what they may ask, and when they have to go.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::exposition::{self, Exposition};
use super::readiness::Readiness;
use crate::limits::{
    HTTP_CONNECTION_MS_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_PROBE_MS_MAX,
};
use crate::node::{Figures, NodeHandle};

/// What is asked of a node.
#[derive(Clone)]
pub(super) struct Serving {
    pub node: NodeHandle,
    pub readiness: Readiness,
    /// Where its files lie.
    pub folder: Option<Arc<Path>>,
    /// Held by whoever looks at them: on a disk that hangs no second one waits.
    pub look: Arc<Semaphore>,
}

impl Serving {
    /// Takes connections until it is dropped; all of them end with it.
    pub async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Too many open files, or the like: it passes.
                sleep(ACCEPT_WAIT).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            // Over the limit the connection is closed at once.
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let serving = self.clone();
                connections.spawn(async move {
                    // What is not done by then is broken off.
                    let _ = timeout(CONNECTION_TIME, serving.take(stream)).await;
                    drop(place);
                });
            }
        }
    }

    /// Serves one request.
    async fn take(self, stream: TcpStream) {
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_header_size(HTTP_HEAD_BYTES_MAX)
            .max_buf_size(HTTP_HEAD_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Whoever breaks it off, or says what is no HTTP, has been told by then, or is gone.
        let _ = connection.await;
    }

    /// The body of a request is not looked at.
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path();
        if !PATHS.contains(&path) {
            let known = PATHS.join(", ");
            return Ok(told(StatusCode::NOT_FOUND, &format!("there are {known}")));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = told(StatusCode::METHOD_NOT_ALLOWED, "it can only be read");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        Ok(match path {
            METRICS => self.metrics().await,
            LIVEZ => of_verdict(self.figures().await.map(drop)),
            _ => of_verdict(self.readiness.check().await),
        })
    }

    async fn metrics(&self) -> Answer {
        let figures = self.figures().await.ok();
        let folder_bytes = self.folder_bytes().await;
        let exposition = Exposition { node: self.node.clone(), figures, folder_bytes };
        let mut answer = Response::new(Full::from(exposition.encode()));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::TYPE));
        answer
    }

    /// The length of the node's files; none if that can't be learned in time.
    async fn folder_bytes(&self) -> Option<u64> {
        let folder = self.folder.clone()?;
        let look = Arc::clone(&self.look).try_acquire_owned().ok()?;
        let sum = tokio::task::spawn_blocking(move || {
            let sum = bytes_in(&folder);
            drop(look);
            sum
        });
        let time = Duration::from_millis(HTTP_PROBE_MS_MAX);
        timeout(time, sum).await.ok()?.ok()?
    }

    /// What the node's driver tells, or why it does not.
    async fn figures(&self) -> Result<Figures, String> {
        let time = Duration::from_millis(HTTP_PROBE_MS_MAX);
        match timeout(time, self.node.figures()).await {
            Ok(Some(figures)) => Ok(figures),
            Ok(None) => Err(format!("the node has stopped: {}", self.node.stopped().await)),
            Err(_) => Err(format!("the node has not answered within {HTTP_PROBE_MS_MAX} ms")),
        }
    }
}

type Answer = Response<Full<Bytes>>;

fn of_verdict(verdict: Result<(), String>) -> Answer {
    match verdict {
        Ok(()) => told(StatusCode::OK, "ok"),
        Err(why) => told(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn told(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{text}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The length of all files in a folder. A file may go while it is looked at.
fn bytes_in(folder: &Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?;
    Some(files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum())
}

const METRICS: &str = "/metrics";
const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";
const PATHS: &[&str] = &[METRICS, LIVEZ, READYZ];

const CONNECTION_TIME: Duration = Duration::from_millis(HTTP_CONNECTION_MS_MAX);
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_millis(HTTP_CONNECTION_MS_MAX / 2);
/// The pause after the system could not take a connection.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);
