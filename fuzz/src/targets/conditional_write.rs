//! Scripts of writes, reads and time that passes, on every kind of store, each against its
//! specification: equal results, kinds of errors, outcomes and details.
//!
//! The first byte chooses between the API of stores (in memory and in SQLite, each beside a
//! `check::spec` that supports what the store's `info()` claims) and namespaces (in memory, and
//! bound to a store in memory, each beside the model of `docs/lua-kv.md`). The rest is the script.

use std::cell::RefCell;
use std::fmt::Display;

use tokio::runtime::{Builder, Runtime};

use super::input::Input;
use crate::explore::Recorder;
use crate::kinds::{Fixture, Kind};
use crate::kv_host::{KvFixture, KvKind};
use crate::kv_model::{self, When};
use crate::stores::pair::Pair;
use crate::stores::steps::Step;
use crate::writes::{ConditionStep, KEYS, PLACES, VALUES, VersionPick, WriteStep};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    WORLD.with_borrow_mut(|world| {
        if choice & 1 == 0 {
            let steps = decode(&mut input, step);
            world.run(Kind::Memory, &steps);
            world.run(Kind::Sqlite, &steps);
        } else {
            let steps = decode(&mut input, kv_step);
            world.run_namespaces(KvKind::Memory, &steps);
            world.run_namespaces(KvKind::BoundToMemory, &steps);
        }
    });
}

/// What executions have in common. A database takes long to make: it is emptied instead.
struct World {
    runtime: Runtime,
    sqlite: Option<Fixture>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World {
        runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        sqlite: None,
    });
}

impl World {
    fn run(&mut self, kind: Kind, steps: &[Step]) {
        let kept = if kind == Kind::Sqlite { self.sqlite.take() } else { None };
        let fixture = self.runtime.block_on(async {
            let fixture = match kept {
                Some(fixture) => emptied(fixture).await,
                None => Fixture::open(kind, SIZE_MAX).await,
            };
            let mut pair = Pair::on(fixture).await;
            let mut recorder = Recorder::default();
            for (number, step) in steps.iter().chain(&LAST_STEPS).enumerate() {
                if let Err(wrong) = pair.step(step, &mut recorder).await {
                    panic!("{kind:?}, step {number} of\n{}\n{wrong}", script(steps));
                }
            }
            pair.into_fixture()
        });
        if kind == Kind::Sqlite {
            self.sqlite = Some(fixture);
        }
    }

    fn run_namespaces(&self, kind: KvKind, steps: &[kv_model::Step]) {
        self.runtime.block_on(async {
            let KvFixture { namespaces, clock, .. } = &KvFixture::new(kind).await;
            kv_model::run(namespaces, clock, steps).await;
        });
    }
}

/// Without a row, and without one that has expired.
async fn emptied(fixture: Fixture) -> Fixture {
    let handle = fixture.acquire();
    for key in KEYS {
        handle.set(key, false, None).await.unwrap();
        assert!(handle.delete(key, None).await.unwrap());
    }
    fixture
}

fn script(steps: &[impl Display]) -> String {
    let lines = (0..).zip(steps).map(|(number, step)| format!("{number:>4}. {step}\n"));
    lines.collect()
}

fn decode<T>(input: &mut Input<'_>, step: fn(&mut Input<'_>) -> T) -> Vec<T> {
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < STEPS_MAX {
        steps.push(step(input));
    }
    steps
}

