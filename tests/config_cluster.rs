//! The section `cluster`: defaults, every field, and each bad input with what its error has to say,
//! in a text and from the builder.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::error::{Error, ErrorKind};
use plimsoll::keyspace::Keyspace;
use plimsoll::registry::{
    ClusterOptions, Config, ConfigBuilder, CrdtOptions, CrdtStoreOptions, EntryKind, Environment,
    HostAddress, ListenOptions, LoadOptions, MembershipOptions, RaftOptions, RaftRole,
    RaftStoreOptions,
};

/// What every text below starts with, so that the first line of the section is line 5.
const HEAD: &str = "version: \"1.0\"\nnamespace: app\nentries: []\ncluster:\n";

const VARIABLES: [(&str, &str); 4] = [
    ("HOME", "/home/ann"),
    ("HOSTNAME", "host-1.example"),
    ("PORT", "8000"),
    ("PEER", "db-2:9000"),
];

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment::Fixed(BTreeMap::from_iter(variables));
    Config::parse(text, "/folder", "t.yaml", LoadOptions { environment, ..LoadOptions::default() })
}

/// A configuration with the lines of a section, each indented by two.
fn parse(lines: &str) -> Result<Config, Error> {
    parse_with(&section(lines), &VARIABLES)
}

fn section(lines: &str) -> String {
    let indented: Vec<_> = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("{HEAD}{}", indented.concat())
}

fn cluster(lines: &str) -> ClusterOptions {
    parse(lines).unwrap_or_else(|error| panic!("{lines}: {error}")).cluster().unwrap().clone()
}

