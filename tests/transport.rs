//! Connections between nodes: what is pushed on one side is received on the other, whatever its size
//! and whoever stops waiting; what waits costs next to nothing.
#![allow(clippy::unwrap_used)]

#[path = "support/transport.rs"]
mod support;

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll::limits::{FRAME_BYTES_MAX, GREETING_TEXT_BYTES_MAX};
use plimsoll::transport::{
    Connection, Secret, SecretError, TransportError, accept, connect, initiate, turn_away,
};
use support::{GREETING, LONG, RawPeer, accepted, frame, greeting, pair, secret};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

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

/// A writer that counts the calls that carry bytes, and the bytes.
struct Counting<W> {
    inner: W,
    calls: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counting<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(written, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn small_frames_share_a_record_and_a_write() {
    let (one, other) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(one);
    let (calls, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let writer = Counting { inner: writer, calls: calls.clone(), bytes: bytes.clone() };
    let (secret, own) = (secret(), greeting("n1"));
    let (one, other) = tokio::join!(initiate(reader, writer, &secret, &own, LONG), accepted(other));
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    calls.store(0, Ordering::Relaxed);
    bytes.store(0, Ordering::Relaxed);

    let frames: Vec<_> = (0..1_000).map(|i| body(i % 40)).collect();
    let text: usize = frames.iter().map(|body| 4 + body.len()).sum();
    for frame in &frames {
        one.sender.push(frame).unwrap();
    }
    assert_eq!(one.sender.buffered(), text);
    assert_eq!(calls.load(Ordering::Relaxed), 0, "pushing writes nothing");
    one.sender.flush().await.unwrap();
    assert_eq!(one.sender.buffered(), 0);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(bytes.load(Ordering::Relaxed), 2 + text + 16, "one record");
    one.sender.flush().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "nothing waits, nothing is written");
    for frame in &frames {
        assert_eq!(other.receiver.receive().await.unwrap().unwrap(), frame);
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_and_nothing_of_it_is_sent() {
    let (mut one, mut other) = pair(1 << 20).await;
    let bytes = FRAME_BYTES_MAX + 1;
    let refused = one.sender.push(&vec![0; bytes]);
    assert_eq!(refused, Err(TransportError::FrameTooLong { bytes }));
    one.sender.push(b"after it").unwrap();
    one.sender.flush().await.unwrap();
    assert_eq!(other.receiver.receive().await.unwrap().unwrap(), "after it");
}

#[tokio::test]
async fn frames_go_both_ways_at_once_in_tasks_of_their_own() {
    let (one, other) = tcp_pair().await;
    let mut tasks = Vec::new();
    for Connection { mut sender, mut receiver, .. } in [one, other] {
        tasks.push(tokio::spawn(async move {
            for size in 0..3_000 {
                sender.push(&body(size)).unwrap();
                if size % 7 == 0 {
                    sender.flush().await.unwrap();
                }
            }
            sender.finish().await.unwrap();
        }));
        tasks.push(tokio::spawn(async move {
            for size in 0..3_000 {
                assert_eq!(receiver.receive().await.unwrap().unwrap(), body(size));
            }
            assert_eq!(receiver.receive().await, Ok(None));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_receive_that_is_dropped_while_it_waits_loses_nothing() {
    // Seven bytes at a time: heads of records and of frames are cut everywhere.
    let (mut one, mut other) = pair(7).await;
    let send = async move {
        for size in 0..300 {
            one.sender.push(&body(size)).unwrap();
            one.sender.flush().await.unwrap();
        }
        one
    };
    let receive = async {
        let mut dropped = 0;
        for size in 0..300 {
            let frame = loop {
                tokio::select! {
                    biased;
                    frame = other.receiver.receive() => break frame.unwrap().unwrap(),
                    () = tokio::task::yield_now() => dropped += 1,
                }
            };
            assert_eq!(frame, body(size));
        }
        dropped
    };
    let (_one, dropped) = tokio::join!(send, receive);
    assert!(dropped > 1_000, "only {dropped} were dropped");
}

#[tokio::test(start_paused = true)]
async fn a_flush_to_a_peer_that_does_not_read_waits_and_goes_on_later() {
    let (mut one, mut other) = pair(10_000).await;
    one.sender.push(&body(1_000_000)).unwrap();
    for _ in 0..3 {
        let waited = timeout(LONG, one.sender.flush()).await;
        assert!(waited.is_err(), "nobody reads, and yet: {waited:?}");
    }
    let waiting = one.sender.buffered();
    assert!((900_000..1_000_100).contains(&waiting), "{waiting}");
    one.sender.push(b"pushed while it waited").unwrap();
    assert_eq!(one.sender.buffered(), waiting + 4 + 22);

    let finish = async { one.sender.finish().await.unwrap() };
    let receive = async {
        assert!(other.receiver.receive().await.unwrap().unwrap() == body(1_000_000));
        let last = other.receiver.receive().await.unwrap().unwrap();
        assert_eq!(last, "pushed while it waited");
        assert_eq!(other.receiver.receive().await, Ok(None));
    };
    tokio::join!(finish, receive);
}

#[tokio::test]
async fn a_flush_that_is_dropped_at_every_step_loses_nothing() {
    let (mut one, mut other) = pair(1_000).await;
    let flush = async {
        let mut dropped = 0;
        for size in (0..300_000).step_by(50_000) {
            one.sender.push(&body(size)).unwrap();
            loop {
                tokio::select! {
                    biased;
                    flushed = one.sender.flush() => break flushed.unwrap(),
                    () = tokio::task::yield_now() => dropped += 1,
                }
            }
        }
        dropped
    };
    let receive = async {
        for size in (0..300_000).step_by(50_000) {
            assert!(other.receiver.receive().await.unwrap().unwrap() == body(size));
        }
    };
    let (dropped, ()) = tokio::join!(flush, receive);
    assert!(dropped > 100, "only {dropped} were dropped");
}

#[tokio::test]
async fn to_write_to_a_peer_that_has_gone_is_an_error_and_stays_one() {
    let (mut one, other) = pair(1_000).await;
    drop(other);
    one.sender.push(b"hello?").unwrap();
    let error = one.sender.flush().await.unwrap_err();
    assert!(matches!(error, TransportError::Broken { .. }), "{error}");
    assert_eq!(one.sender.push(b"hello?"), Err(error.clone()));
    assert_eq!(one.sender.flush().await, Err(error));
    assert_eq!(one.receiver.receive().await, Ok(None), "it left between frames");
}

/// The page's description, byte by byte, as the peer that is written anew sees it.
#[tokio::test]
async fn the_bytes_are_those_of_the_page() {
    let (one, other) = tokio::io::duplex(1 << 20);
    let raw = async {
        let mut raw = RawPeer::accept(other).await;
        assert_eq!(raw.receive().await, frame(GREETING));
        raw.send(&frame(GREETING)).await;
        raw
    };
    let (one, mut raw) = tokio::join!(support::opened(one), raw);
    let mut one = one.unwrap();
    assert_eq!(one.peer, greeting("n1"));

    for frame in [&b"one"[..], b"", &body(65_519)] {
        one.sender.push(frame).unwrap();
    }
    one.sender.flush().await.unwrap();
    let text = [frame(b"one"), frame(b""), frame(&body(65_519))].concat();
    assert_eq!(raw.receive().await, text[..65_519], "a record is filled");
    assert_eq!(raw.receive().await, text[65_519..], "and the rest goes into the next one");
    raw.send(&text[..2]).await;
    raw.send(&text[2..40_000]).await;
    raw.send(&text[40_000..]).await;
    for frame in [&b"one"[..], b"", &body(65_519)] {
        assert!(one.receiver.receive().await.unwrap().unwrap() == frame);
    }

    let mut hex = String::new();
    for byte in GREETING {
        write!(hex, "{byte:02x} ").unwrap();
    }
    let page = include_str!("../docs/design/transport.md");
    assert!(page.contains(hex.trim_end()), "the page does not show {hex}");
}

#[tokio::test]
async fn many_connections_over_tcp_are_idle_and_end() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let (stream, _) = listener.accept().await.unwrap();
            tasks.push(tokio::spawn(async move {
                let mut connection =
                    accept(stream, &secret(), &greeting("n2"), LONG).await.unwrap();
                connection.receiver.receive().await
            }));
        }
        tasks
    });
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(&address, &secret(), &greeting("n1"), LONG).await.unwrap());
    }
    let tasks = acceptor.await.unwrap();
    drop(connections);
    for task in tasks {
        assert_eq!(timeout(LONG, task).await.expect("it ends").unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn to_connect_where_nobody_is_says_where_and_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = connect(&address, &secret(), &greeting("n1"), LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address), "{error}");
    for address in ["no port", "host:no-number", ""] {
        let error = connect(address, &secret(), &greeting("n1"), LONG).await.unwrap_err();
        assert!(matches!(error, TransportError::Address { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("`{address}`")), "{error}");
    }
}

#[tokio::test]
async fn to_connect_by_name_finds_the_address_that_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, &secret(), &greeting("n2"), LONG).await.unwrap()
    };
    let (secret, own) = (secret(), greeting("n1"));
    let (one, _other) = tokio::join!(connect(&address, &secret, &own, LONG), acceptor);
    assert_eq!(one.unwrap().peer, greeting("n2"));
}

#[tokio::test]
async fn to_connect_to_a_peer_that_says_nothing_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let short = Duration::from_millis(50);
    let error = connect(&address, &secret(), &greeting("n1"), short).await.unwrap_err();
    assert!(matches!(error, TransportError::Timeout { after_ms: 50, .. }), "{error:?}");
}

#[tokio::test]
async fn a_peer_with_another_secret_is_told_so_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, &secret(), &greeting("n2"), LONG).await.unwrap_err()
    };
    let (other, own) = (Secret::from_bytes([8; 32]), greeting("n1"));
    let (one, refused) = tokio::join!(connect(&address, &other, &own, LONG), acceptor);
    assert_eq!(one.unwrap_err(), TransportError::Secret);
    assert_eq!(refused, TransportError::Secret);
}