fn step(input: &mut Input<'_>) -> Step {
    match input.below(32) {
        0..=11 => Step::Write(write(input)),
        12..=15 => Step::Transact(transaction(input)),
        16..=18 => Step::Read(input.below(KEYS.len())),
        19 | 20 => Step::List {
            prefix: input.one_of(&PLACES),
            after: input.one_of(&PLACES),
            limit: input.one_of(&LIMITS),
        },
        21 => Step::Scan { prefix: input.one_of(&PLACES), limit: input.one_of(&LIMITS) },
        22 => Step::Watch {
            prefix: input.one_of(&PLACES),
            key: input.below(KEYS.len()),
            after: version(input),
        },
        23 => Step::Drain,
        24..=26 => Step::Pass(input.one_of(&TIMES_MS)),
        27 => Step::Sweep,
        28 => Step::Release,
        29 if input.byte() == u8::MAX => Step::Reopen,
        _ => Step::Set {
            key: input.below(KEYS.len()),
            value: input.below(VALUES),
            ttl_ms: input.one_of(&TIMES_MS),
        },
    }
}

/// Also more operations than a transaction has.
fn transaction(input: &mut Input<'_>) -> Vec<WriteStep> {
    let count = input.one_of(&[2, 3, 1, 0, 4, 5, 6, 129]);
    (0..count).map(|_| write(input)).collect()
}

fn write(input: &mut Input<'_>) -> WriteStep {
    let (choice, key) = (input.below(8), input.below(KEYS.len()));
    match choice {
        0..=4 => WriteStep::Put {
            key,
            value: input.below(VALUES),
            ttl_ms: input.one_of(&TIMES_MS),
            condition: condition(input),
        },
        5 | 6 => {
            let is_conditional = input.byte() & 1 == 1;
            WriteStep::Delete { key, if_version: is_conditional.then(|| version(input)) }
        }
        _ => WriteStep::Check { key, condition: condition(input) },
    }
}

fn condition(input: &mut Input<'_>) -> ConditionStep {
    match input.below(4) {
        0 | 1 => ConditionStep::None,
        2 => ConditionStep::Absent,
        _ => ConditionStep::Version(version(input)),
    }
}

fn version(input: &mut Input<'_>) -> VersionPick {
    match input.below(12) {
        0..=5 => VersionPick::Current,
        6..=8 => VersionPick::Given(input.below(8)),
        9 => VersionPick::Foreign,
        10 => VersionPick::Future(1 + u64::from(input.byte() % 4)),
        _ => VersionPick::Unversioned,
    }
}

fn kv_step(input: &mut Input<'_>) -> kv_model::Step {
    use kv_model::{KEYS, NAMES, PREFIXES, Step};
    // Mostly the same few, or steps would seldom meet.
    let choice = input.below(16);
    let name = if input.byte() < 192 { 1 } else { input.below(NAMES.len()) };
    let key = if input.byte() < 192 { 1 + input.below(4) } else { input.below(KEYS.len()) };
    match choice {
        0..=5 => Step::Put {
            name,
            key,
            expiry: when(input),
            metadata: input.one_of(&[None, Some("{}"), Some(r#"{"a":[1,2.5,"é"]}"#)]),
            value: input.fewer_than(4).to_vec(),
        },
        6 | 7 => Step::Delete { name, key },
        8..=10 => Step::Get { name, key },
        11..=13 => Step::List {
            name,
            prefix: input.below(PREFIXES.len()),
            limit: 1 + input.below(5),
            deleted: key,
        },
        _ => Step::Wait { ms: 250 * u64::from(input.byte() % 16) },
    }
}

/// In quarters of a second, as the model wants them.
fn when(input: &mut Input<'_>) -> When {
    let (choice, quarters) = (input.below(4), input.byte() % 24);
    match choice {
        0 | 1 => When::Never,
        2 => When::At(250 * (i64::from(quarters) - 8)),
        _ => When::After(250 * u64::from(quarters)),
    }
}

/// What every script ends with: all that watches and pages tell.
const LAST_STEPS: [Step; 2] = [Step::Drain, Step::Scan { prefix: b"", limit: 1 }];

/// Fewer than there are keys.
const SIZE_MAX: u64 = 4;

const STEPS_MAX: usize = 64;
const LIMITS: [usize; 5] = [1, 2, 3, 0, 5];
const TIMES_MS: [u64; 8] = [0, 0, 1, 10, 20, 50, 200, 7];
