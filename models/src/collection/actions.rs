//! What can happen in a state, and what it does.
//!
//! Writes are pushes from the start, and stay under way for ever. A relayed push, an exchange or a
//! digest either arrives in the moment in which it is sent, or it is one of the few that are delayed:
//! those stay under way for ever too, so they arrive after any number of other events, in any order,
//! again, after a restart of their sender or their receiver, or never. Loss needs no action: whatever
//! can happen need not.

use super::bounds::{Bounds, Manner};
use super::cut;
use super::mutants::Mutant;
use super::rule::{Coverage, Epochs, Form, Image, List, Members, Rule, Stamp, Standing, is_whole};
use super::state::{Asked, Delayed, Kind, Snapshot, State, Write};

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the sentences")]
pub enum Action {
    /// A client writes at a member, which stamps the write with this place in the order.
    Write { member: usize, kind: Kind, stamp: Stamp },
    /// The push of a write arrives from the member that made it.
    Push { stamp: Stamp, to: usize },
    /// A push arrives of what another member holds.
    Relay { from: usize, to: usize },
    /// A member asks another for all it has, and gets it.
    Exchange { from: usize, to: usize },
    /// A member asks another for all it has, and the answer is cut off before its end.
    Part { from: usize, to: usize },
    /// A digest arrives.
    Digest { from: usize, to: usize },
    /// A member sends a sync that will be late, to whoever it may concern.
    DelaySync { from: usize },
    /// A member answers an exchange, and the answer will be late.
    DelayAnswer { from: usize, to: usize },
    /// A delayed message arrives, wholly, or as much of it as a push or a digest is.
    Deliver { slot: usize, to: usize, form: Form },
    /// A member drops its tombstone.
    Collect { member: usize },
    /// The deadline of the lease passes by a member's clock.
    Pass { member: usize },
    /// A member deletes an expired entry by a write. Only a mutant does.
    Sweep { member: usize, stamp: Stamp },
    /// A member's state is copied, to be set back to it later.
    Snapshot { member: usize },
    /// A member ends and starts again.
    Restart { member: usize, manner: Manner },
    /// A list without a member of the last one is agreed on.
    Remove { member: usize },
    /// A list with a new member is agreed on. It starts.
    Add { member: usize },
    /// A member moves on to a later list.
    Move { member: usize, epoch: u8 },
}

/// All that can happen. What changes nothing may be among it.
pub fn enabled(state: &State, rule: Rule, actions: &mut Vec<Action>) {
    let members = state.members();
    for member in members.iter() {
        writes(state, member, actions);
        arrivals(state, rule, member, actions);
        for other in members.iter().filter(|other| *other != member) {
            meetings(state, rule, (other, member), actions);
        }
        alone(state, rule, member, actions);
        restarts(state, member, actions);
        moves(state, member, actions);
    }
    lists(state, actions);
}

/// What is agreed on.
fn lists(state: &State, actions: &mut Vec<Action>) {
    let listed = state.list().members;
    if state.left.removals > 0 && listed.iter().count() > 1 {
        actions.extend(listed.iter().map(|member| Action::Remove { member }));
    }
    if state.left.additions > 0 {
        actions.push(Action::Add { member: state.members().iter().count() });
    }
}

/// A member that hears that it was removed does nothing any more: as if it never heard of it, and did
/// nothing.
fn moves(state: &State, member: usize, actions: &mut Vec<Action>) {
    let later = state.replicas[member].list.epoch + 1..=state.epoch;
    let is_listed = |epoch: &u8| state.list_of(*epoch).members.contains(member);
    actions.extend(later.filter(is_listed).map(|epoch| Action::Move { member, epoch }));
}

/// What a member is asked to write.
fn writes(state: &State, member: usize, actions: &mut Vec<Action>) {
    let Bounds { puts, leases, deletes, .. } = state.left;
    if !state.replicas[member].has_joined {
        return;
    }
    for (kind, left) in [(Kind::Put, puts), (Kind::Lease, leases), (Kind::Delete, deletes)] {
        if left > 0 {
            let stamps = state.next_stamps(member);
            actions.extend(stamps.map(|stamp| Action::Write { member, kind, stamp }));
        }
    }
}

