//! Processes that are given what is not theirs, or more than they take: what they say at their start,
//! and how they go on under thousands of connections that want nothing.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

#[path = "support/processes/mod.rs"]
mod processes;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::transport::{Connection, Greeting, Role, Secret, TransportError, connect};
use processes::{NODES, Processes};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Starts a node that can't start; gives what it says of that.
fn refused(processes: &mut Processes, node: usize) -> String {
    let before = processes.log(node).len();
    processes.run(node);
    let (status, _) = processes.ended(node);
    let said = processes.log(node)[before..].to_owned();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_process_that_can_not_start_says_why_and_the_others_go_on() {
    let mut processes = Processes::start();
    processes.serves();
    // A second process in the folder of the first, on ports that the system chooses.
    let folder = processes.folder.path().join("c/n1");
    let config = fs::read_to_string(folder.join("plimsoll.yaml")).unwrap();
    let second: Vec<_> = config
        .lines()
        .map(|line| match line.split_once("bind_port: ") {
            Some((indent, _)) => format!("{indent}bind_port: {}", unused_port()),
            None => line.to_owned(),
        })
        .collect();
    fs::write(folder.join("second.yaml"), second.join("\n")).unwrap();
    let (is_done, text) = processes.cli(&["node", "--config", "c/n1/second.yaml"]);
    assert!(!is_done && text.contains("is held by process"), "{text}");

    processes.kill(2);
    let taken = TcpListener::bind(processes.client_address(2)).unwrap();
    let said = refused(&mut processes, 2);
    assert!(said.contains(&processes.client_address(2)), "{said}");
    drop(taken);

    let secret = processes.secret_file();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&mut processes, 2);
    assert!(said.contains("secret"), "{said}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();

    let identity = processes.folder.path().join("c/n3/data/_sys/raft/identity");
    let sound = fs::read(&identity).unwrap();
    for (at, words) in [(7, "version"), (sound.len() - 1, "identity")] {
        let mut changed = sound.clone();
        changed[at] ^= 2;
        fs::write(&identity, changed).unwrap();
        let said = refused(&mut processes, 2);
        assert!(said.contains("identity") && said.contains(words), "{said}");
    }
    fs::write(&identity, sound).unwrap();
    processes.serves();
    processes.run(2);
    processes.become_equal();
}

fn greeting() -> Greeting {
    let (name, address) = ("idle".to_owned(), String::new());
    Greeting { role: Role::Client, cluster: None, id: None, name, address }
}

/// So many connections that want nothing, as far as they are taken; and why the others are not.
async fn idle(
    address: &str,
    secret: &Secret,
    count: usize,
) -> (Vec<Connection>, Vec<TransportError>) {
    let at_once = Arc::new(Semaphore::new(32));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (address, secret, at_once) = (address.to_owned(), secret.clone(), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _place = at_once.acquire_owned().await.unwrap();
            connect(&address, &secret, &greeting(), Duration::from_secs(10)).await
        });
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for connected in tasks.join_all().await {
        match connected {
            Ok(connection) => taken.push(connection),
            Err(error) => refused.push(error),
        }
    }
    (taken, refused)
}

/// How many files this process may open; none if there is no limit.
fn files_max() -> Option<usize> {
    let told = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().parse().ok()
}

#[test]
fn two_thousand_idle_connections_cost_a_node_little() {
    // Where this process may not open so many files, as many as it may.
    let connections = files_max().map_or(2_000, |files| files.saturating_sub(200)).min(2_000);
    assert!(connections >= 300, "with so few files that may be opened, nothing is shown");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let processes = Processes::start();
    processes.serves();
    let secret = Secret::from_file(processes.secret_file()).unwrap();
    let before = processes.resident(0);
    let began = Instant::now();
    let (taken, refused) =
        runtime.block_on(idle(&processes.client_address(0), &secret, connections));
    let after = processes.resident(0);
    assert!(taken.len() + refused.len() == connections && taken.len() >= 300, "{}", taken.len());
    let each = before.zip(after).map(|(one, other)| other.saturating_sub(one) / taken.len());
    println!("{} idle in {:?}, of {each:?} bytes each", taken.len(), began.elapsed());
    assert!(refused.iter().all(|error| *error == TransportError::Full), "{:?}", refused.first());
    assert!(each.is_none_or(|each| each < 32 << 10), "{each:?} bytes each");
    let began = Instant::now();
    for n in 0..20 {
        let (is_done, text) = processes.cli(&["set", "deployments", &format!("k{n}"), "v"]);
        assert!(is_done, "{text}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(taken);
    processes.become_equal();
}

#[test]
fn a_process_that_may_open_few_files_tells_who_is_one_too_many_and_goes_on() {
    const FILES_MAX: u32 = 400;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut processes = Processes::made();
    processes.files_max = Some(FILES_MAX);
    processes.snapshot_often();
    processes.run_all();
    processes.serves();
    let secret = Secret::from_file(processes.secret_file()).unwrap();
    let (clients, members) = (processes.client_address(0), processes.member_address(0));
    let (taken, told, strangers) = runtime.block_on(async {
        let (taken, told) = idle(&clients, &secret, 500).await;
        // Strangers say nothing at all.
        let mut strangers = Vec::new();
        for _ in 0..500 {
            strangers.extend(TcpStream::connect(&members).await);
        }
        (taken, told, strangers)
    });
    let full = told.iter().filter(|error| **error == TransportError::Full).count();
    println!("{} taken, {full} of {} told, {} strangers", taken.len(), told.len(), strangers.len());
    assert!((20..100).contains(&taken.len()), "{}", taken.len());
    assert!(full > 300, "{full} of {}: {:?}", told.len(), told.first());
    // It opens files of its own all the while: for snapshots, and segments of the log.
    let load = processes::load::Load::start(runtime.handle(), 4, |n| {
        processes.client_options(1 + n % (NODES - 1))
    });
    std::thread::sleep(Duration::from_secs(6));
    let done = load.finish(runtime.handle(), || processes.logs());
    assert!(done.done > 1_000, "{done:?}");
    drop((taken, strangers));
    processes.become_equal();
    assert!(!processes.logs().contains("has stopped"), "{}", processes.logs());
}
