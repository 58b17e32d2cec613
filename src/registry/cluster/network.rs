//! The sections of `cluster` about addresses: `membership`, `client`, `http`.

use std::net::IpAddr;

use super::address::HostAddress;
use super::options::{ListenOptions, MEMBERSHIP_PORT, MembershipOptions};
use super::placed::Placed;
use crate::limits::RAFT_MEMBERS_MAX;
use crate::registry::fields::{Context, Fields, Given};
use crate::registry::nodes::Nodes;
use crate::registry::problem::{Origin, Refusal};

/// A place to listen at, and where in the configuration its port stands.
pub(super) struct Listener {
    pub(super) options: ListenOptions,
    port: Placed<u16>,
    section: &'static str,
}

impl Listener {
    /// Reads the fields of a section.
    pub(super) fn read(fields: &mut Fields<'_>, section: &'static str, default_port: u16) -> Self {
        let bind_addr = fields.optional("bind_addr", bind_addr);
        let parse = |given: &Given<'_>| given.port(default_port);
        let port = Placed::take(fields, "bind_port", default_port, parse);
        Self { options: ListenOptions { bind_addr, bind_port: *port }, port, section }
    }

    /// Reports a port that nothing listens at, or that an earlier listener has.
    pub(super) fn check(&self, earlier: &[&Self], context: &Context<'_>) {
        let Some(address) = self.options.bind_addr else {
            if self.port.is_given {
                let remedy = "nothing listens without an address; add bind_addr, such as 127.0.0.1, \
                              or remove bind_port";
                context.report(&self.port.origin, remedy);
            }
            return;
        };
        let is_taken = |other: &&&Self| {
            other.options.bind_addr.is_some_and(|taken| {
                let is_shared =
                    address == taken || address.is_unspecified() || taken.is_unspecified();
                is_shared && other.options.bind_port == self.options.bind_port
            })
        };
        if let Some(other) = earlier.iter().find(is_taken) {
            let message = format!(
                "the port {} is that of cluster.{} too; write another in one of them",
                self.options.bind_port, other.section
            );
            context.report(self.port.origin_or(&other.port), message);
        }
    }
}

/// The section `membership`, with the places of what is checked with other fields.
pub(super) struct Membership {
    pub(super) options: MembershipOptions,
    pub(super) listener: Listener,
    join_origin: Origin,
    advertise_origin: Origin,
}

impl Membership {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let listener = Listener::read(fields, MEMBERSHIP, MEMBERSHIP_PORT);
        let ListenOptions { bind_addr, bind_port } = listener.options;
        let advertise_addr = Placed::take(fields, "advertise_addr", None, |given| {
            Ok(Some(HostAddress::parse(given.text()?, bind_port)?))
        });
        let join_addrs = fields.optional_list("join_addrs", |given| {
            let address = HostAddress::parse(given.text()?, MEMBERSHIP_PORT)?;
            Ok((address, given.origin.clone()))
        });
        let joins = join_addrs.unwrap_or_default();
        let join_origin =
            joins.first().map_or_else(|| fields.origin().clone(), |(_, at)| at.clone());
        let join_addrs: Vec<_> = joins.into_iter().map(|(address, _)| address).collect();
        if join_addrs.len() > RAFT_MEMBERS_MAX {
            let message = format!(
                "{} addresses are too many; write {RAFT_MEMBERS_MAX} or fewer: any of them tells of \
                 the others",
                join_addrs.len()
            );
            fields.report(&join_origin, Refusal::over_limit(RAFT_MEMBERS_MAX, message));
        }
        let advertise_origin = advertise_addr.origin.clone();
        let advertise_addr = advertise_addr.into_value();
        let options = MembershipOptions { bind_addr, bind_port, advertise_addr, join_addrs };
        Self { options, listener, join_origin, advertise_origin }
    }

    /// Reports what its fields say against each other.
    /// A client asks others and is not reached by them.
    pub(super) fn check(&self, is_client: bool, context: &Context<'_>) {
        self.listener.check(&[], context);
        let options = &self.options;
        match options.bind_addr {
            None if !options.join_addrs.is_empty() && !is_client => context.report(
                &self.join_origin,
                "whoever joins others is reached by them; add bind_addr, such as 10.0.0.1",
            ),
            None if options.advertise_addr.is_some() => context.report(
                &self.advertise_origin,
                "nothing listens there; add bind_addr, such as 0.0.0.0, or remove advertise_addr",
            ),
            Some(address) if address.is_unspecified() && options.advertise_addr.is_none() => {
                let message = format!(
                    "the field is missing; others can't reach this node at {address}, so add one \
                     such as advertise_addr: 10.0.0.1"
                );
                context.report(&self.advertise_origin, message);
            }
            _ => {}
        }
    }
}

/// The fields of `membership`.
pub(super) fn write_membership(options: &MembershipOptions, nodes: &mut Nodes) {
    let mut own = nodes.nested();
    let listen = ListenOptions { bind_addr: options.bind_addr, bind_port: options.bind_port };
    write_listen(&listen, MEMBERSHIP_PORT, &mut own);
    if let Some(address) = &options.advertise_addr {
        own.text("advertise_addr", &address.to_string());
    }
    own.texts("join_addrs", options.join_addrs.iter().map(HostAddress::to_string));
    nodes.mapping(MEMBERSHIP, own);
}

/// The fields of `client` or `http`.
pub(super) fn write_listener(
    section: &str,
    options: &ListenOptions,
    default_port: u16,
    nodes: &mut Nodes,
) {
    let mut own = nodes.nested();
    write_listen(options, default_port, &mut own);
    nodes.mapping(section, own);
}

fn write_listen(options: &ListenOptions, default_port: u16, nodes: &mut Nodes) {
    if let Some(address) = options.bind_addr {
        nodes.text("bind_addr", &address.to_string());
    }
    if options.bind_addr.is_some() || options.bind_port != default_port {
        nodes.plain("bind_port", options.bind_port);
    }
}

fn bind_addr(given: &Given<'_>) -> Result<IpAddr, Refusal> {
    let text = given.text()?;
    text.parse().map_err(|_| {
        Refusal::new(format!(
            "{text:?} is no IP address; write one of this machine, such as 127.0.0.1, or 0.0.0.0 for \
             all of them"
        ))
    })
}

pub(super) const MEMBERSHIP: &str = "membership";
pub(super) const CLIENT: &str = "client";
pub(super) const HTTP: &str = "http";
