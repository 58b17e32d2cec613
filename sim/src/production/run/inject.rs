//! What goes wrong: each fault as it begins, and how it ends.
//!
//! Whatever is drawn, the cluster can recover from: only one clock is off, and a disk is lost, a member
//! added, removed or moved only while the members are those that are wanted, so that one thing at a time
//! is to be put right.

use std::collections::BTreeSet;

use madsim::net::NetSim;
use madsim::task::NodeId;
use plimsoll::raft::Request;

use super::{Kind, Later, Run};
use crate::production::hosts::State;
use crate::production::stage::spawn_at;
use crate::production::wires::Link;
use crate::world::Workload;

impl Run {
    /// Begins what is drawn for this slot.
    pub(super) async fn inject(&mut self) {
        for kind in self.swarm.begin(&mut self.rng) {
            let place = self.any_place();
            match kind {
                Kind::Kill => self.kill_one(kind, place),
                Kind::KillLeader => {
                    let leader = self.shared.lock().leader;
                    if let Some(leader) = leader {
                        self.kill_one(kind, leader);
                    }
                }
                Kind::KillAll => self.kill_all(),
                Kind::KillInWrite | Kind::SyncError | Kind::SlowDisk => self.disk(kind, place),
                Kind::Close => self.close(place),
                Kind::LostDisk => self.lose_disk(place).await,
                Kind::Join => self.join().await,
                Kind::Remove => self.remove().await,
                Kind::Move => self.move_host(place).await,
                Kind::Pause => self.pause(place),
                Kind::Partition | Kind::OneWay => self.part(kind),
                Kind::Clog => self.clog(),
                Kind::Cut | Kind::Tear => self.break_connections(kind, place),
                Kind::ClockStep => self.step_clock(),
                Kind::Transfer => self.transfer(place).await,
            }
        }
    }

    fn kill_one(&mut self, kind: Kind, place: u8) {
        if !self.is_up(place) {
            return;
        }
        let (image, down_ms) = (self.rng.next(), self.down_ms());
        self.shared.lock().begin_fault(kind, Some(place), format_args!("for {down_ms} ms"));
        self.shared.kill(place, Some(image));
        self.later(down_ms, Later::Start(place));
    }

    fn kill_all(&mut self) {
        self.shared.lock().begin_fault(Kind::KillAll, None, format_args!(""));
        for place in self.places() {
            let (in_ms, image) = (self.rng.below(300), self.rng.next());
            self.later(in_ms, Later::Kill(place, image));
        }
    }

    fn disk(&mut self, kind: Kind, place: u8) {
        if !self.is_up(place) {
            return;
        }
        let (amount, for_ms) = (self.rng.below(12), self.rng.between(500, 4_000));
        let slow_us = self.rng.pick(&[20_000, 100_000, 400_000]);
        {
            let mut stage = self.shared.lock();
            stage.begin_fault(kind, Some(place), format_args!("{amount} for {for_ms} ms"));
            let host = &mut stage.hosts[usize::from(place)];
            match kind {
                Kind::SlowDisk => host.set_slow(slow_us),
                Kind::SyncError => host.disk.fail_next_sync(),
                _ => host.disk.stop_in(amount),
            }
            host.has_disk_fault |= kind != Kind::SlowDisk;
        }
        if kind == Kind::SlowDisk {
            self.later(for_ms, Later::Quicken(place));
        }
    }

    fn close(&mut self, place: u8) {
        let mut stage = self.shared.lock();
        let host = &mut stage.hosts[usize::from(place)];
        if host.is_at_work() && !host.has_disk_fault {
            host.close();
            stage.begin_fault(Kind::Close, Some(place), format_args!(""));
        }
    }

    fn pause(&mut self, place: u8) {
        let for_ms = self.rng.between(100, 4_000);
        {
            let mut stage = self.shared.lock();
            if !stage.hosts[usize::from(place)].is_at_work() {
                return;
            }
            stage.pause(place);
            stage.begin_fault(Kind::Pause, Some(place), format_args!("for {for_ms} ms"));
        }
        self.later(for_ms, Later::Resume(place));
    }

    /// Two groups hear each other no more, or one of them does not.
    fn part(&mut self, kind: Kind) {
        let group = self.rng.next();
        let is_in = |place: u8| group & (1 << place) != 0;
        let mut links = BTreeSet::new();
        let places: Vec<_> = self.endpoints().iter().map(|(place, _)| *place).collect();
        for from in &places {
            for to in &places {
                let is_between = is_in(*from) != is_in(*to);
                if is_between && (kind == Kind::Partition || is_in(*from)) {
                    links.insert((*from, *to));
                }
            }
        }
        if links.is_empty() {
            return;
        }
        let for_ms = self.rng.between(200, 6_000);
        let is_cut = self.rng.chance(500_000);
        {
            let mut stage = self.shared.lock();
            let group: Vec<_> = places.iter().filter(|place| is_in(**place)).collect();
            let what = format_args!("{group:?} for {for_ms} ms, connections cut: {is_cut}");
            stage.begin_fault(kind, None, what);
        }
        if is_cut {
            self.wires.cut(links.clone());
        }
        let number = self.laters;
        self.held.insert(number, links);
        self.hold();
        self.later(for_ms, Later::Release(number));
    }

