//! The commands about a cluster as a whole: its status, its members, backups, and what is left when a
//! majority is lost.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::Exit;
use super::args::{
    BackupArgs, ClusterArgs, MemberArgs, MemberCommand, RecoverArgs, RestoreArgs, StatusArgs,
};
use super::output::{progress, say, table};
use crate::clock::Clock as _;
use crate::crdt::MemberId;
use crate::error::{Error, Result};
use crate::gossip::Space;
use crate::node::{
    BACKUP_HEAD, Client, ClientOptions, Drawn, MemberStatus, NodeStatus, Phase, SightFigures,
    SpaceFigures, read_backup, recover_alone, restore_to, storage_error,
};
use crate::raft::{Member, MemberChange, RaftId, Role};
use crate::registry::{Config, LoadOptions};
use crate::storage::StorageError;
use crate::storage_fs::FsDisk;
use crate::store::SystemClock;
use crate::transport::Secret;

/// `plimsoll status`: what each node tells of itself.
pub async fn status(args: StatusArgs) -> Result<Exit> {
    let mut nodes = Vec::new();
    for address in &args.cluster.addresses {
        let client = client_of(&args.cluster, std::slice::from_ref(address))?;
        nodes.push((address.clone(), client.status(TIMEOUT).await));
    }
    let commit = nodes.iter().filter_map(|(_, status)| member_of(status)).map(|it| it.raft.commit);
    let newest = commit.max().unwrap_or(0);
    let is_served = nodes
        .iter()
        .any(|(_, status)| member_of(status).is_some_and(|status| status.raft.leader.is_some()));
    if args.json {
        let lines: Vec<_> = nodes.iter().map(|(at, status)| status_json(at, status)).collect();
        say!("[{}]", lines.join(","));
    } else {
        let head = [
            "ADDRESS", "NAME", "ROLE", "TERM", "APPLIED", "LAG", "ENTRIES", "DIGEST", "CLOCK",
            "REPLICAS", "SEEN",
        ];
        let rows = nodes.iter().map(|(address, status)| status_row(address, status, newest));
        table(&head, rows.collect());
        for (address, status) in &nodes {
            if let Some(why) = member_of(status).and_then(|member| member.waits_for.as_ref()) {
                say!("{address} waits: {why}");
            }
        }
    }
    // Whoever asks whether the cluster serves is answered by the exit code, too.
    if is_served { Ok(Exit::Done) } else { Err(Error::unavailable("no node has a leader")) }
}

fn member_of(status: &Result<NodeStatus>) -> Option<&MemberStatus> {
    match status {
        Ok(NodeStatus { phase: Phase::Member(status), .. }) => Some(status),
        _ => None,
    }
}

fn status_row(address: &str, status: &Result<NodeStatus>, newest: u64) -> Vec<String> {
    let name = status.as_ref().map_or("?", |status| status.name.as_str());
    let mut row = vec![address.to_owned(), name.to_owned()];
    match (status, member_of(status)) {
        (_, Some(member)) => row.extend([
            role_of(member).to_owned(),
            member.raft.term.to_string(),
            member.raft.applied.to_string(),
            newest.saturating_sub(member.raft.applied).to_string(),
            member.entries.to_string(),
            member.digest.chars().take(8).collect(),
            clock_of(member),
            status.as_ref().map_or(String::new(), replicas_of),
            status.as_ref().map_or(String::new(), seen_of),
        ]),
        (Ok(_), None) => row.push("founding".to_owned()),
        (Err(error), None) => row.push(format!("unreachable: {}", error.message())),
    }
    row
}

fn role_of(status: &MemberStatus) -> &'static str {
    let raft = &status.raft;
    match raft.role {
        _ if raft.is_removed => "removed",
        Role::Leader if raft.clock_unresolved => "leader (clock unresolved)",
        Role::Leader => "leader",
        Role::PreCandidate | Role::Candidate => "candidate",
        Role::Follower if raft.learners.contains(&raft.id) => {
            status.standings.get(&raft.id).map_or("learner", |standing| standing.part.as_str())
        }
        Role::Follower if raft.voters.contains(&raft.id) => "follower",
        Role::Follower => "waiting to be added",
    }
}

