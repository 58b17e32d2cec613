//! What gossip promises, on the network of `cargo sim convergence`: everything comes to everyone, by the
//! shortest way that is open, and in bytes that follow what has changed.

use plimsoll_sim::convergence::repair::Twins;
use plimsoll_sim::convergence::spread;
use plimsoll_sim::convergence::swarm::{Sent, Swarm, key, value};

fn joined(nodes: u64, seed: u64) -> Swarm {
    let mut swarm = Swarm::new(nodes, seed);
    let is_whole = |swarm: &Swarm| swarm.ids().all(|id| swarm.replica(id).status().is_whole);
    assert!(swarm.run_until(60_000, is_whole), "all meet");
    swarm
}

#[test]
fn a_write_is_everywhere_at_once_and_costs_little() {
    let spread = spread::measure(16, 0, 50, 3);
    assert!(spread.half_ms() <= 20, "{spread:?}");
    assert!(spread.percentile_ms(99) <= 1_000, "{spread:?}");
    assert!(spread.bytes_per_write < 1_500.0, "{spread:?}");
}

#[test]
fn what_is_lost_arrives_all_the_same() {
    let spread = spread::measure(16, 30, 50, 4);
    let p99_ms = spread.percentile_ms(99);
    assert!(p99_ms <= 8_000, "{p99_ms} ms");
}

#[test]
fn a_large_value_is_told_of_and_asked_for() {
    let mut swarm = joined(8, 5);
    swarm.sent = Sent::default();
    let large = value(500_000, 1);
    swarm.put(3, &key("large"), &large);
    let has_it = |swarm: &Swarm| {
        swarm.ids().all(|id| swarm.replica(id).map().entry(&key("large")).is_some())
    };
    assert!(swarm.run_until(5_000, has_it), "it arrives");
    let sent = swarm.sent.replica_bytes;
    // Seven others need it; pushed to three each it would be 24 times.
    assert!(sent < 14 * 500_000, "{sent} bytes");
}

#[test]
fn both_sides_of_a_cut_go_on_and_become_one_again() {
    let mut swarm = joined(6, 6);
    swarm.cut_off = [1, 2].into();
    for round in 0..20 {
        swarm.put(1, &key(&format!("left/{round}")), &value(10, 1));
        swarm.put(5, &key(&format!("right/{round}")), &value(10, 2));
        swarm.put(1 + round % 6, &key("both"), &value(10, 3));
        swarm.run(1_500);
    }
    assert!(!swarm.has_converged());
    swarm.cut_off.clear();
    assert!(swarm.run_until(30_000, Swarm::has_converged), "they become one");
    let roots: Vec<_> = swarm.ids().map(|id| swarm.replica(id).map().trie().root()).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "equal coverage, equal maps");
    assert_eq!(swarm.replica(3).map().len(), 41);
}

#[test]
fn a_node_that_starts_anew_joins_and_gets_everything() {
    let mut swarm = joined(5, 7);
    for number in 0..500 {
        swarm.put(1 + number % 5, &key(&format!("k{number}")), &value(64, 1));
    }
    assert!(swarm.run_until(10_000, Swarm::has_converged));
    swarm.stop(4);
    swarm.run(10_000);
    swarm.put(2, &key("meanwhile"), &value(64, 2));
    swarm.start(4, 2, None);
    assert!(!swarm.replica(4).has_joined(), "it has to be told first");
    assert!(swarm.run_until(10_000, Swarm::has_converged), "it catches up");
    assert_eq!(swarm.replica(4).map().len(), 501);
}

#[test]
fn deletes_are_forgotten_once_everyone_has_them_and_not_before() {
    let mut swarm = joined(4, 8);
    for number in 0..100 {
        swarm.put(1, &key(&format!("k{number}")), &value(64, 1));
    }
    assert!(swarm.run_until(10_000, Swarm::has_converged));
    swarm.cut_off = [4].into();
    for number in 0..100 {
        swarm.delete(2, &key(&format!("k{number}")));
    }
    swarm.run(30_000);
    let tombstones = |swarm: &Swarm, id| swarm.replica(id).map().tombstones_len();
    assert!((1..=3).all(|id| tombstones(&swarm, id) == 100), "4 has not heard of them");
    swarm.cut_off.clear();
    let is_clean = |swarm: &Swarm| swarm.ids().all(|id| swarm.replica(id).map().is_empty());
    assert!(swarm.run_until(60_000, is_clean), "all forget");
}

#[test]
fn an_idle_cluster_says_little_and_a_repair_costs_what_differs() {
    let mut twins = Twins::new(20_000);
    let few = twins.by_coverage(10);
    assert!(few.bytes - few.payload < 2_000, "{few:?}");
    let many = twins.by_coverage(1_000);
    assert!(many.bytes - many.payload < 50_000, "{many:?}");
    let walked = twins.by_trie(100);
    assert!(walked.bytes < 60_000, "{walked:?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut swarm = joined(5, seed);
        swarm.lost_per_million = 100_000;
        swarm.put(2, &key("k"), &value(64, 1));
        swarm.run(5_000);
        swarm.sent
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn messages_that_are_none_change_nothing() {
    let mut swarm = joined(2, 9);
    let before = swarm.replica(1).clone();
    for bytes in [&b""[..], b"\x01", b"\x01\x02", b"\x02\x00\x00", b"\x09\x00", b"\x01\x00zzz"] {
        assert!(swarm.deliver(1, bytes), "{bytes:?} is none");
    }
    assert_eq!(*swarm.replica(1), before);
}

#[test]
fn the_page_shows_what_is_measured() {
    let page = include_str!("../../docs/design/gossip.md");
    let mut found = 0;
    for (nodes, loss) in [(3, 0), (3, 5), (16, 0), (16, 5)] {
        let spread = spread::measure(nodes, loss, 100, 1);
        let row = format!(
            "| {nodes} | {loss}% | {} ms | {} ms | {} ms | {:.0} | {:.0} | {:.0} |",
            spread.half_ms(),
            spread.percentile_ms(50),
            spread.percentile_ms(99),
            spread.bytes_per_write,
            spread.idle_bytes.0,
            spread.idle_bytes.1
        );
        assert!(page.contains(&row), "cargo sim convergence shows {row}");
        found += 1;
    }
    assert_eq!(found, 4);
}