fn address(host: &str, port: u16) -> HostAddress {
    HostAddress { host: host.to_owned(), port }
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn absent_fields_have_their_defaults() {
    let options = cluster("enabled: true");
    let home = "/home/ann/.plimsoll/store/host-1.example";
    let expected = ClusterOptions {
        name: "host-1.example".to_owned(),
        failure_domain: None,
        secret_file: None,
        membership: MembershipOptions {
            bind_addr: None,
            bind_port: 7946,
            advertise_addr: None,
            join_addrs: Vec::new(),
        },
        client: ListenOptions { bind_addr: None, bind_port: 7947 },
        http: ListenOptions { bind_addr: None, bind_port: 7948 },
        raft: RaftOptions {
            data_dir: home.into(),
            role: RaftRole::Server,
            eligible: true,
            priority: 100,
            bootstrap_expect: 1,
            max_voters: 5,
            max_standbys: 4,
            heartbeat_timeout: Duration::from_millis(200),
            election_timeout: Duration::from_secs(1),
            snapshot_threshold: 8_192,
            clock_bound: Duration::from_secs(10),
            failure_timeout: Duration::from_secs(600),
        },
        crdt: CrdtOptions {
            clock_bound: Duration::from_secs(5),
            max_tombstones: 1_000_000,
            eviction_horizon: None,
        },
    };
    assert_eq!(options, expected);
    assert_eq!(ClusterOptions::new("host-1.example", home), expected, "the same in Rust");
    assert_eq!(options.membership.socket_addr(), None, "a node that listens nowhere");
    assert_eq!(options.membership.advertised(), None);
    assert_eq!(options.client.socket_addr(), None);
}

/// The periods are those of the node that goes by them.
#[cfg(feature = "raft")]
#[test]
fn the_defaults_of_raft_are_those_of_its_node() {
    let (ours, node) = (RaftOptions::new("data"), plimsoll::raft::Options::default());
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
    assert_eq!(ms(ours.heartbeat_timeout), node.heartbeat_ticks as u64 * node.tick_ms);
    assert_eq!(ms(ours.election_timeout), node.election_ms());
    assert_eq!(ms(ours.clock_bound), node.clock_bound_ms);
    assert_eq!(ours.snapshot_threshold, node.snapshot_threshold);
}

const EVERY_FIELD: &str = "\
enabled: true
name: n_1.a-b
failure_domain: 7-rack
secret_file: keys/secret
membership:
  bind_addr: 0.0.0.0
  bind_port: ${env:PORT}
  advertise_addr: db-1.example
  join_addrs: [db-3, \"${env:PEER}\", \"::1\", \"[::2]:1\"]
client: {bind_addr: \"::1\", bind_port: 1}
http: {bind_addr: 127.0.0.1, bind_port: 65535}
raft:
  data_dir: data/raft
  role: client
  eligible: false
  priority: 4294967295
  bootstrap_expect: 16
  max_voters: 60
  max_standbys: 4
  heartbeat_timeout: 50ms
  election_timeout: 101ms
  snapshot_threshold: 1
  clock_bound: 1ms
  failure_timeout: 102ms
crdt: {clock_bound: 1s, max_tombstones: 1, eviction_horizon: 240h}
";

fn every_field() -> ClusterOptions {
    ClusterOptions {
        name: "n_1.a-b".to_owned(),
        failure_domain: Some("7-rack".to_owned()),
        secret_file: Some("/folder/keys/secret".into()),
        membership: MembershipOptions {
            bind_addr: Some(Ipv4Addr::UNSPECIFIED.into()),
            bind_port: 8000,
            advertise_addr: Some(address("db-1.example", 8000)),
            join_addrs: vec![
                address("db-3", 7946),
                address("db-2", 9000),
                address("::1", 7946),
                address("::2", 1),
            ],
        },
        client: ListenOptions { bind_addr: Some(Ipv6Addr::LOCALHOST.into()), bind_port: 1 },
        http: ListenOptions { bind_addr: Some(LOCALHOST), bind_port: 65_535 },
        raft: RaftOptions {
            data_dir: "/folder/data/raft".into(),
            role: RaftRole::Client,
            eligible: false,
            priority: u32::MAX,
            bootstrap_expect: 16,
            max_voters: 60,
            max_standbys: 4,
            heartbeat_timeout: Duration::from_millis(50),
            election_timeout: Duration::from_millis(101),
            snapshot_threshold: 1,
            clock_bound: Duration::from_millis(1),
            failure_timeout: Duration::from_millis(102),
        },
        crdt: CrdtOptions {
            clock_bound: Duration::from_secs(1),
            max_tombstones: 1,
            eviction_horizon: Some(Duration::from_secs(864_000)),
        },
    }
}

#[test]
fn every_field_is_read_and_written() {
    assert_eq!(cluster(EVERY_FIELD), every_field());
    let built = builder().cluster(every_field()).build().unwrap();
    assert_eq!(built.cluster(), Some(&every_field()), "what is written reads back as it was");
    let options = every_field().membership;
    assert_eq!(options.socket_addr(), Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8000)));
    assert_eq!(options.advertised(), Some(address("db-1.example", 8000)));
    let open =
        cluster("enabled: true\nsecret_file: s\nmembership: {bind_addr: \"::1\"}").membership;
    assert_eq!(open.advertised(), Some(address("::1", 7946)), "where it listens");
}

#[test]
fn a_section_that_is_off_counts_as_none() {
    for lines in ["enabled: false", "name: n1", "{}", &EVERY_FIELD.replacen("true", "false", 1)] {
        let config = parse(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
        assert_eq!(config.cluster(), None, "{lines}");
    }
    let head = HEAD.strip_suffix("cluster:\n").unwrap();
    assert_eq!(parse_with(head, &[]).unwrap().cluster(), None);
    // What it would need to be on is not asked for; what can't be read is told all the same.
    assert_eq!(parse("membership: {bind_addr: 127.0.0.1}").unwrap().cluster(), None);
    assert!(parse("enabled: false\nmembership: {bind_port: 0}").is_err());
}

#[test]
fn the_machine_names_a_node_that_has_no_name() {
    let name = |variables: &[(&str, &str)]| {
        let text = section("enabled: true\nraft: {data_dir: data}");
        parse_with(&text, variables).unwrap().cluster().unwrap().name.clone()
    };
    assert_eq!(name(&[("HOSTNAME", "web-7")]), "web-7");
    let otherwise = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let otherwise = otherwise.trim();
    let is_good = |name: &str| {
        let mut bytes = name.bytes();
        let is_first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        is_first && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let otherwise = if is_good(otherwise) { otherwise } else { "plimsoll" };
    for unfit in ["", "a b", "../x", ".", &"x".repeat(129)] {
        assert_eq!(name(&[("HOSTNAME", unfit)]), otherwise, "{unfit:?}");
    }
    assert_eq!(name(&[]), otherwise);
    assert_eq!(
        cluster("enabled: true\nname: n1").raft.data_dir,
        Path::new("/home/ann/.plimsoll/store/n1")
    );
}

/// The error of a section, which is `INVALID`.
fn refused(lines: &str) -> Error {
    let error = parse(lines).expect_err(lines);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{lines}");
    error
}

/// Checks that there is one problem, and that it starts as given.
#[track_caller]
fn assert_refused(lines: &str, start: &str) {
    let error = refused(lines);
    let (message, count) = (error.message(), error.message().lines().count());
    assert!(message.starts_with(&format!("t.yaml:{start}")), "\n{lines}\nsays: {message}");
    assert_eq!(count, 1, "{lines}: what follows from a problem is not told: {message}");
}

/// One field that can't be read, and what its error starts with: its line and column, its path, what
/// is wrong and what to do.
const FIELDS: &[(&str, &str)] = &[
    ("enabled: maybe", "5:12: cluster.enabled: expected true or false, found the string \"maybe\""),
    ("enabled: 1", "5:12: cluster.enabled: expected true or false, found the integer 1"),
    (
        "enable: true",
        "5:3: cluster.enable: the field is unknown; did you mean enabled? (known are enabled, name, failure_domain, secret_file, tls, membership, client, http, raft, crdt)",
    ),
    (
        "name: ''",
        "5:9: cluster.name: \"\" is no name: it starts with a letter or a digit, followed by those, '.', '_' or '-', such as n1",
    ),
    ("name: ../x", "5:9: cluster.name: \"../x\" is no name"),
    ("name: a/b", "5:9: cluster.name: \"a/b\" is no name"),
    ("name: 7", "5:9: cluster.name: expected a string, found the integer 7; put it in quotes"),
    ("failure_domain: a b", "5:19: cluster.failure_domain: \"a b\" is no name"),
    ("secret_file: ''", "5:16: cluster.secret_file: it is empty; write a name"),
    (
        "secret_file: ~/s",
        "5:16: cluster.secret_file: it starts with ~, which is not written out; write ${env:HOME}",
    ),
    ("secret_file: \"a\\0b\"", "5:16: cluster.secret_file: it has a NUL character; remove it"),
    (
        "membership: x",
        "5:15: cluster.membership: expected a mapping of fields, found the string \"x\"",
    ),
    (
        "membership: {bind_adr: 127.0.0.1}",
        "5:16: cluster.membership.bind_adr: the field is unknown; did you mean bind_addr? (known are bind_addr, bind_port, advertise_addr, join_addrs)",
    ),
    (
        "membership: {bind_addr: localhost}",
        "5:27: cluster.membership.bind_addr: \"localhost\" is no IP address; write one of this machine, such as 127.0.0.1, or 0.0.0.0",
    ),
    (
        "membership: {bind_addr: '127.0.0.1:80'}",
        "5:27: cluster.membership.bind_addr: \"127.0.0.1:80\" is no IP address",
    ),
    (
        "membership: {bind_port: 0}",
        "5:27: cluster.membership.bind_port: it is no port; write a number from 1 to 65535, such as 7946",
    ),
    ("membership: {bind_port: 65536}", "5:27: cluster.membership.bind_port: it is no port"),
    ("membership: {bind_port: -1}", "5:27: cluster.membership.bind_port: -1 is negative"),
    (
        "membership: {advertise_addr: 0.0.0.0}",
        "5:32: cluster.membership.advertise_addr: nobody can be reached at 0.0.0.0; write the name or the address of a node",
    ),
    (
        "membership: {advertise_addr: 'http://a'}",
        "5:32: cluster.membership.advertise_addr: \"http://a\" is no address; write host or host:port, such as 10.0.0.2:7946 or [::1]:7946",
    ),
    (
        "membership: {join_addrs: 'a b'}",
        "5:28: cluster.membership.join_addrs: \"a b\" is no address",
    ),
    (
        "membership: {join_addrs: [a, 'b:0']}",
        "5:32: cluster.membership.join_addrs[1]: \"0\" is no port; write a number from 1 to 65535",
    ),
    (
        "membership: {join_addrs: [a, 5]}",
        "5:32: cluster.membership.join_addrs[1]: expected a string, found the integer 5",
    ),
    (
        "membership: {join_addrs: {a: b}}",
        "5:28: cluster.membership.join_addrs: expected a string, found a mapping",
    ),
    (
        "client: {bind_port: 70000}",
        "5:23: cluster.client.bind_port: it is no port; write a number from 1 to 65535, such as 7947",
    ),
    (
        "client: {port: 1}",
        "5:12: cluster.client.port: the field is unknown (known are bind_addr, bind_port)",
    ),
    (
        "http: {bind_addr: 5}",
        "5:21: cluster.http.bind_addr: expected a string, found the integer 5",
    ),
    (
        "http: {bind_port: 0}",
        "5:21: cluster.http.bind_port: it is no port; write a number from 1 to 65535, such as 7948",
    ),
    ("raft: []", "5:9: cluster.raft: expected a mapping of fields, found a list"),
    (
        "raft: {datadir: x}",
        "5:10: cluster.raft.datadir: the field is unknown; did you mean data_dir?",
    ),
    ("raft: {data_dir: ~/x}", "5:20: cluster.raft.data_dir: it starts with ~"),
    (
        "raft: {role: voter}",
        "5:16: cluster.raft.role: \"voter\" is unknown; write server or client",
    ),
    ("raft: {eligible: 'no'}", "5:20: cluster.raft.eligible: expected true or false"),
    (
        "raft: {priority: 4294967296}",
        "5:20: cluster.raft.priority: 4294967296 is too large; write 4294967295 or less",
    ),
    (
        "raft: {bootstrap_expect: 17}",
        "5:28: cluster.raft.bootstrap_expect: too many nodes; write 16 or fewer",
    ),
    ("raft: {bootstrap_expect: -1}", "5:28: cluster.raft.bootstrap_expect: -1 is negative"),
    ("raft: {max_voters: 65}", "5:22: cluster.raft.max_voters: too many nodes; write 64 or fewer"),
    ("raft: {max_voters: 5.0}", "5:22: cluster.raft.max_voters: expected a whole number"),
    (
        "raft: {max_standbys: 65}",
        "5:24: cluster.raft.max_standbys: too many nodes; write 64 or fewer",
    ),
    (
        "raft: {heartbeat_timeout: 0}",
        "5:29: cluster.raft.heartbeat_timeout: 0 is no time; write 1ms or longer",
    ),
    (
        "raft: {heartbeat_timeout: 10us}",
        "5:29: cluster.raft.heartbeat_timeout: 10us is too short: write 1ms or longer",
    ),
    (
        "raft: {election_timeout: 1000}",
        "5:28: cluster.raft.election_timeout: \"1000\" is no duration: a unit is missing",
    ),
    ("raft: {election_timeout: 0}", "5:28: cluster.raft.election_timeout: 0 is no time"),
    (
        "raft: {snapshot_threshold: 0}",
        "5:30: cluster.raft.snapshot_threshold: 0 is too few; write 1 or more",
    ),
    ("raft: {clock_bound: 0}", "5:23: cluster.raft.clock_bound: 0 is no time"),
    ("raft: {failure_timeout: -5m}", "5:27: cluster.raft.failure_timeout: \"-5m\" is negative"),
    ("raft: {failure_timeout: 0}", "5:27: cluster.raft.failure_timeout: 0 is no time"),
    ("crdt: {clock_bound: 0}", "5:23: cluster.crdt.clock_bound: 0 is no time"),
    ("crdt: {max_tombstones: 0}", "5:26: cluster.crdt.max_tombstones: 0 is too few"),
    (
        "crdt: {eviction_horizon: 1us}",
        "5:28: cluster.crdt.eviction_horizon: 1us is too short: write 1ms or longer, or 0 to turn it off",
    ),
    ("crdt: {durable: true}", "5:10: cluster.crdt.durable: the field is unknown"),
    (
        "tls: {ca: ca.pem, cert: c.pem, key: k.pem}",
        "5:8: cluster.tls: TLS between nodes is not supported; remove the section, and name a file with the secret of the cluster in secret_file",
    ),
];

#[test]
fn a_field_that_is_wrong_is_told_with_its_place_and_remedy() {
    for (line, start) in FIELDS {
        assert_refused(line, start);
        if !line.starts_with("enable") {
            // Among others that need it: nothing is told that only follows from it.
            assert_refused(&format!("{line}\nenabled: true"), start);
        }
    }
    let many = vec!["a"; 65].join(", ");
    let error = refused(&format!("membership: {{join_addrs: [{many}]}}"));
    assert!(error.message().contains("65 addresses are too many; write 64 or fewer"), "{error}");
    assert_eq!(error.detail("limit"), Some(&64.into()));
    let error = refused(&format!("name: {}", "n".repeat(129)));
    assert!(error.message().contains("the name has 129 bytes, the limit is 128"), "{error}");
    assert_eq!(error.detail("limit"), Some(&128.into()));
    assert_eq!(refused("raft: {bootstrap_expect: 17}").detail("limit"), Some(&16.into()));
    let error = refused("tls: {ca: 5, certificate: x}");
    for fragment in [
        "cluster.tls.ca: expected a string",
        "tls.certificate: the field is unknown",
        "TLS between",
    ] {
        assert!(error.message().contains(fragment), "{error}");
    }
}

/// What an enabled section says against itself, from line 6, and what its error starts with.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "membership: {bind_addr: 127.0.0.1}",
        "5:3: cluster.secret_file: the field is missing; a node that talks to others proves with a secret that it belongs to them, so add one such as secret_file: cluster.secret",
    ),
    ("client: {bind_addr: 127.0.0.1}", "5:3: cluster.secret_file: the field is missing"),
    (
        "secret_file: s\nmembership: {join_addrs: [a, b]}",
        "7:29: cluster.membership.join_addrs[0]: whoever joins others is reached by them; add bind_addr, such as 10.0.0.1",
    ),
    (
        "secret_file: s\nmembership: {join_addrs: a}",
        "7:28: cluster.membership.join_addrs: whoever joins others",
    ),
    (
        "secret_file: s\nmembership: {bind_addr: 0.0.0.0}",
        "7:15: cluster.membership.advertise_addr: the field is missing; others can't reach this node at 0.0.0.0, so add one such as advertise_addr: 10.0.0.1",
    ),
    (
        "secret_file: s\nmembership: {bind_addr: '::'}",
        "7:15: cluster.membership.advertise_addr: the field is missing; others can't reach this node at ::",
    ),
    (
        "membership: {advertise_addr: a}",
        "6:32: cluster.membership.advertise_addr: nothing listens there; add bind_addr, such as 0.0.0.0, or remove",
    ),
    (
        "membership: {bind_port: 7946}",
        "6:27: cluster.membership.bind_port: nothing listens without an address; add bind_addr, such as 127.0.0.1, or remove bind_port",
    ),
    (
        "client: {bind_port: 1}",
        "6:23: cluster.client.bind_port: nothing listens without an address",
    ),
    ("http: {bind_port: 1}", "6:21: cluster.http.bind_port: nothing listens without an address"),
    (
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1}\nclient: {bind_addr: 127.0.0.1, bind_port: 7946}",
        "8:45: cluster.client.bind_port: the port 7946 is that of cluster.membership too; write another in one of them",
    ),
    (
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1, bind_port: 7948}\nhttp: {bind_addr: '::'}",
        "7:49: cluster.membership.bind_port: the port 7948 is that of cluster.membership too",
    ),
    (
        "secret_file: s\nclient: {bind_addr: 0.0.0.0, bind_port: 1}\nhttp: {bind_addr: 10.0.0.1, bind_port: 1}",
        "8:42: cluster.http.bind_port: the port 1 is that of cluster.client too",
    ),
    (
        "raft: {bootstrap_expect: 3}",
        "6:28: cluster.raft.bootstrap_expect: with 3 this node waits for others, and none can reach it; add membership.bind_addr, or write 1",
    ),
    (
        "raft: {bootstrap_expect: 0}",
        "6:28: cluster.raft.bootstrap_expect: with 0 this node waits for others",
    ),
    (
        "raft: {role: client}",
        "6:16: cluster.raft.role: a client keeps nothing and has nobody to ask; add membership.join_addrs, or write server",
    ),
    (
        "raft: {max_voters: 0}",
        "6:22: cluster.raft.max_voters: nothing is decided without a voter; write 1 or more",
    ),
    (
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1}\nraft: {bootstrap_expect: 6}",
        "8:28: cluster.raft.bootstrap_expect: 6 founders are more than the 5 of max_voters, and founders vote; write 5 or fewer, or raise max_voters",
    ),
    (
        "raft: {max_voters: 61}",
        "6:22: cluster.raft.max_voters: 61 voters and 4 standbys are more than the 64 members that a cluster can have; write fewer",
    ),
    (
        "raft: {max_standbys: 60}",
        "6:24: cluster.raft.max_standbys: 5 voters and 60 standbys are more than",
    ),
    (
        "raft: {election_timeout: 400ms}",
        "6:28: cluster.raft.election_timeout: election_timeout is 400ms and heartbeat_timeout 200ms: one lost heartbeat must not end a term; make election_timeout longer than two heartbeats",
    ),
    (
        "raft: {heartbeat_timeout: 500ms}",
        "6:29: cluster.raft.heartbeat_timeout: election_timeout is 1s and heartbeat_timeout 500ms",
    ),
    (
        "raft: {failure_timeout: 1s}",
        "6:27: cluster.raft.failure_timeout: failure_timeout is 1s and election_timeout 1s: no voter must be replaced while a leader is elected; make failure_timeout longer",
    ),
    (
        "raft: {election_timeout: 10m}",
        "6:28: cluster.raft.election_timeout: failure_timeout is 10m and election_timeout 10m",
    ),
];

