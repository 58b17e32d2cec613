//! `plimsoll init`: what it makes can be loaded and started, and what it refuses is left alone.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use plimsoll::registry::{ClusterOptions, Config, EntryKind, LoadOptions};
use tempfile::TempDir;

fn init(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.arg("init").args(arguments).current_dir(folder).output().unwrap()
}

/// Makes a cluster in the folder `c`; answers what was printed.
fn made(folder: &Path, arguments: &[&str]) -> String {
    let output = init(folder, &[arguments, &["c"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn load(folder: &Path, node: usize) -> Config {
    let path = folder.join(format!("c/n{node}/plimsoll.yaml"));
    Config::load(&path, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn cluster(folder: &Path, node: usize) -> ClusterOptions {
    load(folder, node).cluster().unwrap().clone()
}

#[test]
fn the_nodes_know_each_other_and_share_a_secret() {
    let folder = TempDir::new().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    let told = made(&folder, &["--nodes", "3"]);
    assert!(
        told.contains("n3  127.0.0.1, ports 7966 (nodes), 7967 (clients), 7968 (http)"),
        "{told}"
    );
    assert!(told.contains("sh c/start.sh"), "{told}");
    for node in 1..=3 {
        let config = load(&folder, node);
        let EntryKind::RaftStore(store) = config.entry("app:deployments").unwrap().kind() else {
            panic!("{config:?}")
        };
        assert_eq!(store.keyspace.as_str(), "deployments");
        assert_eq!(config.entry("app:sessions").unwrap().kind().name(), "store.kv.crdt");
        assert_eq!(config.entry("app:cache").unwrap().kind().name(), "store.memory");

        let options = config.cluster().unwrap();
        assert_eq!(options.name, format!("n{node}"));
        let secret = options.secret_file.as_ref().unwrap();
        assert_eq!(fs::canonicalize(secret).unwrap(), folder.join("c/secret"));
        assert_eq!(options.raft.data_dir, folder.join(format!("c/n{node}/data")));
        assert_eq!(options.raft.bootstrap_expect, 3);
        assert_eq!(options.raft.max_voters, 5);
        let others: BTreeSet<_> = (1..=3).filter(|other| *other != node).collect();
        let expected: BTreeSet<_> = others
            .into_iter()
            .map(|other| cluster(&folder, other).membership.advertised().unwrap())
            .collect();
        assert_eq!(
            options.membership.join_addrs.iter().cloned().collect::<BTreeSet<_>>(),
            expected
        );
    }
    let names: BTreeSet<_> =
        fs::read_dir(folder.join("c")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["n1", "n2", "n3", "secret", "start.sh"].map(Into::into).into());
}

#[test]
fn any_number_of_nodes_up_to_sixteen_has_ports_of_its_own() {
    for (count, base) in [(1, "1"), (5, "7946"), (6, "9000"), (16, "65383")] {
        let folder = TempDir::new().unwrap();
        made(folder.path(), &["--nodes", &count.to_string(), "--base-port", base]);
        let mut ports = BTreeSet::new();
        for node in 1..=count {
            let options = cluster(folder.path(), node);
            ports.insert(options.membership.socket_addr().unwrap().port());
            ports.insert(options.client.socket_addr().unwrap().port());
            ports.insert(options.http.socket_addr().unwrap().port());
            assert_eq!(options.membership.join_addrs.len(), count - 1);
            assert_eq!(options.raft.bootstrap_expect, count);
            assert_eq!(options.raft.max_voters, count.max(5), "every founder votes");
        }
        assert_eq!(ports.len(), 3 * count);
        assert_eq!(ports.first(), Some(&base.parse().unwrap()));
    }
}

#[test]
fn what_is_refused_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("full")).unwrap();
    fs::write(folder.path().join("full/.hidden"), "kept").unwrap();
    fs::write(folder.path().join("file"), "kept").unwrap();
    for (arguments, says) in [
        (&["full"][..], "full is not empty; name a folder that is empty or missing"),
        (&["file"], "file can't be made: "),
        (&["missing/c"], "missing/c can't be made: "),
        (&["--nodes", "0", "c"], "0 is not in 1..=16"),
        (&["--nodes", "17", "c"], "17 is not in 1..=16"),
        (&["--nodes", "x", "c"], "invalid value 'x'"),
        (&["--base-port", "0", "c"], "0 is not in 1..=65535"),
        (
            &["--base-port", "65514", "c"],
            "3 nodes need ports up to 65536, and the last is 65535; write 65513 or less",
        ),
        (&[], "<DIR>"),
    ] {
        let output = init(folder.path(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {stderr}");
        assert!(stderr.contains(says), "{arguments:?} {stderr}");
        assert!(output.stdout.is_empty());
    }
    let names: BTreeSet<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["file", "full"].map(Into::into).into());
    assert_eq!(fs::read_dir(folder.path().join("full")).unwrap().count(), 1);

    fs::create_dir(folder.path().join("c")).unwrap();
    made(folder.path(), &[]);
    assert_eq!(load(folder.path(), 3).cluster().unwrap().name, "n3", "an empty folder is taken");
}

#[test]
fn a_secret_is_long_random_and_for_its_owner_only() {
    let secret = |folder: &TempDir| {
        made(folder.path(), &["--nodes", "1"]);
        fs::read_to_string(folder.path().join("c/secret")).unwrap()
    };
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let secrets = [secret(&one), secret(&two)];
    for secret in &secrets {
        let digits = secret.strip_suffix('\n').unwrap();
        assert_eq!(digits.len(), 64);
        assert!(digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{digits}");
    }
    assert_ne!(secrets[0], secrets[1]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |file| fs::metadata(one.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("c/secret"), 0o600);
        assert_eq!(mode("c/start.sh") & 0o700, 0o700, "its owner can run it");
        assert_eq!(mode("c/n1/plimsoll.yaml") & 0o111, 0);
    }
}

#[test]
fn the_configuration_is_checked_by_its_own_command() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), &["--nodes", "2"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(["check-config", "c/n2/plimsoll.yaml"]).current_dir(&folder).output();
    let stdout = String::from_utf8(output.unwrap().stdout).unwrap();
    let expected = "app:deployments  store.kv.raft\napp:sessions  store.kv.crdt\napp:cache  store.memory\ncluster: n2 at 127.0.0.1:7956\n3 entries, no error\n";
    assert_eq!(stdout, expected);
}

/// A program in the place of `plimsoll`: it says what it was called with, and runs until it is told to
/// end.
#[cfg(unix)]
const PROGRAM: &str = "#!/bin/sh
echo \"called with $*\"
trap 'echo stopped; exit 0' TERM
while :; do sleep 0.05; done
";

#[cfg(unix)]
fn write_program(folder: &Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[cfg(unix)]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn the_script_starts_every_node_and_stops_what_it_started() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), &["--nodes", "2"]);
    let program = write_program(folder.path(), PROGRAM);
    let mut command = Command::new("sh");
    command.arg("c/start.sh").current_dir(&folder).env("PLIMSOLL", program);
    let mut script = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let file = |node: &str, name: &str| {
        fs::read_to_string(folder.path().join("c").join(node).join(name)).unwrap_or_default()
    };
    for node in ["n1", "n2"] {
        let called = format!("called with node --config c/{node}/plimsoll.yaml\n");
        eventually("every node runs", || file(node, "node.log") == called);
        eventually("its process is known", || file(node, "node.pid").trim().parse::<u32>().is_ok());
    }
    assert!(script.try_wait().unwrap().is_none(), "it waits for them");
    let killed = Command::new("kill").args(["-TERM", &script.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(script.wait().unwrap().code(), Some(143));
    for node in ["n1", "n2"] {
        assert!(file(node, "node.log").ends_with("stopped\n"), "{}", file(node, "node.log"));
        assert!(!folder.path().join("c").join(node).join("node.pid").exists());
    }
}

#[cfg(unix)]
#[test]
fn the_script_tells_of_a_node_that_ends_and_of_a_program_that_is_missing() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), &["--nodes", "2"]);
    let run = |program: &str| {
        let mut command = Command::new("sh");
        let script = folder.path().join("c/start.sh");
        command.arg(script).current_dir("/").env("PLIMSOLL", program).output().unwrap()
    };
    let broken = "#!/bin/sh\necho broken\ncase $3 in */n2/*) exit 3 ;; esac\n";
    let output = run(&write_program(folder.path(), broken));
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("n2 ended with 3, see ") && !stderr.contains("n1 ended"), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path().join("c/n2/node.log")).unwrap(), "broken\n");

    let output = run("no-such-program");
    assert_eq!(output.status.code(), Some(127));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("there is no program no-such-program; set PLIMSOLL"), "{stderr}");
}
