//! What a world is for: whoever uses its cluster.
//!
//! A [`Workload`] is told what happens and asks for things through a [`Context`]. The clients of
//! [`crate::client`] are one; an embedder's application is another. It sees nodes only as a driver
//! does, and draws what is random from the choices of the run, by subject.

use plimsoll::check::history::Label;
use plimsoll::kv::StateMachine;
use plimsoll::raft::{Applied, Node, Progress, Request, RequestId, Response, Role};

use super::node::Host;
use crate::choices::Choices;
use crate::coverage::Coverage;
use crate::invariants::Violation;
use crate::scenario::Plan;

/// Whoever uses the cluster.
pub trait Workload {
    /// The cluster is there.
    fn start(&mut self, context: &mut Context<'_>);

    /// A time that was asked for has come.
    fn wake(&mut self, token: u32, context: &mut Context<'_>);

    /// A node answers a request. Its machine, as it is now, is what an answered read sees.
    fn respond(&mut self, node: u8, response: Response, context: &mut Context<'_>);

    /// A node is not there: a request was not taken.
    fn refuse(&mut self, node: u8, request: RequestId, context: &mut Context<'_>) {
        let _ = (node, request, context);
    }

    /// A machine has moved. `is_new`: no machine has been there before.
    fn progress(&mut self, node: u8, progress: &Progress, is_new: bool, context: &mut Context<'_>) {
        let _ = (node, progress, is_new, context);
    }

    /// A node has ended: its connections are broken.
    fn end_node(&mut self, node: u8, context: &mut Context<'_>) {
        let _ = (node, context);
    }

    /// Everything was healed: nothing new is to be begun.
    fn heal(&mut self, context: &mut Context<'_>);

    /// How much is begun and not ended.
    fn pending(&self) -> usize {
        0
    }

    /// A cluster goes on from one machine after a majority was lost: what was applied only now, and
    /// where and when the new epoch begins.
    fn recover(&mut self, applied: &[Applied], label: Label, context: &mut Context<'_>) {
        let _ = (applied, label, context);
    }

    /// The run is over: what is there to be said about it.
    ///
    /// # Errors
    /// What is wrong with what was seen.
    fn finish(&mut self) -> Result<Summary, Violation>;
}

/// What a workload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations begun.
    pub operations: u64,
    /// Operations with a known end.
    pub definite: u64,
}

/// The nodes, as whoever uses them sees them.
pub trait Nodes {
    /// Those that a client would try.
    fn known(&self) -> Vec<u8>;

    /// Those that are to be members.
    fn members(&self) -> Vec<u8>;

    /// The machine of a node that runs.
    fn machine(&self, node: u8) -> Option<&StateMachine>;

    /// Whether a node takes itself for the leader.
    fn leads(&self, node: u8) -> bool;
}

impl Nodes for Vec<Host> {
    fn known(&self) -> Vec<u8> {
        let is_known = |host: &&Host| host.is_up() || host.index() < FIRST_MEMBERS;
        self.iter().filter(is_known).map(Host::index).collect()
    }

    fn members(&self) -> Vec<u8> {
        self.iter().filter(|host| host.is_wanted).map(Host::index).collect()
    }

    fn machine(&self, node: u8) -> Option<&StateMachine> {
        self[usize::from(node)].node().map(Node::machine)
    }

    fn leads(&self, node: u8) -> bool {
        self[usize::from(node)].node().is_some_and(|node| node.role() == Role::Leader)
    }
}

/// Nodes that clients try also when they are down.
const FIRST_MEMBERS: u8 = 3;

/// What a workload sees and can do.
pub struct Context<'a> {
    /// True time.
    pub now_us: u64,
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The nodes.
    pub nodes: &'a dyn Nodes,
    /// The choices of the run.
    pub choices: &'a mut Choices,
    /// What the run has reached.
    pub coverage: &'a mut Coverage,
    pub(crate) orders: &'a mut Vec<Order>,
    pub(crate) requests: &'a mut u64,
}

/// What a workload wants.
#[derive(Debug)]
pub(crate) enum Order {
    Ask { node: u8, id: RequestId, request: Request, patience_ms: u64 },
    Wake { at_us: u64, token: u32 },
}

impl Context<'_> {
    /// Sends a request to a node, which has so long to answer it.
    pub fn ask(&mut self, node: u8, request: Request, patience_ms: u64) -> RequestId {
        *self.requests += 1;
        let id = RequestId(*self.requests);
        self.orders.push(Order::Ask { node, id, request, patience_ms });
        id
    }

    /// Asks to be woken.
    pub fn wake_at(&mut self, at_us: u64, token: u32) {
        self.orders.push(Order::Wake { at_us: at_us.max(self.now_us), token });
    }

    /// The machine of a node that runs.
    #[must_use]
    pub fn machine(&self, node: u8) -> Option<&StateMachine> {
        self.nodes.machine(node)
    }
}
