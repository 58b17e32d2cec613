//! What is printed: a line of JSON for each measurement, and at the end tables of medians and ratios,
//! and which aims are reached.
//!
//! A ratio is the median of the ratios of the rounds: it holds although the machine's speed drifts.

use serde_json::json;

use crate::contest::Wiring;
use crate::load::{Measured, Operation};
use crate::machine::Machine;
use crate::systems::System;

/// A measurement.
pub struct Row {
    pub round: u32,
    pub system: System,
    pub operation: Operation,
    pub clients: usize,
    pub wiring: Wiring,
    pub measured: Measured,
}

/// All measurements of a run.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    machine: Vec<Machine>,
}

/// A figure of a measurement.
#[derive(Clone, Copy)]
enum Figure {
    PerSecond,
    P50,
    ServerCpu,
}

/// An aim against etcd.
struct Aim {
    words: &'static str,
    operation: Operation,
    clients: usize,
    figure: Figure,
    /// What the ratio has to be: at least, or at most.
    at_least: Option<f64>,
    at_most: Option<f64>,
}

impl Report {
    /// Takes and prints what the machine can do.
    pub fn machine(&mut self, round: u32, machine: Machine) {
        let line = json!({
            "round": round, "fdatasync_us": rounded(machine.fdatasync_us),
            "round_trip_us": rounded(machine.round_trip_us),
        });
        println!("{line}");
        self.machine.push(machine);
    }

    /// Takes and prints a measurement.
    pub fn row(&mut self, row: Row) {
        let Measured { per_second, p50_us, p99_us, max_us, server_cpu_us, client_cpu_us, .. } =
            row.measured;
        let mut line = json!({
            "round": row.round, "system": row.system.to_string(),
            "operation": row.operation.to_string(), "clients": row.clients,
            "connections": row.wiring.to_string(), "per_second": per_second.round(),
            "p50_us": rounded(p50_us), "p99_us": rounded(p99_us), "max_us": rounded(max_us),
            "server_cpu_us": rounded(server_cpu_us), "client_cpu_us": rounded(client_cpu_us),
            "failures": row.measured.failures,
        });
        if let Some(why) = &row.measured.last_failure {
            line["last_failure"] = json!(why);
        }
        println!("{line}");
        self.rows.push(row);
    }

    /// Prints the tables.
    pub fn print(&self) {
        self.print_machine();
        self.print_rows();
        self.print_aims();
        let systems: Vec<_> = self.rows.iter().map(|row| row.system).collect();
        for system in [System::Etcd, System::Nats].into_iter().filter(|of| systems.contains(of)) {
            if let Some(caveat) = system.caveat() {
                println!("\n{system}*: {caveat}.");
            }
        }
        let failures: usize = self.rows.iter().map(|row| row.measured.failures).sum();
        println!("\noperations that failed, of all systems: {failures}");
    }

    fn print_machine(&self) {
        let median_of = |figure: fn(&Machine) -> f64| median(self.machine.iter().map(figure));
        let (sync, trip) = (median_of(|of| of.fdatasync_us), median_of(|of| of.round_trip_us));
        println!(
            "\nThe machine in this run (median of the rounds): an append of 384 bytes with its"
        );
        println!(
            "fdatasync took {sync:.0} us, a round trip of 320 bytes on the loopback {trip:.0} us.\n"
        );
    }

    fn print_rows(&self) {
        println!(
            "| operation | clients | system | connections | per second | p50 | p99 | server CPU each | throughput | p50 | CPU |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for (operation, clients) in self.kinds() {
            for system in [System::Plimsoll, System::Etcd, System::Nats] {
                let rows: Vec<_> = self.of(system, operation, clients).collect();
                let Some(last) = rows.last() else { continue };
                let median_of = |figure: fn(&Measured) -> f64| {
                    median(rows.iter().map(|row| figure(&row.measured)))
                };
                let rate = median_of(|of| of.per_second);
                let (p50, p99) = (median_of(|of| of.p50_us), median_of(|of| of.p99_us));
                let cpu = median_of(|of| of.server_cpu_us);
                let mark = if system.caveat().is_some() { "*" } else { "" };
                let ratio = |figure| match system {
                    System::Plimsoll => String::new(),
                    _ => format!("{:.2}x", self.ratio(system, operation, clients, figure)),
                };
                let [throughput, latency, processor] =
                    [Figure::PerSecond, Figure::P50, Figure::ServerCpu].map(ratio);
                println!(
                    "| {operation} | {clients} | {system}{mark} | {} | {rate:.0} | {p50:.0} us | {p99:.0} us | \
                     {cpu:.1} us | {throughput} | {latency} | {processor} |",
                    last.wiring
                );
            }
        }
        println!(
            "\nThe last three columns are Plimsoll's figure divided by that of the row's system."
        );
    }