#[test]
fn a_section_that_contradicts_itself_is_refused_once_it_is_enabled() {
    for (lines, start) in CONTRADICTIONS {
        assert_refused(&format!("enabled: true\n{lines}"), start);
        assert_eq!(parse(&format!("enabled: false\n{lines}")).unwrap().cluster(), None, "{lines}");
    }
}

#[test]
fn what_is_just_within_bounds_is_taken() {
    for lines in [
        "raft: {heartbeat_timeout: 499ms}",
        "raft: {election_timeout: 401ms}",
        "raft: {failure_timeout: 1001ms}",
        "raft: {max_voters: 60}",
        "raft: {max_standbys: 0}",
        "membership: {join_addrs: []}",
        "http: {bind_addr: 127.0.0.1, bind_port: 1}",
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1}\nraft: {bootstrap_expect: 5}",
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1}\nraft: {bootstrap_expect: 0}",
        "secret_file: s\nclient: {bind_addr: 127.0.0.1, bind_port: 1}\nhttp: {bind_addr: 127.0.0.2, bind_port: 1}",
        "secret_file: s\nmembership: {bind_addr: 127.0.0.1, join_addrs: a}\nraft: {role: client}",
        "secret_file: s\nmembership: {join_addrs: a}\nraft: {role: client}",
    ] {
        cluster(&format!("enabled: true\n{lines}"));
    }
    let many = vec!["a"; 64].join(", ");
    cluster(&format!(
        "enabled: true\nsecret_file: s\nmembership: {{bind_addr: '::1', join_addrs: [{many}]}}"
    ));
    cluster(&format!("enabled: true\nname: {}", "n".repeat(128)));
}

