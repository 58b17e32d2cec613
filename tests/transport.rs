//! Connections between nodes: what is pushed on one side is received on the other, whatever its size
//! and whoever stops waiting; what waits costs next to nothing.
#![allow(clippy::unwrap_used)]

#[path = "support/transport.rs"]
mod support;

use plimsoll::limits::FRAME_BYTES_MAX;
use plimsoll::transport::{Connection, accept, connect};
use support::{LONG, greeting, secret};
use tokio::net::TcpListener;

/// Bytes of a body that fill a record exactly.
const RECORD_BODY_BYTES: usize = 65_519 - 4;

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Two ends of a connection over TCP.
async fn tcp_pair() -> (Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, &secret(), &greeting("n2"), LONG).await.unwrap()
    };
    let (secret, greeting) = (secret(), greeting("n1"));
    let (one, other) = tokio::join!(connect(&address, &secret, &greeting, LONG), acceptor);
    (one.unwrap(), other)
}

#[tokio::test]
async fn each_side_sees_what_the_other_says_of_itself() {
    let (one, other) = tcp_pair().await;
    assert_eq!(one.peer, greeting("n2"));
    assert_eq!(other.peer, greeting("n1"));
}

#[tokio::test]
async fn frames_of_every_size_come_as_they_were() {
    let (mut one, mut other) = tcp_pair().await;
    let around = RECORD_BODY_BYTES - 5..RECORD_BODY_BYTES + 8;
    let sizes: Vec<_> = (0..40)
        .chain(around)
        .chain([65_518, 65_519, 65_520, 200_000, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX])
        .collect();
    let send = async {
        for &size in &sizes {
            one.sender.push(&body(size)).unwrap();
            one.sender.flush().await.unwrap();
        }
        for &size in &sizes {
            one.sender.push(&body(size)).unwrap();
        }
        one.sender.finish().await.unwrap();
    };
    let receive = async {
        for &size in sizes.iter().chain(&sizes) {
            let frame = other.receiver.receive().await.unwrap().unwrap();
            assert!(frame == body(size), "a frame of {size} bytes came as {}", frame.len());
        }
        assert_eq!(other.receiver.receive().await, Ok(None));
        assert_eq!(other.receiver.receive().await, Ok(None), "and so it stays");
    };
    tokio::join!(send, receive);
}
