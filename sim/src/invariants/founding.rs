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

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll::clock::UnixMillis;

    fn identity(id: u64, cluster: u64, founders: &[u64]) -> Identity {
        let member =
            |id: &u64| Member { id: RaftId(*id), name: String::new(), address: String::new() };
        let founders = founders.iter().map(member).collect();
        let pledge = Pledge { cluster: ClusterId(cluster), epoch: 1, at: UnixMillis(0), founders };
        Identity { pledge: Some(pledge), ..Identity::new(RaftId(id)) }
    }

    fn after(saved: &[Identity]) -> Foundings {
        let mut foundings = Foundings::default();
        saved.iter().for_each(|identity| foundings.saved(identity).unwrap());
        foundings
    }

    #[test]
    fn a_cluster_needs_the_pledges_of_all_its_founders() {
        let mut foundings = after(&[identity(1, 7, &[1, 2])]);
        assert!(foundings.founded(RaftId(1), ClusterId(7)).is_err());
        foundings.saved(&identity(2, 7, &[1, 2])).unwrap();
        assert_eq!(foundings.founded(RaftId(1), ClusterId(7)), Ok(()));
        assert_eq!(foundings.founded(RaftId(2), ClusterId(7)), Ok(()), "it is the same");
        assert!(foundings.founded(RaftId(2), ClusterId(8)).is_err(), "pledged to another one");
        assert!(foundings.founded(RaftId(3), ClusterId(7)).is_err(), "not pledged");
        assert!(foundings.joins(RaftId(3), ClusterId(7)));
    }

    #[test]
    fn two_clusters_have_no_common_founder() {
        let mut foundings = after(&[identity(1, 7, &[1]), identity(2, 8, &[2])]);
        assert_eq!(foundings.founded(RaftId(1), ClusterId(7)), Ok(()));
        assert_eq!(foundings.founded(RaftId(2), ClusterId(8)), Ok(()));
        foundings.clusters.insert(ClusterId(9), [RaftId(2)].into());
        assert!(foundings.founded(RaftId(2), ClusterId(8)).is_err());
    }

    #[test]
    fn a_pledge_is_lost_when_its_founders_are_split_and_none_has_founded() {
        let all = |_: RaftId| true;
        let mut foundings = after(&[identity(1, 7, &[1, 2]), identity(2, 8, &[2, 3])]);
        assert!(foundings.is_split(RaftId(1), all), "2 has pledged to another one");
        assert!(!foundings.is_split(RaftId(2), all), "3 may pledge yet");
        assert!(foundings.is_split(RaftId(2), |id| id != RaftId(3)), "3 is gone");
        foundings.saved(&identity(3, 8, &[2, 3])).unwrap();
        foundings.founded(RaftId(2), ClusterId(8)).unwrap();
        assert!(!foundings.is_split(RaftId(3), |id| id != RaftId(2)), "it is founded");
    }
}
