//! What a node tells over HTTP, asked through real sockets: metrics, probes, and who is let go.
#![cfg(all(feature = "http", feature = "store"))]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nodes::{Nodes, PATIENCE, Wall, eventually, free_address, open, write};
use plimsoll::error;
use plimsoll::http::{HttpListener, HttpServer};
use plimsoll::limits::{
    HTTP_CONNECTION_MS_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_PROBE_MS_MAX,
};
use plimsoll::node::{ClusterNode, Ended, NodeHandle, NodeOptions, Operation};
use plimsoll::registry::{ClusterOptions, Config, RaftStoreOptions};
use plimsoll::store::WatchQuery;
use plimsoll::{Plimsoll, keyspace::Keyspace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// An answer: status, head, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends bytes and reads until the other side closes the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may have closed it already.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    if let Err(error) = reading {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    let answer = exchange(address, format!("{request}\r\nHost: n\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1")).await
}

async fn serve(node: &NodeHandle) -> HttpServer {
    let listener = HttpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    listener.serve(node.clone(), None)
}

async fn alone(folder: &tempfile::TempDir) -> ClusterNode {
    open(folder.path(), NodeOptions::alone("solo", Arc::new(Wall(0)))).await
}

/// Families by their names as they are documented, with their types; and samples by name and labels.
struct Metrics {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Parses the OpenMetrics text format, and refuses what is none.
    fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, String> = BTreeMap::new();
        let mut samples = BTreeMap::new();
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
        let mut family = (String::new(), String::new());
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let [word, name, rest] = comment.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("no comment of this format: {line}")
                };
                assert!(is_name(name), "{line}");
                match word {
                    "HELP" => assert!(!rest.is_empty(), "{line}"),
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                    "TYPE" => {
                        family = (name.to_owned(), rest.to_owned());
                        let suffix = if rest == "counter" { "_total" } else { "" };
                        let shown = format!("{name}{suffix}");
                        let other = families.insert(shown, rest.to_owned());
                        assert_eq!(other, None, "{name} stands there once");
                    }
                    _ => panic!("no comment of this format: {line}"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(&family.0).expect("a sample follows its family");
            match family.1.as_str() {
                "gauge" => assert_eq!(suffix, "", "{line}"),
                "counter" => assert_eq!(suffix, "_total", "{line}"),
                "histogram" => assert!(["_sum", "_count", "_bucket"].contains(&suffix), "{line}"),
                other => panic!("the type {other} is not used"),
            }
            if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                check_labels(labels);
            }
            assert_eq!(
                samples.insert(series.to_owned(), value),
                None,
                "{series} stands there once"
            );
        }
        Self { families, samples }
    }

    async fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics").await;
        assert_eq!(answer.status, 200);
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.head.contains(kind), "{}", answer.head);
        Self::parse(&answer.body)
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("{series} is not served"))
    }
}

fn is_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.starts_with("plimsoll_") && name.bytes().all(is_inner)
}

/// `{name="value",…}`, of values without what has to be escaped.
fn check_labels(labels: &str) {
    let inner = labels.strip_prefix('{').and_then(|it| it.strip_suffix('}')).expect(labels);
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').expect(labels);
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{labels}");
        let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).expect(labels);
        assert!(!value.contains(['"', '\\', '\n']), "{labels}");
    }
}