    fn print_aims(&self) {
        println!("\n| aim against etcd | wanted | reached | |");
        println!("|---|---|---|---|");
        for aim in AIMS {
            let Aim { words, operation, clients, figure, at_least, at_most } = aim;
            let ratio = self.ratio(System::Etcd, operation, clients, figure);
            let is_reached = at_least.is_none_or(|least| ratio >= least)
                && at_most.is_none_or(|most| ratio <= most);
            let wanted = match (at_least, at_most) {
                (Some(least), _) => format!(">= {least:.2}x"),
                (None, Some(most)) => format!("<= {most:.2}x"),
                (None, None) => String::new(),
            };
            let (reached, verdict) = if ratio.is_nan() {
                ("not measured".to_owned(), "")
            } else {
                (format!("{ratio:.2}x"), if is_reached { "reached" } else { "missed" })
            };
            println!("| {words} | {wanted} | {reached} | {verdict} |");
        }
    }

    /// Plimsoll's figure divided by that of a peer; not a number if either is missing.
    fn ratio(&self, peer: System, operation: Operation, clients: usize, figure: Figure) -> f64 {
        let ours = self.of(System::Plimsoll, operation, clients);
        let ratios = ours.filter_map(|row| {
            let mut theirs = self.of(peer, operation, clients);
            let their = theirs.find(|their| their.round == row.round)?;
            Some(figure.of(&row.measured) / figure.of(&their.measured))
        });
        median(ratios)
    }

    fn of(
        &self,
        system: System,
        operation: Operation,
        clients: usize,
    ) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| {
            row.system == system && row.operation == operation && row.clients == clients
        })
    }

    /// Operations and numbers of clients, in the order in which they were measured.
    fn kinds(&self) -> Vec<(Operation, usize)> {
        let mut kinds = Vec::new();
        for row in &self.rows {
            if !kinds.contains(&(row.operation, row.clients)) {
                kinds.push((row.operation, row.clients));
            }
        }
        kinds
    }
}

impl Figure {
    const fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::PerSecond => measured.per_second,
            Self::P50 => measured.p50_us,
            Self::ServerCpu => measured.server_cpu_us,
        }
    }
}

/// The middle; of an even number the lower of the two; not a number if there is none.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.filter(|figure| !figure.is_nan()).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

const fn at_least(
    words: &'static str,
    operation: Operation,
    clients: usize,
    figure: Figure,
    least: f64,
) -> Aim {
    Aim { words, operation, clients, figure, at_least: Some(least), at_most: None }
}

const fn at_most(
    words: &'static str,
    operation: Operation,
    clients: usize,
    figure: Figure,
    most: f64,
) -> Aim {
    Aim { words, operation, clients, figure, at_least: None, at_most: Some(most) }
}

const AIMS: [Aim; 10] = [
    at_least("put, 256 clients: throughput", Operation::Put, 256, Figure::PerSecond, 3.0),
    at_most("put, 256 clients: CPU of an operation", Operation::Put, 256, Figure::ServerCpu, THIRD),
    at_most("put, 1 client: p50", Operation::Put, 1, Figure::P50, 0.5),
    at_least(
        "conditional put, 256 clients: throughput",
        Operation::Cas,
        256,
        Figure::PerSecond,
        3.0,
    ),
    at_most("conditional put, 256 clients: CPU", Operation::Cas, 256, Figure::ServerCpu, THIRD),
    at_most("conditional put, 1 client: p50", Operation::Cas, 1, Figure::P50, 0.5),
    at_least("get, 256 clients: throughput", Operation::Get, 256, Figure::PerSecond, 3.0),
    at_least("get, 1 client: throughput", Operation::Get, 1, Figure::PerSecond, 3.0),
    at_least("list, 256 clients: throughput", Operation::List, 256, Figure::PerSecond, 5.0),
    at_least("list, 1 client: throughput", Operation::List, 1, Figure::PerSecond, 5.0),
];

const THIRD: f64 = 1.0 / 3.0;
