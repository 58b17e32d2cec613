//! Contests: contenders do the same work in turn, round by round, so that a ratio holds although
//! the speed of the machine drifts. Each figure is the median of the rounds.
//!
//! No absolute claims: a figure without its baseline from the same run says nothing.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A named piece of work; called with the number of operations to do.
pub struct Contender<'a> {
    pub name: &'a str,
    pub work: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: &'a str, work: impl FnMut(usize) + 'a) -> Self {
        Self { name, work: Box::new(work) }
    }
}

/// Nanoseconds per operation of a contender.
pub struct Figure {
    pub name: String,
    pub nanoseconds: f64,
    /// Median over the rounds of this contender's time over the first one's in the same round.
    pub ratio: f64,
}

/// Runs the contenders in turn and prints a row each; the first is the baseline.
/// `aim` is the ratio that the last contender should stay within.
pub fn contest(title: &str, aim: Option<f64>, mut contenders: Vec<Contender<'_>>) -> Vec<Figure> {
    let operations = calibrate(&mut contenders[0].work);
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..=ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (contender.work)(operations);
            let elapsed = start.elapsed().as_secs_f64() * 1e9 / operations as f64;
            // The first round warms up.
            if round > 0 {
                times.push(elapsed);
            }
        }
    }
    let baseline = times[0].clone();
    let figures: Vec<_> = contenders
        .iter()
        .zip(&times)
        .map(|(contender, times)| Figure {
            name: contender.name.to_owned(),
            nanoseconds: median(times.clone()),
            ratio: median(times.iter().zip(&baseline).map(|(time, base)| time / base).collect()),
        })
        .collect();
    print(title, aim, &figures);
    figures
}

fn print(title: &str, aim: Option<f64>, figures: &[Figure]) {
    println!("{title}");
    for (position, figure) in figures.iter().enumerate() {
        let aim = match aim {
            Some(aim) if position + 1 == figures.len() => {
                let verdict = if figure.ratio <= aim { "reached" } else { "missed" };
                format!("   aim {aim:.2}: {verdict}")
            }
            _ => String::new(),
        };
        println!(
            "    {:<34} {:>12.0} ns   {:>6.2}x{aim}",
            figure.name, figure.nanoseconds, figure.ratio
        );
    }
}

/// How many operations take about [`ROUND`].
fn calibrate(work: &mut dyn FnMut(usize)) -> usize {
    let mut operations = 16;
    loop {
        let start = Instant::now();
        work(operations);
        let elapsed = start.elapsed();
        if elapsed >= ROUND / 4 {
            let scale = ROUND.as_secs_f64() / elapsed.as_secs_f64();
            let operations = (operations as f64 * scale) as usize;
            return operations.max(1).next_multiple_of(OPERATIONS_MULTIPLE);
        }
        operations *= 4;
    }
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A small generator for picking keys: xorshift, seeded, the same for every contender.
#[derive(Clone)]
pub struct Picker(u64);

impl Picker {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Another sequence for each caller.
    pub fn seeded(seed: usize) -> Self {
        let Self(start) = Self::new();
        Self(start.rotate_left(1 + seed as u32))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        black_box((self.0 % limit as u64) as usize)
    }
}

const ROUNDS: usize = 15;
/// So that callers side by side can have equal shares.
const OPERATIONS_MULTIPLE: usize = 16;
const ROUND: Duration = Duration::from_millis(60);