#[test]
fn a_node_without_a_home_has_to_be_told_its_folder() {
    let text = section("enabled: true\nname: n1");
    for variables in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
        let error = parse_with(&text, variables).unwrap_err();
        let says = "t.yaml:5:3: cluster.raft.data_dir: the field is missing, and its default needs a home folder; set HOME, or add one such as data_dir: data";
        assert_eq!(error.message(), says);
    }
    assert!(parse_with(&section("enabled: false"), &[]).is_ok());
    assert!(parse_with(&section("enabled: true\nraft: {data_dir: /x}"), &[]).is_ok());
}

fn builder() -> ConfigBuilder {
    Config::builder().folder("/folder")
}

/// A builder is refused in the words of a text that says the same, at the place of its call.
#[test]
fn a_cluster_made_in_rust_is_checked_in_the_same_words() {
    let node = || ClusterOptions::new("n1", "data");
    let bound = MembershipOptions { bind_addr: Some(LOCALHOST), ..MembershipOptions::default() };
    let raft = |change: fn(&mut RaftOptions)| {
        let mut options = node();
        change(&mut options.raft);
        options
    };
    let client = ListenOptions { bind_addr: None, bind_port: 9 };
    for (lines, options) in [
        ("name: a b", ClusterOptions::new("a b", "data")),
        ("name: n1\nraft: {data_dir: ''}", ClusterOptions::new("n1", "")),
        (
            "name: n1\nmembership: {bind_addr: 127.0.0.1}",
            ClusterOptions { membership: bound, ..node() },
        ),
        ("name: n1\nclient: {bind_port: 9}", ClusterOptions { client, ..node() }),
        (
            "name: n1\nraft: {election_timeout: 400ms}",
            raft(|raft| raft.election_timeout = Duration::from_millis(400)),
        ),
        ("name: n1\nraft: {clock_bound: 0}", raft(|raft| raft.clock_bound = Duration::ZERO)),
        ("name: n1\nraft: {bootstrap_expect: 17}", raft(|raft| raft.bootstrap_expect = 17)),
    ] {
        let (built, line) = (builder().cluster(options).build().unwrap_err(), line!());
        let parsed = refused(&format!("enabled: true\n{lines}"));
        let words = |error: &Error| error.message().split_once(": ").unwrap().1.to_owned();
        assert_eq!(words(&built), words(&parsed), "{lines}");
        assert_eq!(built.detail("line"), Some(&line.into()));
        assert_eq!(built.detail("field"), parsed.detail("field"));
        assert_eq!(built.detail("limit"), parsed.detail("limit"));
    }
    let twice = builder().cluster(node()).cluster(node()).build().unwrap_err();
    assert!(
        twice.message().contains("cluster: this is a second section cluster, the first stands at "),
        "{twice}"
    );
    let here = Config::builder().cluster(node()).build().unwrap();
    assert_eq!(
        here.cluster().unwrap().raft.data_dir,
        std::env::current_dir().unwrap().join("data")
    );
}