/// What is under way to a member.
fn arrivals(state: &State, rule: Rule, to: usize, actions: &mut Vec<Action>) {
    let replica = &state.replicas[to];
    for (stamp, write) in state.stamped() {
        let from = usize::from(write.member);
        let is_sent = from != to && state.left.plain < 2;
        let is_heard = is_sent && rule.hears(replica, from, write.epochs, Form::Push);
        if is_heard && rule.accepts(replica, from, write.incarnation, Form::Push) {
            actions.push(Action::Push { stamp, to });
        }
    }
    for (slot, message) in state.delayed.iter().enumerate() {
        let Some(Delayed { image, asked }) = message else { continue };
        let from = usize::from(image.from);
        let is_for_us = asked.is_none_or(|asked| usize::from(asked.by) == to);
        if from == to || !is_for_us {
            continue;
        }
        for form in [Form::Push, Form::Sync, Form::Digest] {
            let is_heard = rule.hears(replica, from, Epochs::of(image.epoch), form);
            if is_heard && rule.accepts(replica, from, image.incarnations[from], form) {
                actions.push(Action::Deliver { slot, to, form });
            }
        }
    }
}

/// What goes from one member to another in a moment, or is delayed.
fn meetings(state: &State, rule: Rule, (from, to): (usize, usize), actions: &mut Vec<Action>) {
    let (sender, receiver) = (&state.replicas[from], &state.replicas[to]);
    let hears = |epoch, form| rule.hears(receiver, from, Epochs::of(epoch), form);
    let served_in = rule.serves(sender, to, receiver.list.epoch);
    let is_answered = served_in.is_some_and(|epoch| hears(epoch, Form::Sync));
    if is_answered {
        actions.push(Action::Exchange { from, to });
    }
    let (epoch, incarnation) = (sender.list.epoch, sender.incarnations[from]);
    if sender.has_joined && receiver.has_joined && state.left.plain == 0 {
        let is_accepted = rule.accepts(receiver, from, incarnation, Form::Push);
        if sender.entry.is_some() && is_accepted && hears(epoch, Form::Push) {
            actions.push(Action::Relay { from, to });
        }
        if is_answered {
            actions.push(Action::Part { from, to });
        }
        if hears(epoch, Form::Digest) {
            actions.push(Action::Digest { from, to });
        }
    }
    if state.left.delayed > 0 && served_in.is_some() {
        actions.push(Action::DelayAnswer { from, to });
    }
}

/// What a member does by itself.
fn alone(state: &State, rule: Rule, member: usize, actions: &mut Vec<Action>) {
    let replica = &state.replicas[member];
    let has_lease = state.stamped().any(|(_, write)| write.kind == Kind::Lease);
    if has_lease && !state.passed.contains(member) {
        actions.push(Action::Pass { member });
    }
    if state.left.delayed > 0 && replica.has_joined {
        actions.push(Action::DelaySync { from: member });
    }
    let Some(entry) = replica.entry else { return };
    let standing = state.standing(member, entry);
    if rule.may_collect(replica, member, standing) {
        actions.push(Action::Collect { member });
    }
    let is_lease = state.write(entry).kind == Kind::Lease;
    if rule.has(Mutant::ExpiryDeletes) && is_lease && standing == Standing::Tombstone {
        let stamps = state.next_stamps(member);
        actions.extend(stamps.map(|stamp| Action::Sweep { member, stamp }));
    }
}

fn restarts(state: &State, member: usize, actions: &mut Vec<Action>) {
    let mut left = state.left;
    let snapshot_of = state.snapshot.map(|snapshot| usize::from(snapshot.member));
    for manner in Manner::ALL {
        let is_possible = manner != Manner::Older || snapshot_of == Some(member);
        if is_possible && *left.restarts(manner) > 0 {
            actions.push(Action::Restart { member, manner });
        }
    }
    if left.older > 0 && snapshot_of.is_none() && state.replicas[member].has_joined {
        actions.push(Action::Snapshot { member });
    }
}

