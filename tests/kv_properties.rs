//! Namespaces, on every backend, against the model in `support/kv_model.rs`.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;
#[path = "support/kv_host.rs"]
mod kv_host;
#[path = "support/kv_model.rs"]
mod kv_model;

use kv_host::{KvFixture, KvKind};
use proptest::prelude::*;

fn check(kind: KvKind, cases: u32, steps_max: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    runner
        .run(&prop::collection::vec(kv_model::step(), 1..steps_max), |steps| {
            runtime.block_on(async {
                let KvFixture { namespaces, clock, .. } = &KvFixture::new(kind).await;
                kv_model::run(namespaces, clock, &steps).await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn memory_does_what_the_model_says() {
    check(KvKind::Memory, 2_000, 60);
}

#[test]
fn a_bound_store_in_memory_does_what_the_model_says() {
    check(KvKind::BoundToMemory, 1_000, 60);
}

#[test]
fn a_bound_store_in_sql_does_what_the_model_says() {
    check(KvKind::BoundToSql, 60, 40);
}

#[test]
fn a_bound_store_of_replicas_does_what_the_model_says() {
    check(KvKind::BoundToCrdt, 30, 40);
}

#[test]
fn an_sqlite_file_does_what_the_model_says() {
    check(KvKind::Sqlite, 30, 40);
}
