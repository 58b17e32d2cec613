//! The production node in simulated processes: what `cargo madsim` runs.
//!
//! The shipped driver (`plimsoll::node`: its tasks, queues, connections and timers, over the encrypted
//! transport) runs as it is; only the runtime below it is another one, in which network and time are
//! simulated and every interleaving follows from a seed. Disks are those of the other simulator, with
//! its crash images; so are the clients, what they write down, and who judges it. Part of the clients use
//! the shipped client, with its sessions and watches, over the network.
//!
//! The parts: `stage` what everybody shares, and the clients; `callers` those that use the shipped client; `hosts` processes and their lives;
//! `wires` the connections between them; `faults` what goes wrong; `run` one seed from its start to its
//! verdict; `cli` the command line.
//!
//! The engine itself is examined elsewhere, and harder: [`crate::world`] is quicker by far and looks
//! into nodes. Here is looked for what goes wrong around it. Nodes are seen from outside only.

mod callers;
pub mod cli;
mod disk;
mod faults;
mod hosts;
mod run;
mod stage;
mod wires;