/// The state after an event.
#[must_use]
pub fn after(state: &State, rule: Rule, action: Action) -> State {
    let mut next = state.clone();
    match action {
        Action::Write { member, kind, stamp } => write(&mut next, member, kind, stamp),
        Action::Sweep { member, stamp } => write(&mut next, member, Kind::Sweep, stamp),
        Action::Push { stamp, to } => {
            let Write { member, incarnation, .. } = next.write(stamp);
            let from = usize::from(member);
            rule.learn(&mut next.replicas[to], from, incarnation);
            push(&mut next, rule, to, stamp);
        }
        Action::Relay { from, to } => {
            let image = image(state, rule, from);
            deliver(&mut next, rule, to, Form::Push, Delayed { image, asked: None });
        }
        Action::Digest { from, to } => {
            let image = image(state, rule, from);
            deliver(&mut next, rule, to, Form::Digest, Delayed { image, asked: None });
        }
        Action::Exchange { from, to } => exchange(&mut next, rule, from, to),
        Action::Part { from, to } => {
            let message = answer(&mut next, rule, from, to);
            rule.merge_part(&mut next.replicas[to], to, &message.image);
        }
        Action::DelaySync { from } => {
            let image = image(state, rule, from);
            delay(&mut next, Delayed { image, asked: None });
        }
        Action::DelayAnswer { from, to } => {
            let message = answer(&mut next, rule, from, to);
            delay(&mut next, message);
        }
        Action::Deliver { slot, to, form } => {
            let message = next.delayed[slot].expect("it is under way");
            deliver(&mut next, rule, to, form, message);
        }
        Action::Collect { member } => collect(&mut next, member),
        Action::Pass { member } => next.passed.insert(member),
        Action::Snapshot { member } => snapshot(&mut next, rule, member),
        Action::Restart { member, manner } => restart(&mut next, rule, member, manner),
        Action::Remove { member } => {
            next.left.removals -= 1;
            let Members(members) = next.list().members;
            agree(&mut next, Members(members & !(1 << member)));
        }
        Action::Add { member } => {
            next.left.additions -= 1;
            let mut members = next.list().members;
            members.insert(member);
            agree(&mut next, members);
            next.replicas[member].list = next.list();
        }
        Action::Move { member, epoch } => {
            let list = next.list_of(epoch);
            take_list(&mut next, rule, member, list);
        }
    }
    bury(&mut next);
    next.tidy();
    next
}

/// One complete exchange: `to` asks, `from` serves.
pub fn exchange(state: &mut State, rule: Rule, from: usize, to: usize) {
    let message = answer(state, rule, from, to);
    deliver(state, rule, to, Form::Sync, message);
}

/// A member moves on to a later list. What it wrote may be pushed there, too.
pub fn take_list(state: &mut State, rule: Rule, member: usize, list: List) {
    let replica = &mut state.replicas[member];
    rule.take_list(replica, member, list);
    let incarnation = replica.incarnations[member];
    for write in state.writes.iter_mut().flatten() {
        if (usize::from(write.member), write.incarnation) == (member, incarnation) {
            write.epochs.0 |= Epochs::of(list.epoch).0;
        }
    }
}

fn agree(state: &mut State, members: Members) {
    state.epoch += 1;
    state.lists[usize::from(state.epoch)] = members;
}

/// Drops a tombstone. From here on nothing older may be shown.
pub fn collect(state: &mut State, member: usize) {
    state.buried = state.buried.max(state.replicas[member].entry);
    state.replicas[member].entry = None;
}

fn write(state: &mut State, member: usize, kind: Kind, stamp: Stamp) {
    let incarnation = state.replicas[member].incarnations[member];
    let by = u8::try_from(member).expect("members are few");
    let epochs = Epochs::of(state.replicas[member].list.epoch);
    state.insert(stamp, Write { member: by, incarnation, kind, epochs });
    state.replicas[member].entry = Some(stamp);
    state.replicas[member].coverage.insert(stamp);
    match kind {
        Kind::Put => state.left.puts -= 1,
        Kind::Lease => state.left.leases -= 1,
        Kind::Delete => state.left.deletes -= 1,
        Kind::Sweep => {}
    }
}

fn push(state: &mut State, rule: Rule, to: usize, stamp: Stamp) {
    if !cut::beyond(state, rule, to).covers(stamp) {
        rule.merge_entry(&mut state.replicas[to], stamp);
    }
}

/// The answer to an exchange that `to` asks for.
fn answer(state: &mut State, rule: Rule, from: usize, to: usize) -> Delayed {
    let asker = &state.replicas[to];
    let (incarnation, found, asked_in) = (asker.incarnations[to], asker.found, asker.list.epoch);
    rule.record_joiner(&mut state.replicas[from], to, incarnation);
    let by = u8::try_from(to).expect("members are few");
    let mut image = image(state, rule, from);
    if let Some(epoch) = rule.serves(&state.replicas[from], to, asked_in) {
        image.epoch = epoch;
    }
    Delayed { image, asked: Some(Asked { by, incarnation, found }) }
}

