//! Writes of unknown outcome on a real cluster: they can be resolved, however often the asking fails.
#![cfg(all(feature = "node", feature = "store"))]
#![allow(clippy::unwrap_used)]

#[path = "support/nodes.rs"]
mod nodes;

use std::time::Duration;

use nodes::{Nodes, PATIENCE, eventually, value_of};
use plimsoll::error::{Error, Outcome};
use plimsoll::kv::{Action, Reply, Written};
use plimsoll::node::{Access, Session};
use plimsoll::raft::{Request, Role};
use plimsoll::value::Value;

fn action(key: &str, value: &str) -> Action {
    match nodes::put(key, value) {
        Request::Write(command) => command.action,
        other => panic!("{other:?}"),
    }
}

fn operation(error: &Error) -> String {
    assert_eq!(error.outcome(), Some(Outcome::Unknown), "{error}");
    error.detail("operation").and_then(Value::as_str).unwrap().to_owned()
}

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_write_is_resolved_though_asking_failed_before() {
    let mut nodes = Nodes::founded(3).await;
    let leader = nodes.leader().await;
    let session = Session::new(Access::Node(nodes.handle(leader).clone()));
    session.write(action("k", "first"), PATIENCE).await.unwrap();
    for place in (0..3).filter(|place| *place != leader) {
        nodes.stop(place).await;
    }
    let error = session.write(action("k", "second"), SHORT).await.unwrap_err();
    let name = operation(&error);
    eventually("the leader steps down", async || {
        nodes.status(leader).await.filter(|status| status.raft.role != Role::Leader)
    })
    .await;
    // Now it is not even sent. What was sent before is as unknown as it was.
    for _ in 0..2 {
        let error = session.resolve(&name, SHORT).await.unwrap_err();
        assert_eq!(operation(&error), name);
    }
    // Asking may be given up, too.
    let given_up = tokio::time::timeout(Duration::from_millis(20), session.resolve(&name, SHORT));
    assert!(given_up.await.is_err());
    for place in (0..3).filter(|place| *place != leader) {
        nodes.start(place).await;
    }
    // Of those that ask at once one has the answer.
    let (one, other) =
        tokio::join!(session.resolve(&name, PATIENCE), session.resolve(&name, PATIENCE));
    let [(_, reply)]: [_; 1] =
        [one, other].into_iter().flatten().collect::<Vec<_>>().try_into().unwrap();
    assert!(matches!(reply, Reply::Written(Written::Put { .. })), "{reply:?}");
    let machine = nodes.handle(leader).read(PATIENCE).await.unwrap();
    assert_eq!(value_of(&machine, "k"), Some(Value::from("second")));
    assert_eq!(machine.revision(), 2, "it was applied once");
    let error = session.resolve(&name, SHORT).await.unwrap_err();
    assert_eq!(error.detail("reason"), Some(&Value::from("forgotten")), "it is known now");
}