#[tokio::test]
async fn another_version_is_told_so_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, &secret(), &greeting("n2"), LONG).await.unwrap_err()
    };
    let newer = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PLIMSOLL\x09").await.unwrap();
        stream.write_all(&[0; 500]).await.unwrap();
        let mut answer = Vec::new();
        // An answer that is thrown away, because something is unread, ends with an error.
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (answer, refused) = tokio::join!(newer, acceptor);
    assert_eq!(answer, b"PLIMSOLL\x01");
    assert_eq!(refused, TransportError::Version { peer: 9 });
}

#[tokio::test]
async fn an_own_greeting_that_is_too_long_is_named_before_anything_is_sent() {
    let (one, mut other) = tokio::io::duplex(1_000);
    let (reader, writer) = tokio::io::split(one);
    let long = greeting(&"n".repeat(GREETING_TEXT_BYTES_MAX + 1));
    let error = initiate(reader, writer, &secret(), &long, LONG).await.unwrap_err();
    assert_eq!(error, TransportError::GreetingTooLong { field: "name" });
    let mut sent = Vec::new();
    other.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"");
}

#[test]
fn a_secret_comes_from_a_file_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let name = file.display().to_string();
    let error = Secret::from_file(&file).unwrap_err();
    assert!(matches!(error, SecretError::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains(&name), "{error}");

    let hex = secret().to_hex();
    std::fs::write(&file, format!("\n{hex}\n")).unwrap();
    set_mode(&file, 0o600);
    assert_eq!(Secret::from_file(&file).unwrap().to_hex(), hex);
    for mode in [0o640, 0o604, 0o620, 0o644] {
        set_mode(&file, mode);
        if cfg!(unix) {
            let error = Secret::from_file(&file).unwrap_err();
            assert!(error.to_string().contains(&format!("run `chmod 600 {name}`")), "{error}");
            assert!(!error.to_string().contains(&hex));
        }
    }

    set_mode(&file, 0o600);
    for text in ["", "abc", &format!("{hex} {hex}"), &" ".repeat(5_000)] {
        std::fs::write(&file, text).unwrap();
        let error = Secret::from_file(&file).unwrap_err();
        assert_eq!(error, SecretError::Malformed { file: Some(file.clone()) });
        let text = error.to_string();
        assert!(text.contains(&name) && text.contains("64 hexadecimal digits"), "{text}");
    }
}

#[cfg(unix)]
fn set_mode(file: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &std::path::Path, _: u32) {}

#[tokio::test]
async fn whoever_finds_no_room_is_told_so_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let full = tokio::spawn(async move {
        for _ in 0..2 {
            turn_away(listener.accept().await.unwrap().0, LONG).await;
        }
    });
    let error = connect(&address, &secret(), &greeting("n1"), LONG).await.unwrap_err();
    assert_eq!(error, TransportError::Full);
    assert!(error.to_string().contains("as many connections as it takes"), "{error}");
    // Before it has said anything, and without a word more.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [&support::PREAMBLE[..], &[2]].concat());
    drop(stream);
    full.await.unwrap();
}