/// How far its clock is from that of this computer, to the millisecond and the time of an answer.
fn clock_of(status: &MemberStatus) -> String {
    let here = i128::from(SystemClock::new().now().0);
    format!("{:+}ms", i128::from(status.wall_ms) - here)
}

/// How its replicas are: what is worst of them.
fn replicas_of(status: &NodeStatus) -> String {
    let spaces = status.crdt.iter().flat_map(|crdt| crdt.spaces.values());
    let statuses: Vec<_> = spaces.map(|space| &space.status).collect();
    let blocking = statuses.iter().map(|status| status.blocking.len()).max();
    match blocking {
        None => "none".to_owned(),
        _ if statuses.iter().any(|status| status.divergences + status.faults > 0) => {
            "differ".to_owned()
        }
        _ if statuses.iter().any(|status| !status.has_joined) => "joining".to_owned(),
        Some(0) => "whole".to_owned(),
        Some(count) => format!("wait for {count}"),
    }
}

/// Of how many nodes that gossip has seen how many are up.
fn seen_of(status: &NodeStatus) -> String {
    let sights = || status.crdt.iter().flat_map(|crdt| &crdt.sights);
    format!("{} of {}", sights().filter(|sight| sight.is_up).count(), sights().count())
}

/// The replicas and what gossip sees, as fields of an object.
fn crdt_json(status: &NodeStatus) -> String {
    let Some(crdt) = &status.crdt else { return r#""replicas":null,"seen":[]"#.to_owned() };
    let id = |id: &MemberId| format!(r#""{:016x}""#, id.0);
    let space = |(space, figures): (&Space, &SpaceFigures)| {
        let status = &figures.status;
        let blocking: Vec<_> = status.blocking.iter().map(id).collect();
        format!(
            r#""{}":{{"incarnation":{},"epoch":{},"joined":{},"whole":{},"blocking":[{}],"registers":{},"tombstones":{},"dropped":{},"faults":{},"from_future":{},"divergences":{},"digest":"{:032x}","coverage_runs":{}}}"#,
            space.as_str(),
            status.author.incarnation.0,
            status.epoch,
            status.has_joined,
            status.is_whole,
            blocking.join(","),
            status.registers,
            status.tombstones,
            status.dropped,
            status.faults,
            status.from_future,
            status.divergences,
            figures.digest,
            figures.coverage_runs,
        )
    };
    let spaces: Vec<_> = crdt.spaces.iter().map(space).collect();
    let sight = |sight: &SightFigures| {
        let (id, address) = (id(&sight.member), serde_json::Value::from(&*sight.address));
        let (up, for_ms) = (sight.is_up, sight.for_ms);
        format!(r#"{{"id":{id},"address":{address},"up":{up},"for_ms":{for_ms}}}"#)
    };
    let sights: Vec<_> = crdt.sights.iter().map(sight).collect();
    format!(
        r#""replicas":{{{}}},"reserved_ms":{},"clock_refusals":{},"seen":[{}]"#,
        spaces.join(","),
        crdt.reserved.0,
        crdt.clock_refusals,
        sights.join(",")
    )
}

fn status_json(address: &str, status: &Result<NodeStatus>) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let address = text(address);
    match (status, member_of(status)) {
        (Ok(node), Some(member)) => {
            let raft = &member.raft;
            let leader = raft.leader.map_or("null".to_owned(), |id| text(&id.to_string()));
            let (members, crdt) = (members_json(member), crdt_json(node));
            let waits_for = member.waits_for.as_deref().map_or("null".to_owned(), text);
            format!(
                r#"{{"address":{address},"name":{},"id":{},"cluster":{},"role":{},"term":{},"leader":{leader},"commit":{},"applied":{},"revision":{},"entries":{},"digest":{},"clock_unresolved":{},"wall_ms":{},"log_time_ms":{},"waits_for":{waits_for},"members":[{members}],{crdt}}}"#,
                text(&node.name),
                text(&raft.id.to_string()),
                text(&member.cluster.to_string()),
                text(role_of(member)),
                raft.term,
                raft.commit,
                raft.applied,
                member.revision,
                member.entries,
                text(&member.digest),
                raft.clock_unresolved,
                member.wall_ms,
                member.log_time_ms,
            )
        }
        (Ok(node), None) => {
            let (name, crdt) = (text(&node.name), crdt_json(node));
            format!(r#"{{"address":{address},"name":{name},"role":"founding",{crdt}}}"#)
        }
        (Err(error), None) => {
            format!(
                r#"{{"address":{address},"role":"unreachable","error":{}}}"#,
                text(error.message())
            )
        }
        (Err(_), Some(_)) => unreachable!("a status that is there is no error"),
    }
}

fn members_json(status: &MemberStatus) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let member = |member: &Member| {
        let standing = status.standings.get(&member.id);
        let part = standing.map_or("null".to_owned(), |it| text(it.part.as_str()));
        let domain = standing.and_then(|it| it.failure_domain.as_deref());
        let away_ms = standing.and_then(|it| it.away_ms);
        format!(
            r#"{{"id":{},"name":{},"address":{},"votes":{},"part":{part},"failure_domain":{},"away_ms":{}}}"#,
            text(&member.id.to_string()),
            text(&member.name),
            text(&member.address),
            status.raft.voters.contains(&member.id),
            domain.map_or("null".to_owned(), text),
            away_ms.map_or("null".to_owned(), |ms| ms.to_string()),
        )
    };
    let members: Vec<_> = status.members.values().map(member).collect();
    members.join(",")
}

/// `plimsoll member`: lists the members, or changes who they are.
pub async fn member(args: MemberArgs) -> Result<Exit> {
    let client = client_of(&args.cluster, &args.cluster.addresses)?;
    let status = client.status(TIMEOUT).await?;
    let Phase::Member(status) = status.phase else {
        return Err(Error::unavailable("the node belongs to no cluster yet"));
    };
    let find = |named: &str| find(&status, named);
    match args.command {
        MemberCommand::List => {
            let rows = status.members.values().map(|member| member_row(&status, member));
            table(&["ID", "NAME", "ADDRESS", "ROLE", "DOMAIN", "AWAY"], rows.collect());
            return Ok(Exit::Done);
        }
        MemberCommand::Add { id, name, address } => {
            let id = parse_id(&id)?;
            let member = Member { id, name, address };
            client.change(vec![MemberChange::AddLearner(member)], TIMEOUT).await?;
        }
        MemberCommand::Promote { member } => {
            client.change(vec![MemberChange::Promote(find(&member)?)], TIMEOUT).await?;
        }
        MemberCommand::Demote { member } => {
            client.change(vec![MemberChange::Demote(find(&member)?)], TIMEOUT).await?;
        }
        MemberCommand::Remove { member } => {
            client.change(vec![MemberChange::Remove(find(&member)?)], TIMEOUT).await?;
        }
        MemberCommand::TransferLeader { member } => {
            let to = find(&member)?;
            client.transfer(to, TIMEOUT).await?;
            return leads(&client, to).await;
        }
    }
    say!("done");
    Ok(Exit::Done)
}

/// What a member is, as the node knows that was asked.
fn member_row(status: &MemberStatus, member: &Member) -> Vec<String> {
    let standing = status.standings.get(&member.id);
    let part = standing.map_or("learner", |standing| standing.part.as_str());
    let role = if status.raft.leader == Some(member.id) { "leader" } else { part };
    let domain = standing.and_then(|standing| standing.failure_domain.clone());
    let away_ms = standing.and_then(|standing| standing.away_ms);
    vec![
        member.id.to_string(),
        member.name.clone(),
        member.address.clone(),
        role.to_owned(),
        domain.unwrap_or_default(),
        away_ms.map_or(String::new(), |ms| format!("{}s", ms / 1_000)),
    ]
}

/// Waits until a member leads.
async fn leads(client: &Client, to: RaftId) -> Result<Exit> {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while tokio::time::Instant::now() < deadline {
        if let Phase::Member(status) = client.status(TIMEOUT).await?.phase
            && status.raft.leader == Some(to)
        {
            say!("done");
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Err(Error::timeout("leadership was not taken over in time; the cluster goes on as it was"))
}

/// A member by its name or its id.
fn find(status: &MemberStatus, named: &str) -> Result<RaftId> {
    let matches = |member: &&Member| member.name == named || member.id.to_string() == named;
    let mut found = status.members.values().filter(matches);
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member.id),
        (Some(_), Some(_)) => {
            Err(Error::invalid(format!("several members have the name {named:?}: write the id")))
        }
        (None, _) => {
            let names: Vec<_> = status.members.values().map(|member| &*member.name).collect();
            let names = names.join(", ");
            Err(Error::invalid(format!("there is no member {named:?}; there are {names}")))
        }
    }
}

fn parse_id(text: &str) -> Result<RaftId> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if id > 0 => Ok(RaftId(id)),
        _ => Err(Error::invalid(format!("{text:?} is no id of a member: it has 16 hex digits"))),
    }
}

