//! The section `cluster`: what a node is called, whom it talks to, and how its engines behave.
//!
//! There is one such section in all files of a configuration, for a process is one node. It opens
//! nothing, reads no secret and looks up no name. What its fields mean stands beside them in
//! `options`; `network` and `engines` read and write its parts, each in one place.
//!
//! A section that says `enabled: false`, or not whether, is checked field by field and then counts as
//! none: so a cluster can be switched off without being taken apart.
//!
//! No TLS: its fields are read, and refused with what there is instead.

mod address;
mod engines;
mod machine;
mod network;
mod options;
mod placed;

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::fields::{Context, Fields, Given};
use super::nodes::Nodes;
use super::problem::Refusal;
use crate::limits::NODE_NAME_BYTES_MAX;
use engines::Raft;
use network::{CLIENT, HTTP, Listener, MEMBERSHIP, Membership};
use options::{CLIENT_PORT, HTTP_PORT};
use placed::Placed;

pub use address::HostAddress;
pub use options::{
    ClusterOptions, CrdtOptions, ListenOptions, MembershipOptions, RaftOptions, RaftRole,
};

/// Reads the section; none if it is not enabled.
pub(super) fn read(
    mut fields: Fields<'_>,
    folder: &Path,
    environment: &Environment,
) -> Option<ClusterOptions> {
    let context = fields.context();
    let problems_before = context.count();
    let is_enabled = fields.optional("enabled", |given| given.boolean()).unwrap_or(false);
    let name = fields.optional("name", node_name);
    let name = name.unwrap_or_else(|| machine::node_name(environment));
    let failure_domain = fields.optional("failure_domain", node_name);
    let parse_secret = |given: &Given<'_>| given.path(folder).map(Some);
    let secret = Placed::take(&mut fields, "secret_file", None, parse_secret);
    refuse_tls(&mut fields);
    let mut parts = Parts {
        secret,
        membership: fields.nested(MEMBERSHIP, Membership::read),
        client: fields.nested(CLIENT, |own| Listener::read(own, CLIENT, CLIENT_PORT)),
        http: fields.nested(HTTP, |own| Listener::read(own, HTTP, HTTP_PORT)),
        raft: fields.nested("raft", |own| Raft::read(own, folder)),
    };
    let crdt = fields.nested("crdt", engines::read_crdt);
    fields.finish();
    if !is_enabled {
        return None;
    }
    // A field that could not be read would make others look wrong.
    if context.count() == problems_before {
        parts.check(context);
        parts.complete(&name, environment, context);
    }
    Some(ClusterOptions {
        name,
        failure_domain,
        secret_file: parts.secret.into_value(),
        membership: parts.membership.options,
        client: parts.client.options,
        http: parts.http.options,
        raft: parts.raft.options,
        crdt,
    })
}

/// The fields of the section of a cluster that is enabled.
pub(super) fn write(options: &ClusterOptions, nodes: &mut Nodes) {
    nodes.plain("enabled", true);
    nodes.text("name", &options.name);
    if let Some(domain) = &options.failure_domain {
        nodes.text("failure_domain", domain);
    }
    if let Some(file) = &options.secret_file {
        nodes.path("secret_file", file);
    }
    network::write_membership(&options.membership, nodes);
    network::write_listener(CLIENT, &options.client, CLIENT_PORT, nodes);
    network::write_listener(HTTP, &options.http, HTTP_PORT, nodes);
    engines::write_raft(&options.raft, nodes);
    engines::write_crdt(&options.crdt, nodes);
}

/// What is checked between the parts of a section.
struct Parts {
    secret: Placed<Option<PathBuf>>,
    membership: Membership,
    client: Listener,
    http: Listener,
    raft: Raft,
}

impl Parts {
    /// Reports what would keep a node from doing what it is told to.
    fn check(&self, context: &Context<'_>) {
        let Self { membership, client, http, raft, .. } = self;
        membership.check(raft.options.role == RaftRole::Client, context);
        client.check(&[&membership.listener], context);
        http.check(&[&membership.listener, client], context);
        raft.check(context);
        self.check_secret(context);
        self.check_role(context);
    }

    fn check_secret(&self, context: &Context<'_>) {
        let membership = &self.membership.options;
        let is_open = membership.bind_addr.is_some()
            || !membership.join_addrs.is_empty()
            || self.client.options.bind_addr.is_some();
        if is_open && self.secret.is_none() {
            let remedy = "the field is missing; a node that talks to others proves with a secret that \
                          it belongs to them, so add one such as secret_file: cluster.secret";
            context.report(&self.secret.origin, remedy);
        }
    }

    fn check_role(&self, context: &Context<'_>) {
        let (membership, raft) = (&self.membership.options, &self.raft);
        if raft.options.role == RaftRole::Client {
            if membership.join_addrs.is_empty() {
                let remedy = "a client keeps nothing and has nobody to ask; add \
                              membership.join_addrs, or write server";
                context.report(&raft.role_origin, remedy);
            }
        } else if raft.options.bootstrap_expect != 1 && membership.bind_addr.is_none() {
            let message = format!(
                "with {} this node waits for others, and none can reach it; add \
                 membership.bind_addr, or write 1",
                raft.options.bootstrap_expect
            );
            context.report(raft.expect_origin(), message);
        }
    }

    /// Puts the default in the place of a folder that is not given.
    fn complete(&mut self, name: &str, environment: &Environment, context: &Context<'_>) {
        if !self.raft.options.data_dir.as_os_str().is_empty() {
            return;
        }
        match machine::data_dir(name, environment) {
            Some(folder) => self.raft.options.data_dir = folder,
            None => context.report(
                &self.raft.data_dir_origin,
                "the field is missing, and its default needs a home folder; set HOME, or add one such \
                 as data_dir: data",
            ),
        }
    }
}

/// Reports the section `tls`, once its fields are read.
fn refuse_tls(fields: &mut Fields<'_>) {
    let Some(mut tls) = fields.optional_mapping("tls") else {
        return;
    };
    for name in ["ca", "cert", "key"] {
        tls.optional(name, |given| given.name().map(drop));
    }
    let origin = tls.origin().clone();
    let remedy = "TLS between nodes is not supported; remove the section, and name a file with the \
                  secret of the cluster in secret_file";
    tls.report(&origin, remedy);
    tls.finish();
}

fn node_name(given: &Given<'_>) -> Result<String, Refusal> {
    let name = given.text()?;
    check_name(name).map(|()| name.to_owned())
}

/// Checks the name of a node or of a failure domain.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !starts_well || !name.bytes().all(is_inner) {
        return Err(Refusal::new(format!(
            "{name:?} is no name: it starts with a letter or a digit, followed by those, '.', '_' \
             or '-', such as n1"
        )));
    }
    if name.len() > NODE_NAME_BYTES_MAX {
        let message = format!(
            "the name has {} bytes, the limit is {NODE_NAME_BYTES_MAX}; shorten it",
            name.len()
        );
        return Err(Refusal::over_limit(NODE_NAME_BYTES_MAX, message));
    }
    Ok(())
}