    fn clog(&mut self) {
        let (way, for_ms) = (self.rng.below(3), self.rng.between(200, 3_000));
        let (place, process) = self.any_endpoint();
        let what = format_args!("{way} for {for_ms} ms");
        self.shared.lock().begin_fault(Kind::Clog, Some(place), what);
        match way {
            0 => NetSim::current().clog_node_in(process),
            1 => NetSim::current().clog_node_out(process),
            _ => NetSim::current().clog_node(process),
        }
        self.later(for_ms, Later::Unclog(process));
    }

    fn break_connections(&mut self, kind: Kind, place: u8) {
        let (other, _) = self.any_endpoint();
        if other == place {
            return;
        }
        let bytes = usize::try_from(self.rng.below(600)).expect("small");
        let (there, back): (Link, Link) = ((place, other), (other, place));
        let torn = if self.rng.chance(500_000) { there } else { back };
        let what = format_args!("{torn:?} after {bytes} bytes");
        self.shared.lock().begin_fault(kind, Some(place), what);
        if kind == Kind::Cut {
            self.wires.cut([there, back].into());
        } else {
            self.wires.tear(torn, bytes);
        }
    }

    /// One clock is off, now by this and now by that.
    fn step_clock(&mut self) {
        let place = self.clock_at;
        let offset_ms = self.rng.pick(&[-600_000_i64, -20_000, -1_500, 0, 1_500, 20_000, 600_000]);
        let mut stage = self.shared.lock();
        stage.hosts[usize::from(place)].set_clock(offset_ms);
        stage.begin_fault(Kind::ClockStep, Some(place), format_args!("to {offset_ms} ms"));
    }

    async fn transfer(&mut self, to: u8) {
        let Some(target) = self.status(to).await else { return };
        let mut stage = self.shared.lock();
        let Some(leader) = stage.leader.filter(|leader| *leader != to) else { return };
        let host = &stage.hosts[usize::from(leader)];
        let Some(handle) = host.handle.clone() else { return };
        spawn_at(host.process, async move {
            // Whatever comes of it.
            let _ = handle.request(Request::Transfer(target.raft.id), super::SLOT * 30).await;
        });
        stage.begin_fault(Kind::Transfer, Some(leader), format_args!("to node {to}"));
    }

    /// A fault is over, or a node is to start.
    pub(super) fn end(&mut self, later: Later) {
        match later {
            Later::Start(place) => self.shared.start(place),
            Later::Kill(place, image) => {
                if self.is_up(place) {
                    self.shared.kill(place, Some(image));
                    let down_ms = self.down_ms();
                    self.later(down_ms, Later::Start(place));
                }
            }
            Later::Resume(place) => self.shared.lock().resume(place),
            Later::Release(links) => {
                self.held.remove(&links);
                self.hold();
            }
            Later::Unclog(process) => NetSim::current().unclog_node(process),
            Later::Retire(place) => self.retire(place),
            Later::Quicken(place) => self.shared.lock().hosts[usize::from(place)].set_slow(0),
        }
    }

    /// Ends all faults, and lets everything start that is down. Clocks stay as they are.
    pub(super) fn heal(&mut self) {
        self.shared.lock().record.note(None, format_args!("everything is healed"));
        for (_, later) in std::mem::take(&mut self.later) {
            // Only what was to be done to nodes is left out.
            if !matches!(later, Later::Kill(..)) {
                self.end(later);
            }
        }
        self.held.clear();
        self.wires.heal();
        for place in self.places() {
            let mut stage = self.shared.lock();
            let host = &mut stage.hosts[usize::from(place)];
            let is_doomed = host.has_disk_fault && host.state == State::Up;
            drop(stage);
            if is_doomed {
                // Its disk will fail some time: it shall not be later than now.
                let image = self.rng.next();
                self.shared.kill(place, Some(image));
                self.later(0, Later::Start(place));
            }
        }
        self.shared.lock().is_healed = true;
        self.shared.tell(|clients, context| clients.heal(context));
    }

    fn hold(&self) {
        self.wires.hold(self.held.values().flatten().copied().collect());
    }

    fn is_up(&self, place: u8) -> bool {
        self.shared.lock().hosts[usize::from(place)].state == State::Up
    }

    /// Hosts and clients elsewhere: their places and processes.
    fn endpoints(&self) -> Vec<(u8, NodeId)> {
        let stage = self.shared.lock();
        let hosts = stage.hosts.iter().map(|host| (host.place, host.process));
        hosts.chain(stage.callers.iter().copied()).collect()
    }

    fn any_endpoint(&mut self) -> (u8, NodeId) {
        let endpoints = self.endpoints();
        self.rng.pick(&endpoints)
    }

    fn any_place(&mut self) -> u8 {
        let count = u64::from(self.places().end);
        u8::try_from(self.rng.below(count)).expect("few nodes")
    }

    /// For how long a host is down: often for less than an election takes.
    pub(super) fn down_ms(&mut self) -> u64 {
        let most_ms = self.rng.pick(&[500, 2_000, 8_000]);
        self.rng.between(50, most_ms)
    }
}