/// `plimsoll backup`: everything that the cluster holds, as of one moment, in a file.
pub async fn backup(args: BackupArgs) -> Result<Exit> {
    let client = client_of(&args.cluster, &args.cluster.addresses)?;
    let mut backup = client.backup(TIMEOUT).await?;
    let mut partial = args.file.clone().into_os_string();
    partial.push(".partial");
    let partial = std::path::PathBuf::from(partial);
    let failed =
        |error: std::io::Error| Error::unavailable(format!("{}: {error}", partial.display()));
    let mut file = File::create(&partial).map_err(failed)?;
    let mut digest = Xxh3::new();
    let mut bytes = BACKUP_HEAD.len() + 8;
    digest.update(BACKUP_HEAD);
    file.write_all(BACKUP_HEAD).map_err(failed)?;
    while let Some(chunk) = backup.next().await? {
        digest.update(&chunk);
        bytes += chunk.len();
        file.write_all(&chunk).map_err(failed)?;
    }
    file.write_all(&digest.digest().to_be_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&partial, &args.file).map_err(failed)?;
    say!("{}: {bytes} bytes", args.file.display());
    Ok(Exit::Done)
}

/// `plimsoll restore`: a new cluster that begins with a backup.
pub fn restore(args: &RestoreArgs) -> Result<Exit> {
    let config = Config::load(&args.config, LoadOptions::default())?;
    let Some(cluster) = config.cluster() else {
        return Err(Error::invalid("the configuration enables no cluster"));
    };
    let bytes = std::fs::read(&args.file)
        .map_err(|error| Error::invalid(format!("{}: {error}", args.file.display())))?;
    let machine = read_backup(&Bytes::from(bytes))?;
    let drawn = Drawn::from_system();
    let address = cluster.membership.advertised().map(|it| it.to_string()).unwrap_or_default();
    let own = Member { id: drawn.id, name: cluster.name.clone(), address };
    let folder = raft_folder(&cluster.raft.data_dir);
    restore_to(open_disk(&folder)?, own, machine, drawn.cluster, drawn.epoch)?;
    say!("{}: a new cluster of {} alone", folder.display(), cluster.name);
    progress("start this node first; the others join it with empty data directories");
    Ok(Exit::Done)
}

