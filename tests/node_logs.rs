//! What `plimsoll node` logs: which events, in which form, and nothing that is secret.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nodes::free_address;
use plimsoll::json;
use plimsoll::value::{Table, Value};
use tokio::net::unix::pipe;

/// A node of its own in a folder, whose configuration names a port for HTTP.
struct Node {
    folder: tempfile::TempDir,
    port: u16,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_address().parse::<SocketAddr>().unwrap().port();
        let text = format!(
            "version: \"1.0\"\nnamespace: app\nentries: []\ncluster:\n  enabled: true\n  name: n1\n  \
             http: {{bind_addr: 127.0.0.1, bind_port: {port}}}\n  raft: {{data_dir: data}}\n"
        );
        fs::write(folder.path().join("plimsoll.yaml"), text).unwrap();
        Self { folder, port }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command
            .args(["node", "--config", "plimsoll.yaml"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("PLIMSOLL_LOG")
            .env_remove("PLIMSOLL_LOG_FORMAT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the node until it is ready, and then tells it to stop.
    fn run(&self, mut command: Command) -> Output {
        let mut child = command.spawn().unwrap();
        self.wait_until_ready(&mut child);
        tell_to_stop(&child);
        child.wait_with_output().unwrap()
    }

    fn wait_until_ready(&self, child: &mut Child) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_ready(self.port) {
            if Instant::now() >= deadline {
                child.kill().unwrap();
                panic!("the node does not become ready");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: n\r\n\r\n");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 OK")
}

fn tell_to_stop(child: &Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
}

fn stderr_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text_of<'a>(table: &'a Table, field: &str) -> &'a str {
    match table.get(field) {
        Some(Value::String(bytes)) => std::str::from_utf8(bytes).unwrap(),
        other => panic!("{field} is {other:?} in {table:?}"),
    }
}

#[test]
fn json_has_an_object_a_line_with_the_fields_of_the_event() {
    let node = Node::new();
    let stderr = stderr_of(&node.run(node.command(&["--log-format", "json"])));
    let events: Vec<Table> = stderr
        .lines()
        .map(|line| match json::parse(line.as_bytes()) {
            Ok(Some(Value::Table(table))) => table,
            other => panic!("{line}: {other:?}"),
        })
        .collect();
    let told: Vec<_> =
        events.iter().map(|it| (text_of(it, "target"), text_of(it, "message"))).collect();
    for event in [
        ("plimsoll::node", "starts"),
        ("plimsoll::node", "has founded a cluster"),
        ("plimsoll::raft", "stands for election"),
        ("plimsoll::raft", "has won the election and leads"),
        ("plimsoll::http", "serves metrics and probes"),
        ("plimsoll::node", "is told to stop"),
        ("plimsoll::node", "has stopped: it was told to"),
    ] {
        assert!(told.contains(&event), "{event:?} in {told:?}");
    }
    for event in &events {
        assert!(["INFO", "WARN"].contains(&text_of(event, "level")), "{event:?}");
        assert!(text_of(event, "timestamp").ends_with('Z'), "{event:?}");
        if text_of(event, "target") != "plimsoll::http" {
            assert_eq!(text_of(event, "node"), "n1", "{event:?}");
        }
    }
    let won = events.iter().find(|it| text_of(it, "message").starts_with("has won")).unwrap();
    assert!(matches!(won.get("term"), Some(Value::Integer(1..))), "{won:?}");
}

#[test]
fn levels_and_targets_filter_what_is_written() {
    let node = Node::new();
    let text = stderr_of(&node.run(node.command(&[])));
    assert!(text.lines().all(|line| line.contains(" plimsoll::")), "{text}");
    assert!(
        text.contains(" INFO plimsoll::raft: has won the election and leads node=\"n1\""),
        "{text}"
    );
    assert_eq!(stderr_of(&node.run(node.command(&["--log", "warn"]))), "");
    let mut command = node.command(&[]);
    command.env("PLIMSOLL_LOG", "off,plimsoll::http=info");
    let text = stderr_of(&node.run(command));
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn what_is_no_filter_is_wrong_usage() {
    let node = Node::new();
    for filter in ["loud", "info,loud", "info,plimsoll::net=loud", "a=b=c", ""] {
        // A configuration that is not there: nothing would run if the filter were taken.
        fs::remove_file(node.folder.path().join("plimsoll.yaml")).ok();
        let output = node.command(&["--log", filter]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{filter}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("write off, error, warn, info"), "{filter}: {text}");
    }
}

#[test]
fn a_log_that_nobody_can_read_does_not_hold_the_node() {
    let node = Node::new();
    let mut child = node.command(&["--log", "trace"]).spawn().unwrap();
    // Closed at once: every line fails to be written.
    drop(child.stderr.take());
    drop(child.stdout.take());
    node.wait_until_ready(&mut child);
    tell_to_stop(&child);
    assert!(child.wait().unwrap().success());
}

/// A pipe that takes no byte more: the end that is read, and the other one.
async fn full_pipe() -> (pipe::Receiver, OwnedFd) {
    let (to, from) = pipe::pipe().unwrap();
    to.writable().await.unwrap();
    let full = loop {
        if let Err(full) = to.try_write(b".") {
            break full;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
    (from, to.into_blocking_fd().unwrap())
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_the_node() {
    let node = Node::new();
    let (_unread, full) = full_pipe().await;
    let mut command = node.command(&["--log", "trace"]);
    let mut child = command.stdout(Stdio::null()).stderr(full).spawn().unwrap();
    node.wait_until_ready(&mut child);
    let since = Instant::now();
    tell_to_stop(&child);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > Duration::from_secs(5) {
            child.kill().unwrap();
            panic!("the node waits for its log");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_opened() {
    let node = Node::new();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", node.port)).unwrap();
    let output = node.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let says = format!("127.0.0.1:{} can't be listened on for HTTP", node.port);
    assert!(text.contains(&says), "{text}");
    assert!(!node.folder.path().join("data").exists());
}

/// Every file of the sources.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources.push(fs::read_to_string(&path).unwrap()),
            }
        }
    }
    sources
}

#[test]
fn the_page_lists_every_target_and_only_events_that_there_are() {
    let page = include_str!("../docs/logs.md");
    let sources = sources();
    let quoted: BTreeSet<&str> =
        sources.iter().flat_map(|text| text.split('"').skip(1).step_by(2)).collect();
    let is_target = |text: &&&str| {
        text.strip_prefix("plimsoll::")
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase()))
    };
    let targets: Vec<_> = quoted.iter().filter(is_target).collect();
    assert!(targets.len() >= 7, "{targets:?}");
    for target in targets {
        assert!(page.contains(&format!("| `{target}` |")), "the page has no {target}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `plimsoll::"));
    let events: Vec<_> =
        rows.flat_map(|row| row.split('|').nth(3).unwrap().split('`').skip(1).step_by(2)).collect();
    assert!(events.len() >= 25, "{events:?}");
    for event in events {
        let is_there = sources.iter().any(|text| text.contains(&format!("\"{event}")));
        assert!(is_there, "nothing logs {event:?}");
    }
}