#[cfg(unix)]
#[test]
fn a_path_of_a_cluster_that_no_text_could_name_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"\xff"));
    let error = builder().cluster(ClusterOptions::new("n1", path)).build().unwrap_err();
    let says = "cluster.raft.data_dir: the path is not UTF-8; rename it";
    assert!(error.message().ends_with(says), "{error}");
}

/// A `store.kv.raft`, in line 4.
const RAFT_STORE: &str =
    "version: \"1.0\"\nnamespace: app\nentries:\n  - {name: a, kind: store.kv.raft";

#[test]
fn the_fields_of_raft_stores_are_checked() {
    for (fields, start) in [
        (
            "",
            "4:5: entries[0].namespace: the field is missing; add one such as namespace: deployments",
        ),
        (", namespace: 5", "4:47: entries[0].namespace: expected a string, found the integer 5"),
        (
            ", namespace: Deploy",
            "4:47: entries[0].namespace: \"Deploy\" is no namespace: it must start with a letter a to z",
        ),
        (", namespace: _sys", "4:47: entries[0].namespace: \"_sys\" is no namespace"),
        (
            ", namespace: x, durable: true",
            "4:50: entries[0].durable: the field is unknown (known are name, kind, meta, lifecycle, namespace)",
        ),
    ] {
        let error = parse_with(&format!("{RAFT_STORE}{fields}}}\n"), &[]).unwrap_err();
        assert!(error.message().starts_with(&format!("t.yaml:{start}")), "{fields}: {error}");
    }
    let text = format!(
        "{RAFT_STORE}, namespace: x}}\n  - {{name: b, kind: store.kv.raft, namespace: x}}\n  - {{name: k, kind: kv, store: app:b}}\n"
    );
    let config = parse_with(&text, &[]).unwrap();
    let [a, b, _] = config.entries() else { panic!("three entries") };
    for entry in [a, b] {
        let EntryKind::RaftStore(options) = entry.kind() else { panic!("{entry:?}") };
        assert_eq!(options.keyspace, Keyspace::new("x").unwrap(), "they share their data");
        assert!(entry.kind().is_store());
    }
}