/// `plimsoll recover`: one member goes on alone.
pub fn recover(args: &RecoverArgs) -> Result<Exit> {
    if !args.force_new_cluster {
        return Err(Error::invalid(
            "what the other members acknowledged and this one never got is lost for good: only if a \
             majority is gone for ever, add --force-new-cluster",
        ));
    }
    let folder = raft_folder(&args.data_dir);
    if !folder.is_dir() {
        return Err(Error::invalid(format!("{} is no data directory", args.data_dir.display())));
    }
    let drawn = Drawn::from_system();
    let own = recover_alone(open_disk(&folder)?, drawn.cluster, drawn.epoch)?;
    say!("{}: {} is the only member of a new cluster", folder.display(), own.name);
    progress("start this node first; the others join it with empty data directories");
    Ok(Exit::Done)
}

fn raft_folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("_sys").join("raft")
}

fn open_disk(folder: &Path) -> Result<FsDisk> {
    FsDisk::open(folder).map_err(|error| storage_error(&StorageError::Disk(error)))
}

fn client_of(args: &ClusterArgs, addresses: &[String]) -> Result<Client> {
    if addresses.is_empty() {
        return Err(Error::invalid("--cluster names the nodes to ask, HOST:PORT each"));
    }
    let Some(file) = &args.secret_file else {
        return Err(Error::invalid("--secret-file names the file with the cluster's secret"));
    };
    let secret = Secret::from_file(file).map_err(|error| Error::invalid(error.to_string()))?;
    let (addresses, name) = (addresses.to_vec(), "plimsoll".to_owned());
    Ok(Client::new(ClientOptions { addresses, secret, name }))
}

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether something is so.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
