//! `plimsoll init`: the folder of a cluster whose nodes share this machine, to try it and to learn
//! from.
//!
//! What can be refused is refused before anything is written, and nothing that exists is overwritten.
//! The files name each other by relative paths, so the folder can be moved.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::Exit;
use super::args::InitArgs;
use super::output::say;
use crate::error::{Error, Result};
use crate::registry::RaftOptions;

/// Makes the folder, and tells what to do with it.
pub fn init(args: &InitArgs) -> Result<Exit> {
    let folder = &args.folder;
    let nodes = nodes(args)?;
    make_folder(folder)?;
    write_secret(&folder.join("secret"))?;
    for node in &nodes {
        let own = folder.join(node.name());
        fs::create_dir(&own).map_err(|error| unwritable(&own, &error))?;
        write(&own.join("plimsoll.yaml"), &configuration(node, &nodes), Mode::Plain)?;
    }
    write(&folder.join("start.sh"), &start_script(&nodes), Mode::Program)?;
    tell(folder, &nodes);
    Ok(Exit::Done)
}

/// A node, by its number from 1, and the first of its three ports.
struct Node {
    number: u16,
    port: u16,
}

impl Node {
    fn name(&self) -> String {
        format!("n{}", self.number)
    }
}

fn nodes(args: &InitArgs) -> Result<Vec<Node>> {
    let last = (args.nodes - 1) * PORTS_APART + PORTS - 1;
    if args.base_port.checked_add(last).is_none() {
        return Err(Error::invalid(format!(
            "--base-port {}: {} nodes need ports up to {}, and the last is {}; write {} or less",
            args.base_port,
            args.nodes,
            u32::from(args.base_port) + u32::from(last),
            u16::MAX,
            u16::MAX - last
        )));
    }
    let port = |number| args.base_port + (number - 1) * PORTS_APART;
    Ok((1..=args.nodes).map(|number| Node { number, port: port(number) }).collect())
}

/// Writes a new secret, 256 random bits as hexadecimal digits, to a file of its owner's.
pub(super) fn write_secret(path: &Path) -> Result<()> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::unavailable(format!("the system gives no random numbers: {error}"))
    })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, &format!("{digits}\n"), Mode::Secret)
}

/// Makes a folder that is missing, and refuses one in which there is something.
fn make_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(folder).map_err(|error| unwritable(folder, &error))?;
            match entries.next() {
                Some(_) => Err(Error::invalid(format!(
                    "{} is not empty; name a folder that is empty or missing",
                    folder.display()
                ))),
                None => Ok(()),
            }
        }
        made => made.map_err(|error| unwritable(folder, &error)),
    }
}

/// Who may do what with a file.
#[derive(Clone, Copy)]
enum Mode {
    Plain,
    Program,
    Secret,
}

fn write(path: &Path, text: &str, mode: Mode) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match mode {
            Mode::Plain => 0o644,
            Mode::Program => 0o755,
            Mode::Secret => 0o600,
        },
    );
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::invalid(format!(
        "{} can't be made: {error}; check the path, its permissions, and that the folder above it is \
         there",
        path.display()
    ))
}

fn configuration(node: &Node, nodes: &[Node]) -> String {
    let others = nodes.iter().filter(|other| other.number != node.number);
    let joins: Vec<_> = others.map(|other| format!("\"{HOST}:{}\"", other.port)).collect();
    let count = nodes.len();
    let mut text = CONFIGURATION
        .replace("{name}", &node.name())
        .replace("{count}", &count.to_string())
        .replace("{host}", HOST)
        .replace("{membership}", &node.port.to_string())
        .replace("{client}", &(node.port + 1).to_string())
        .replace("{http}", &(node.port + 2).to_string())
        .replace("{joins}", &joins.join(", "));
    if count > RaftOptions::new("").max_voters {
        text.push_str(&format!("    max_voters: {count}\n"));
    }
    text
}

fn start_script(nodes: &[Node]) -> String {
    let names: Vec<_> = nodes.iter().map(Node::name).collect();
    START_SCRIPT.replace("{names}", &names.join(" "))
}

fn tell(folder: &Path, nodes: &[Node]) {
    let folder = folder.display();
    let count = nodes.len();
    let s = if count == 1 { "" } else { "s" };
    say!("{folder} has a cluster of {count} node{s} and its secret:");
    for node in nodes {
        let (name, port) = (node.name(), node.port);
        say!("  {name}  {HOST}, ports {port} (nodes), {} (clients), {} (http)", port + 1, port + 2);
    }
    say!("next:");
    say!("  sh {folder}/start.sh    # starts every node; Ctrl-C stops them");
    say!("  plimsoll check-config {folder}/n1/plimsoll.yaml");
}

/// The nodes share a machine, and nobody else needs to reach them.
const HOST: &str = "127.0.0.1";

/// A node has this many ports, one after the other.
const PORTS: u16 = 3;

/// From the first port of a node to that of the next.
const PORTS_APART: u16 = 10;

const SECRET_BYTES: usize = 32;

const CONFIGURATION: &str = r#"version: "1.0"
namespace: app

entries:
  # Replicated: what one node has acknowledged, every node reads.
  - name: deployments
    kind: store.kv.raft
    namespace: deployments

  # Replicated by gossip: each node writes at once by itself, and the others learn it soon after.
  - name: sessions
    kind: store.kv.crdt
    namespace: sessions
    durable: true

  # In the memory of this node alone, and gone with it.
  - name: cache
    kind: store.memory

cluster:
  enabled: true
  name: {name}
  # The same on every node; whoever has it is one of them.
  secret_file: ../secret
  membership:
    bind_addr: {host}
    bind_port: {membership}
    join_addrs: [{joins}]
  client:
    bind_addr: {host}
    bind_port: {client}
  http:
    bind_addr: {host}
    bind_port: {http}
  raft:
    data_dir: data
    # The cluster is founded once so many nodes see each other.
    bootstrap_expect: {count}
"#;

const START_SCRIPT: &str = r#"#!/bin/sh
# Starts every node of this cluster and waits for them; Ctrl-C stops them all.
# PLIMSOLL names the program, if it is not the plimsoll of the PATH. What a node prints is added
# to node.log in its folder, its process id stands in node.pid while it runs.

folder=$(dirname -- "$0")
program=${PLIMSOLL:-plimsoll}
nodes="{names}"

if ! command -v "$program" >/dev/null; then
  echo "$0: there is no program $program; set PLIMSOLL to its path" >&2
  exit 127
fi

stop() {
  trap '' HUP INT TERM
  for pid in $pids; do
    kill -TERM "$pid" 2>/dev/null
  done
  wait
  for node in $nodes; do
    rm -f "$folder/$node/node.pid"
  done
  exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

pids=""
for node in $nodes; do
  "$program" node --config "$folder/$node/plimsoll.yaml" >>"$folder/$node/node.log" 2>&1 &
  pids="$pids $!"
  echo "$!" >"$folder/$node/node.pid"
  echo "$node: process $!, see $folder/$node/node.log"
done
echo "Ctrl-C stops them."

status=0
for node in $nodes; do
  wait "$(cat "$folder/$node/node.pid")" || {
    status=$?
    echo "$node ended with $status, see $folder/$node/node.log" >&2
  }
  rm -f "$folder/$node/node.pid"
done
exit "$status"
"#;