#[tokio::test]
async fn metrics_have_their_format_and_grow_with_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let listener = HttpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let http = listener.serve(node.handle().clone(), Some(folder.path().to_owned()));
    write(node.handle(), "k0", "v").await.unwrap();
    let before = Metrics::of(http.address()).await;
    for n in 1..=5 {
        write(node.handle(), &format!("k{n}"), "v").await.unwrap();
    }
    node.handle().read(PATIENCE).await.unwrap();
    let after = Metrics::of(http.address()).await;
    let grown = |series: &str| after.value(series) - before.value(series);
    let written = r#"plimsoll_requests_total{operation="write",outcome="done"}"#;
    assert_eq!((before.value(written), after.value(written)), (1.0, 6.0));
    assert_eq!(grown(r#"plimsoll_requests_total{operation="read",outcome="done"}"#), 1.0);
    assert_eq!(grown(r#"plimsoll_request_seconds_count{operation="write"}"#), 5.0);
    assert!(grown(r#"plimsoll_request_seconds_sum{operation="write"}"#) > 0.0);
    assert_eq!(grown("plimsoll_commands_applied_total"), 5.0);
    assert!(grown("plimsoll_durable_write_seconds_count") >= 5.0);
    assert!(grown("plimsoll_batch_entries_count") >= 5.0);
    assert!(grown("plimsoll_batch_entries_sum") >= 5.0);
    assert!(grown("plimsoll_apply_seconds_count") >= 5.0);
    assert!(grown("plimsoll_raft_applied_index") >= 5.0);
    assert_eq!(after.value("plimsoll_entries"), 6.0);
    assert_eq!(after.value("plimsoll_running"), 1.0);
    assert_eq!(after.value("plimsoll_in_cluster"), 1.0);
    assert_eq!(after.value(r#"plimsoll_raft_role{role="leader"}"#), 1.0);
    assert_eq!(after.value(r#"plimsoll_raft_role{role="follower"}"#), 0.0);
    assert_eq!(after.value("plimsoll_elections_started_total"), 1.0);
    assert_eq!(after.value("plimsoll_elections_won_total"), 1.0);
    assert_eq!(after.value("plimsoll_leader_changes_total"), 1.0);
    assert!(after.value("plimsoll_data_directory_bytes") > 0.0);
    assert!(after.value("plimsoll_log_bytes") > 0.0);
    let (buckets, count) = (
        after.value(r#"plimsoll_durable_write_seconds_bucket{le="+Inf"}"#),
        after.value("plimsoll_durable_write_seconds_count"),
    );
    assert_eq!(buckets, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_members_say_to_each_other_is_counted() {
    let nodes = Nodes::founded(3).await;
    let leader = nodes.leader().await;
    let http = serve(nodes.handle(leader)).await;
    for n in 0..20 {
        write(nodes.handle(leader), &format!("k{n}"), "v").await.unwrap();
    }
    let told = Metrics::of(http.address()).await;
    for side in ["to_member", "from_member"] {
        let standing = told.value(&format!("plimsoll_connections{{side=\"{side}\"}}"));
        assert!(standing >= 1.0, "{side}: {standing}");
    }
    assert!(told.value(r#"plimsoll_sent_bytes_total{side="to_member"}"#) > 0.0);
    assert!(told.value(r#"plimsoll_received_bytes_total{side="from_member"}"#) > 0.0);
    let of = |start: &str| told.samples.keys().filter(|it| it.starts_with(start)).count();
    assert_eq!(of("plimsoll_member{"), 3);
    assert!(told.samples.keys().any(|it| it.contains(r#"name="n1",role="voter"#)));
    // Of one of the others it may not have heard yet.
    assert!((1..=2).contains(&of("plimsoll_clock_offset_seconds{")));
    let offsets = told.samples.iter().filter(|(it, _)| it.contains("clock_offset_seconds"));
    assert!(
        offsets.clone().all(|(_, offset)| offset.abs() < 5.0),
        "{:?}",
        offsets.collect::<Vec<_>>()
    );
}

/// The first cells of the table, and the second ones.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `plimsoll_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lists_what_is_served_and_nothing_else() {
    let nodes = Nodes::founded(3).await;
    let listener = HttpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let http = listener.serve(nodes.handle(0).clone(), Some(nodes.data_dir(0)));
    let served = Metrics::of(http.address()).await;
    assert_eq!(served.families, documented());
    // Labels are listed too.
    let page = include_str!("../docs/metrics.md");
    let labels: BTreeSet<_> = served
        .samples
        .keys()
        .filter_map(|series| series.split_once('{'))
        .flat_map(|(_, labels)| {
            labels.split(',').map(|it| it.split('=').next().unwrap().to_owned())
        })
        .filter(|label| label != "le")
        .collect();
    for label in labels {
        assert!(page.contains(&format!("`{label}`")), "the page tells of the label {label}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_live_and_ready_until_there_is_no_majority() {
    let mut nodes = Nodes::founded(3).await;
    let mut places = Vec::new();
    for place in 0..3 {
        places.push(serve(nodes.handle(place)).await);
    }
    for http in &places {
        for path in ["/livez", "/readyz", "/readyz?verbose"] {
            let answer = get(http.address(), path).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
        }
    }
    let left = nodes.leader().await;
    for place in (0..3).filter(|place| *place != left) {
        nodes.stop(place).await;
    }
    let address = places[left].address();
    for _ in 0..3 {
        let since = Instant::now();
        let answer = get(address, "/readyz").await;
        let took = since.elapsed();
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(
            answer.body.contains("did not answer in time") || answer.body.contains("no leader"),
            "{}",
            answer.body
        );
        assert!(took < Duration::from_millis(HTTP_PROBE_MS_MAX + 300), "{took:?}");
    }
    // It is cut off, not dead.
    assert_eq!(get(address, "/livez").await.status, 200);
    let told = Metrics::of(address).await;
    assert_eq!(told.value("plimsoll_running"), 1.0);
}

#[tokio::test]
async fn a_node_that_waits_for_others_is_live_and_not_ready() {
    let mut nodes = Nodes::places(2, 2);
    nodes.start(0).await;
    let http = serve(nodes.handle(0)).await;
    assert_eq!(get(http.address(), "/livez").await.status, 200);
    let answer = get(http.address(), "/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the cluster has no leader\n"));
    let told = Metrics::of(http.address()).await;
    assert_eq!(told.value("plimsoll_in_cluster"), 0.0);
}

#[tokio::test]
async fn a_node_that_has_stopped_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let http = serve(node.handle()).await;
    node.close().await;
    for path in ["/livez", "/readyz"] {
        let answer = get(http.address(), path).await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("the node has stopped"), "{}", answer.body);
    }
    let answer = get(http.address(), "/livez").await;
    assert_eq!(answer.body, "the node has stopped: it was closed\n");
    let told = Metrics::of(http.address()).await;
    assert_eq!(told.value("plimsoll_running"), 0.0);
    assert!(!told.families.contains_key("plimsoll_raft_term"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_probes_at_once_cost_one_round() {
    let mut nodes = Nodes::founded(3).await;
    let left = nodes.leader().await;
    let http = serve(nodes.handle(left)).await;
    for place in (0..3).filter(|place| *place != left) {
        nodes.stop(place).await;
    }
    let metrics = nodes.handle(left).metrics();
    let reads = || -> u64 {
        Ended::ALL.map(|ended| metrics.requests(Operation::Read, ended).value()).iter().sum()
    };
    // Without a majority each waits until its deadline: they are under way together.
    let before = reads();
    let address = http.address();
    let probes: Vec<_> = (0..40)
        .map(|_| tokio::spawn(async move { get(address, "/readyz").await.status }))
        .collect();
    for probe in probes {
        assert_eq!(probe.await.unwrap(), 503);
    }
    let cost = reads() - before;
    assert!((1..=2).contains(&cost), "40 probes cost {cost} reads");
}

#[tokio::test]
async fn only_reading_is_allowed_and_only_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let http = serve(node.handle()).await;
    let address = http.address();
    let answer = ask(address, "POST /metrics HTTP/1.1\r\nContent-Length: 0").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    assert_eq!(ask(address, "DELETE /readyz HTTP/1.1").await.status, 405);
    let answer = get(address, "/secret").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "there are /metrics, /livez, /readyz\n")
    );
    let answer = ask(address, "HEAD /metrics HTTP/1.1").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    // A body is not looked at.
    let request = "GET /livez HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n\r\nhello";
    assert!(exchange(address, request.as_bytes()).await.starts_with("HTTP/1.1 200 OK"));
    assert!(exchange(address, b"GET /livez HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 OK"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_or_closed() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let http = serve(node.handle()).await;
    let address = http.address();
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HTTP_HEAD_BYTES_MAX));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX\0: y\r\n\r\n",
    ] {
        let answer = exchange(address, bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{}: {answer:?}", bytes.escape_ascii());
    }
    // Who begins in another version of HTTP could not read an answer of this one.
    let answer = exchange(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer, "");
    for head in [long, many] {
        let answer = exchange(address, head.as_bytes()).await;
        // What was not read resets the connection: of the answer nothing may be left.
        let is_right = answer.is_empty() || answer.starts_with("HTTP/1.1 431");
        assert!(is_right, "{answer:?}");
    }
    assert_eq!(get(address, "/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_nothing_or_slowly_is_let_go_and_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let http = serve(node.handle()).await;
    let address = http.address();
    let since = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..HTTP_CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // There is no room: one more is closed at once, however often it is tried.
    let refused = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        let reading = stream.read(&mut byte);
        timeout(Duration::from_millis(200), reading).await.is_ok().then_some(())
    };
    eventually("one more is closed at once", refused).await;
    // One of them keeps on sending, a byte at a time.
    let mut slow = silent.pop().unwrap();
    let dripping = tokio::spawn(async move {
        let bytes = b"GET /livez HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in bytes {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a silent connection is closed");
    }
    timeout(PATIENCE, dripping).await.expect("a slow connection is closed").unwrap();
    let most = Duration::from_millis(HTTP_CONNECTION_MS_MAX) + Duration::from_secs(2);
    assert!(since.elapsed() < most, "{:?}", since.elapsed());
    let live = async || {
        let answer = exchange(address, b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n").await;
        answer.starts_with("HTTP/1.1 200 OK").then_some(())
    };
    eventually("there is room again", live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_nothing_holds_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&folder).await;
    let http = serve(node.handle()).await;
    let address = http.address();
    let mut silent = Vec::new();
    for _ in 0..2 * HTTP_CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Many requests on one connection are one.
        let requests = "GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n".repeat(100);
        let _ = stream.write_all(requests.as_bytes()).await;
        silent.push(stream);
    }
    let since = Instant::now();
    let live = async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200 OK").then_some(())
    };
    eventually("there is room", live).await;
    let most = Duration::from_millis(HTTP_CONNECTION_MS_MAX) + Duration::from_secs(1);
    assert!(since.elapsed() < most, "{:?}", since.elapsed());
}

#[tokio::test]
async fn an_address_in_use_is_refused_before_the_node_is_opened() {
    let taken = free_address();
    let holder = std::net::TcpListener::bind(&taken).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = || config(folder.path(), taken.parse().unwrap());
    let engine = Plimsoll::open(config()).await.unwrap();
    let error: error::Error = engine.node().await.unwrap_err();
    assert_eq!(error.kind(), error::ErrorKind::Unavailable, "{error}");
    let says = format!("{taken} can't be listened on for HTTP: ");
    assert!(error.message().starts_with(&says), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was opened");
    engine.close().await;
    // Once the address is free, all is well.
    drop(holder);
    Plimsoll::open(config()).await.unwrap().node().await.unwrap();
}

/// A node of its own whose configuration names an address for HTTP.
fn config(folder: &std::path::Path, http: SocketAddr) -> Config {
    let mut options = ClusterOptions::new("n1", folder.join("data"));
    options.http.bind_addr = Some(http.ip());
    options.http.bind_port = http.port();
    let store = RaftStoreOptions { keyspace: Keyspace::new("app").unwrap() };
    Config::builder().cluster(options).raft_store("app:s", store).build().unwrap()
}

#[tokio::test]
async fn an_engine_serves_what_its_configuration_names_until_it_is_closed() {
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    let engine = Plimsoll::open(config(folder.path(), address.parse().unwrap())).await.unwrap();
    let store = engine.store("app:s").await.unwrap();
    store.set("k", 1, None).await.unwrap();
    let mut watch = store.watch(&WatchQuery::default()).await.unwrap();
    let address: SocketAddr = address.parse().unwrap();
    assert_eq!(get(address, "/readyz").await.status, 200);
    let told = Metrics::of(address).await;
    assert_eq!(told.value("plimsoll_watches"), 1.0);
    assert_eq!(told.value("plimsoll_sessions"), 1.0);
    assert_eq!(told.value("plimsoll_entries"), 1.0);
    store.set("k", 2, None).await.unwrap();
    watch.next(Some(PATIENCE)).await.unwrap();
    drop(watch);
    assert_eq!(Metrics::of(address).await.value("plimsoll_watches"), 0.0);
    engine.close().await;
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
