//! Founding: one list for each founder, durable before it is told, and one cluster for each list.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::raft::{ClusterId, Hello, Identity, Member, Pledge, RaftId};

use super::{Promise, Violation};

pub(super) const PLEDGED_BEFORE_SAID: Promise = Promise {
    name: "pledged before said",
    sentence: "a founder tells its pledge only when that is durable",
};
pub(super) const PLEDGED_ONCE: Promise = Promise {
    name: "pledged once",
    sentence: "a founder keeps its pledge over every crash, and takes no other one",
};
pub(super) const FOUNDED_ONCE: Promise = Promise {
    name: "founded once",
    sentence: "all founders of a cluster have pledged to it, and no two clusters have a common founder",
};
pub(crate) const FOUNDED_AFTER_HEALING: Promise = Promise {
    name: "founded after healing",
    sentence: "within ten election timeouts after everything was healed nobody waits to found any more",
};

/// What was seen on the disks of founders.
#[derive(Debug, Default)]
pub(crate) struct Foundings {
    pledges: BTreeMap<RaftId, Pledge>,
    clusters: BTreeMap<ClusterId, BTreeSet<RaftId>>,
}

impl Foundings {
    /// An identity without a cluster is on the disk, acknowledged or found there.
    pub fn saved(&mut self, identity: &Identity) -> Result<(), Violation> {
        let known = self.pledges.get(&identity.id);
        if known.is_some() && known != identity.pledge.as_ref() {
            return Err(PLEDGED_ONCE.broken(format!(
                "{:?} had pledged {known:?}, now it is {:?}",
                identity.id, identity.pledge
            )));
        }
        if let Some(pledge) = &identity.pledge {
            self.pledges.insert(identity.id, pledge.clone());
        }
        Ok(())
    }

    /// A founder says hello.
    pub fn check_said(&self, hello: &Hello) -> Result<(), Violation> {
        let known = self.pledges.get(&hello.member.id);
        if hello.pledge.is_some() && hello.pledge.as_ref() != known {
            return Err(PLEDGED_BEFORE_SAID.broken(format!(
                "{:?} says {:?}, durable is {known:?}",
                hello.member.id, hello.pledge
            )));
        }
        Ok(())
    }

    /// Whether a node that belongs to a cluster now is to be added to it: it had not pledged, and the
    /// cluster is there.
    pub fn joins(&self, id: RaftId, cluster: ClusterId) -> bool {
        !self.pledges.contains_key(&id) && self.clusters.contains_key(&cluster)
    }

    /// Whether a founder has pledged to what can't come true any more: another founder of its list has
    /// pledged to another one, or its directory is not in use.
    pub fn is_split(&self, id: RaftId, is_in_use: impl Fn(RaftId) -> bool) -> bool {
        let Some(pledge) = self.pledges.get(&id) else { return false };
        let is_lost = |founder: &Member| {
            !is_in_use(founder.id)
                || self.pledges.get(&founder.id).is_some_and(|other| other != pledge)
        };
        !self.clusters.contains_key(&pledge.cluster) && pledge.founders.iter().any(is_lost)
    }

    /// Whether any list names a node.
    pub fn is_named(&self, id: RaftId) -> bool {
        let names_it = |pledge: &Pledge| pledge.founders.iter().any(|founder| founder.id == id);
        self.pledges.values().any(names_it)
    }

    /// Whether any cluster is there.
    pub fn has_cluster(&self) -> bool {
        !self.clusters.is_empty()
    }

    /// A founder has become a member of a cluster.
    pub fn founded(&mut self, founder: RaftId, cluster: ClusterId) -> Result<(), Violation> {
        let known = self.pledges.get(&founder);
        let Some(pledge) = known.filter(|pledge| pledge.cluster == cluster) else {
            return Err(FOUNDED_ONCE
                .broken(format!("{founder:?} founds {cluster:?}, and had pledged {known:?}")));
        };
        let founders: BTreeSet<RaftId> = pledge.founders.iter().map(|member| member.id).collect();
        if let Some(other) = founders.iter().find(|id| self.pledges.get(id) != Some(pledge)) {
            return Err(FOUNDED_ONCE.broken(format!(
                "{founder:?} founds {pledge:?}, to which {other:?} has not pledged"
            )));
        }
        let is_other = |(id, others): (&ClusterId, &BTreeSet<RaftId>)| {
            *id != cluster && !others.is_disjoint(&founders)
        };
        if self.clusters.iter().any(is_other) {
            return Err(FOUNDED_ONCE
                .broken(format!("{founders:?} found {cluster:?}, beside {:?}", self.clusters)));
        }
        self.clusters.insert(cluster, founders);
        Ok(())
    }
}