#[tokio::test]
async fn a_raft_store_asks_for_a_cluster_when_it_is_used() {
    let options = || RaftStoreOptions { keyspace: Keyspace::new("deploy").unwrap() };
    let config = builder().raft_store("app:deployments", options());
    let engine = Plimsoll::open(config.clone().build().unwrap()).await.unwrap();
    let used = engine.store("app:deployments").await.unwrap_err();
    engine.close().await;
    let started = Plimsoll::open(config.auto_start("app:deployments").build().unwrap()).await;
    for error in [used, started.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.retryable());
        assert!(error.message().contains("a store.kv.raft needs a cluster, be it of one node, and none is enabled; write cluster.enabled: true"), "{error}");
        assert!(error.to_string().contains("app:deployments (tests/config_cluster.rs:"), "{error}");
        assert_eq!(error.detail("field"), Some(&"cluster.enabled".into()));
    }
}

/// A `store.kv.crdt`, in line 4.
const CRDT_STORE: &str =
    "version: \"1.0\"\nnamespace: app\nentries:\n  - {name: a, kind: store.kv.crdt";

#[test]
fn the_fields_of_crdt_stores_are_checked() {
    for (fields, start) in [
        (
            "",
            "4:5: entries[0].namespace: the field is missing; add one such as namespace: sessions",
        ),
        (", namespace: _sys", "4:47: entries[0].namespace: \"_sys\" is no namespace"),
        (
            ", namespace: x, durable: 1",
            "4:59: entries[0].durable: expected true or false, found the integer 1",
        ),
        (
            ", namespace: x, max_size: 1",
            "4:50: entries[0].max_size: the field is unknown (known are name, kind, meta, lifecycle, namespace, durable)",
        ),
    ] {
        let error = parse_with(&format!("{CRDT_STORE}{fields}}}\n"), &[]).unwrap_err();
        assert!(error.message().starts_with(&format!("t.yaml:{start}")), "{fields}: {error}");
    }
    let two = |first: &str, second: &str| {
        let text = format!(
            "{CRDT_STORE}, namespace: x{first}}}\n  - {{name: b, kind: store.kv.crdt, namespace: x{second}}}\n"
        );
        parse_with(&text, &[])
    };
    for (first, second) in
        [("", ""), (", durable: false", ""), (", durable: true", ", durable: true")]
    {
        let config = two(first, second).unwrap();
        for entry in config.entries() {
            let EntryKind::CrdtStore(options) = entry.kind() else { panic!("{entry:?}") };
            assert_eq!(options.durable, first == ", durable: true", "absent is false");
        }
    }
    for (first, second, says) in [
        (
            "",
            ", durable: true",
            "app:b says durable: true of the namespace x, and app:a at t.yaml:4:5 says durable: false",
        ),
        (
            ", durable: true",
            "",
            "app:b says durable: false of the namespace x, and app:a at t.yaml:4:5 says durable: true",
        ),
    ] {
        let error = two(first, second).unwrap_err();
        assert!(error.message().starts_with("t.yaml:5:5: entries[1]: "), "{error}");
        assert!(error.message().contains(says), "{error}");
        assert_eq!(error.detail("line"), Some(&5.into()));
    }
}

#[tokio::test]
async fn a_crdt_store_asks_for_a_cluster_when_it_is_used() {
    let config = Config::builder().crdt_store(
        "app:sessions",
        CrdtStoreOptions { keyspace: Keyspace::new("sess").unwrap(), durable: true },
    );
    let engine = Plimsoll::open(config.clone().build().unwrap()).await.unwrap();
    let used = engine.store("app:sessions").await.unwrap_err();
    engine.close().await;
    let started = Plimsoll::open(config.auto_start("app:sessions").build().unwrap()).await;
    for error in [used, started.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("a store.kv.crdt needs a cluster, be it of one node, and none is enabled; write cluster.enabled: true"), "{error}");
        assert_eq!(error.detail("field"), Some(&"cluster.enabled".into()));
    }
}

#[tokio::test]
async fn an_eviction_that_is_not_built_is_refused_when_the_node_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = ClusterOptions::new("n1", folder.path());
    options.crdt.eviction_horizon = Some(Duration::from_secs(60));
    let config = Config::builder().cluster(options).build().unwrap();
    let engine = Plimsoll::open(config).await.unwrap();
    let error = engine.node().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.detail("field"), Some(&"cluster.crdt.eviction_horizon".into()));
    engine.close().await;
}