fn deliver(state: &mut State, rule: Rule, to: usize, form: Form, message: Delayed) {
    let Delayed { image, asked } = message;
    let replica = &mut state.replicas[to];
    let from = usize::from(image.from);
    match form {
        Form::Push => {
            rule.learn(replica, from, image.incarnations[from]);
            if let Some(entry) = image.entry {
                push(state, rule, to, entry);
            }
        }
        Form::Digest => {
            rule.learn_table(replica, to, &image);
            rule.take_digest(replica, &image);
        }
        Form::Sync => {
            let is_ours = |asked: &Asked| asked.incarnation == replica.incarnations[to];
            let asked = asked.filter(is_ours).map(|asked| asked.found);
            let beyond = cut::beyond(state, rule, to);
            let image = Image {
                entry: image.entry.filter(|entry| !beyond.covers(*entry)),
                coverage: Coverage(image.coverage.0 & !beyond.0),
                ..image
            };
            rule.take_sync(&mut state.replicas[to], to, &image, asked);
        }
    }
}

fn delay(state: &mut State, message: Delayed) {
    let free = state.delayed.iter_mut().find(|slot| slot.is_none());
    *free.expect("the bounds say that there is one") = Some(message);
    state.left.delayed -= 1;
}

fn snapshot(state: &mut State, rule: Rule, member: usize) {
    let mut replica = state.replicas[member];
    replica.digests = Default::default();
    replica.list = List::default();
    if !rule.has(Mutant::SnapshotSameIncarnation) {
        replica.met = Default::default();
    }
    state.snapshot =
        Some(Snapshot { member: u8::try_from(member).expect("members are few"), replica });
}

fn restart(state: &mut State, rule: Rule, member: usize, manner: Manner) {
    let before = state.replicas[member];
    let nothing = Default::default();
    let kept = match manner {
        Manner::Durable => None,
        Manner::Empty => Some(nothing),
        Manner::Older => Some(state.snapshot.map_or(nothing, |snapshot| snapshot.replica)),
    };
    state.replicas[member] = match kept {
        None => rule.restart_durable(&before),
        Some(kept) => {
            let list = if rule.has(Mutant::EpochForgotten) {
                first_list(state, member)
            } else {
                before.list
            };
            rule.restart_anew(&before, &kept, member, list)
        }
    };
    *state.left.restarts(manner) -= 1;
}

/// The first list that a member was in.
fn first_list(state: &State, member: usize) -> List {
    let mut lists = (0..=state.epoch).map(|epoch| state.list_of(epoch));
    lists.find(|list| list.members.contains(member)).expect("it was listed when it started")
}

/// A member's state, as a message tells it.
fn image(state: &State, rule: Rule, from: usize) -> Image {
    let replica = &state.replicas[from];
    let digest = if rule.has(Mutant::PrefixDigests) {
        prefix(state, replica.coverage)
    } else {
        replica.coverage
    };
    Image {
        from: u8::try_from(from).expect("members are few"),
        epoch: replica.list.epoch,
        entry: replica.entry,
        coverage: replica.coverage,
        digest,
        incarnations: replica.incarnations,
        has_joined: replica.has_joined,
        is_whole: is_whole(replica, from),
    }
}

/// Of each incarnation's writes, those before the first that is not covered.
fn prefix(state: &State, coverage: Coverage) -> Coverage {
    let mut prefix = Coverage::default();
    for (stamp, write) in state.stamped().filter(|(stamp, _)| coverage.covers(*stamp)) {
        let is_after_gap =
            state.stamped().take_while(|(earlier, _)| *earlier < stamp).any(|(earlier, before)| {
                (before.member, before.incarnation) == (write.member, write.incarnation)
                    && !coverage.covers(earlier)
            });
        if !is_after_gap {
            prefix.insert(stamp);
        }
    }
    prefix
}

/// Notes the newest tombstone that everyone covers.
fn bury(state: &mut State) {
    if !state.listed().all(|replica| replica.has_joined && replica.list.epoch == state.epoch) {
        return;
    }
    let everywhere = |stamp: Stamp| state.listed().all(|replica| replica.coverage.covers(stamp));
    let newest = state
        .stamped()
        .map(|(stamp, _)| stamp)
        .filter(|stamp| everywhere(*stamp) && state.is_tombstone(*stamp))
        .max();
    state.buried = state.buried.max(newest);
}
