//! Connections between nodes against whoever should not be there, whoever breaks the rules, and wires
//! that change, cut, repeat and reorder what they carry: always an error, never something wrong.
//!
//! Time is virtual: what would wait for ever fails after a minute that does not pass.
#![allow(clippy::unwrap_used)]

#[path = "support/transport.rs"]
mod support;

use std::time::Duration;

use plimsoll::limits::{FRAME_BYTES_MAX, GREETING_TEXT_BYTES_MAX, HANDSHAKE_MS_MAX};
use plimsoll::transport::{Secret, TransportError, initiate, respond};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{
    Edit, GREETING, LONG, Memory, PREAMBLE, RawPeer, Session, accepted, frame, greeting, opened,
    secret,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

const FRAMES: [&[u8]; 3] = [b"the first frame", b"", b"the frame after the empty one"];

/// Bytes of a hello and of its answer, which the greetings follow.
const HELLO_BYTES: usize = 9 + 48;
const ANSWER_BYTES: usize = 9 + 1 + 48;

#[tokio::test(start_paused = true)]
async fn a_peer_with_another_secret_is_refused_on_both_sides() {
    let (one, other) = tokio::io::duplex(1_000);
    let stranger = async {
        let (reader, writer) = tokio::io::split(one);
        let secret = Secret::from_bytes([8; 32]);
        initiate(reader, writer, &secret, &greeting("n1"), LONG).await.unwrap_err()
    };
    let (stranger, refused) = tokio::join!(stranger, accepted(other));
    assert_eq!(stranger, TransportError::Secret);
    assert_eq!(refused.unwrap_err(), TransportError::Secret);
    assert!(stranger.to_string().contains("does not hold the cluster's secret"));
}

#[tokio::test(start_paused = true)]
async fn an_acceptor_that_only_says_it_has_the_secret_is_found_out() {
    let (one, mut other) = tokio::io::duplex(1_000);
    let liar = async {
        other.read_exact(&mut [0; HELLO_BYTES]).await.unwrap();
        other.write_all(&[&PREAMBLE[..], &[0], &[9; 48]].concat()).await.unwrap();
    };
    let (opened, ()) = tokio::join!(opened(one), liar);
    assert_eq!(opened.unwrap_err(), TransportError::Secret);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_named_on_both_sides() {
    // To an acceptor. It waits until it has been heard, and the other side has gone.
    let (mut one, other) = tokio::io::duplex(1_000);
    let newer = async {
        one.write_all(b"PLIMSOLL\x09").await.unwrap();
        one.write_all(&[0; 500]).await.unwrap();
        let mut answer = Vec::new();
        one.read_to_end(&mut answer).await.unwrap();
        one.write_all(&[0; 500]).await.expect("it has not closed before");
        drop(one);
        answer
    };
    let newer = async { timeout(LONG / 2, newer).await.expect("the answer has an end") };
    let (answer, refused) = tokio::join!(newer, accepted(other));
    assert_eq!(answer, PREAMBLE);
    assert_eq!(refused.unwrap_err(), TransportError::Version { peer: 9 });

    // To an opener.
    let (one, mut other) = tokio::io::duplex(1_000);
    other.write_all(b"PLIMSOLL\x09").await.unwrap();
    let error = opened(one).await.unwrap_err();
    assert_eq!(error, TransportError::Version { peer: 9 });
    let text = error.to_string();
    assert!(text.contains("version 9") && text.contains("this node version 1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn who_speaks_something_else_gets_no_answer() {
    let (mut one, other) = tokio::io::duplex(1_000);
    one.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_eq!(accepted(other).await.unwrap_err(), TransportError::Foreign);
    let mut answer = Vec::new();
    one.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");

    let (one, mut other) = tokio::io::duplex(1_000);
    other.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(opened(one).await.unwrap_err(), TransportError::Foreign);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_dropped_when_the_time_is_over() {
    let over = TransportError::Timeout {
        doing: "the handshake with the peer",
        after_ms: HANDSHAKE_MS_MAX,
    };
    for said in [0, 1, 9, HELLO_BYTES] {
        let (mut one, other) = tokio::io::duplex(1_000);
        one.write_all(&recorded_hello().await[..said]).await.unwrap();
        let start = Instant::now();
        let (reader, writer) = tokio::io::split(other);
        let patient = 100 * LONG;
        let error = respond(reader, writer, &secret(), &greeting("n2"), patient).await.unwrap_err();
        assert_eq!(error, over, "after {said} bytes");
        assert_eq!(start.elapsed(), Duration::from_millis(HANDSHAKE_MS_MAX));
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_little_at_a_time_is_dropped_when_the_time_is_over() {
    let (mut one, other) = tokio::io::duplex(1_000);
    let slow = async {
        for byte in recorded_hello().await {
            sleep(Duration::from_millis(500)).await;
            if one.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let start = Instant::now();
    let dropped = async {
        let error = accepted(other).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
        start.elapsed()
    };
    let ((), elapsed) = tokio::join!(slow, dropped);
    assert_eq!(elapsed, Duration::from_millis(HANDSHAKE_MS_MAX));
}

/// What an opener says first. It is good for any acceptor, and no use without the keys behind it.
async fn recorded_hello() -> Vec<u8> {
    let session = Session::run(&[], Edit::Nothing, Edit::Nothing).await;
    session.sent[0][..HELLO_BYTES].to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_session_over_a_faithful_wire_is_what_was_sent() {
    let session = Session::run(&FRAMES, Edit::Nothing, Edit::Nothing).await;
    for seen in session.seen {
        assert_eq!(seen.end, Ok(()));
        assert_eq!(seen.frames, FRAMES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_changes_anywhere_is_an_error() {
    for_every_place(Edit::Flip).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_anywhere_but_between_frames_is_an_error() {
    for_every_place(Edit::Cut).await;
}

/// Edits each byte of each direction of a session. Whoever reads there must end with an error, after
/// nothing but the frames that were sent before.
async fn for_every_place(edit: fn(usize) -> Edit) {
    let whole = Session::run(&FRAMES, Edit::Nothing, Edit::Nothing).await;
    let ends = ends_of_frames(&whole);
    assert!(whole.sent[0].len() > HELLO_BYTES + GREETING.len() + FRAMES.concat().len());
    for (direction, ends) in ends.iter().enumerate() {
        for place in 0..whole.sent[direction].len() {
            let mut edits = [Edit::Nothing, Edit::Nothing];
            edits[direction] = edit(place);
            let session = Session::run(&FRAMES, edits[0], edits[1]).await;
            let reader = &session.seen[1 - direction];
            let context = format!("{:?} in direction {direction}: {reader:?}", edit(place));
            let before = ends.iter().skip(1).filter(|end| **end <= place).count();
            assert_eq!(reader.frames, FRAMES[..before], "{context}");
            let is_clean_cut = edit(place) == Edit::Cut(place) && ends.contains(&place);
            assert_eq!(reader.end.is_ok(), is_clean_cut, "{context}");
        }
    }
}

/// Where the greeting ends, and each frame, in each direction: a record each.
fn ends_of_frames(session: &Session) -> [Vec<usize>; 2] {
    [(0, HELLO_BYTES), (1, ANSWER_BYTES)].map(|(direction, start)| {
        let bytes = &session.sent[direction];
        let mut ends = Vec::new();
        let mut end = start;
        while end < bytes.len() {
            end += 2 + usize::from(u16::from_be_bytes([bytes[end], bytes[end + 1]]));
            ends.push(end);
        }
        assert_eq!(ends.len(), 1 + FRAMES.len());
        ends
    })
}

#[tokio::test(start_paused = true)]
async fn a_recorded_session_opens_no_second_one() {
    let session = Session::run(&FRAMES, Edit::Nothing, Edit::Nothing).await;
    let (mut one, other) = tokio::io::duplex(1_000);
    one.write_all(&session.sent[0]).await.unwrap();
    assert_eq!(accepted(other).await.unwrap_err(), TransportError::Tampered { record: 0 });

    let (one, mut other) = tokio::io::duplex(1_000);
    other.write_all(&session.sent[1]).await.unwrap();
    assert_eq!(opened(one).await.unwrap_err(), TransportError::Secret);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_repeated_left_out_or_moved_are_errors() {
    let orders: [(&[usize], usize); 5] =
        [(&[0, 1, 1], 2), (&[0, 2], 1), (&[1, 0], 0), (&[0, 0], 1), (&[0, 1, 2, 0], 3)];
    for (order, good) in orders {
        let (mut raw, mut acceptor) = RawPeer::with_acceptor(1_000).await;
        let records = [b"a", b"b", b"c"].map(|body| raw.seal(&frame(body)));
        for &record in order {
            raw.stream.write_all(&records[record]).await.unwrap();
        }
        raw.stream.shutdown().await.unwrap();
        for body in &["a", "b", "c"][..good] {
            assert_eq!(acceptor.receiver.receive().await.unwrap().unwrap(), body.as_bytes());
        }
        // The greeting was the record before.
        let tampered = Err(TransportError::Tampered { record: good as u64 + 1 });
        assert_eq!(acceptor.receiver.receive().await, tampered, "{order:?}");
        assert_eq!(acceptor.receiver.receive().await, tampered, "and so it stays");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_other_direction_is_an_error() {
    let (mut raw, mut acceptor) = RawPeer::with_acceptor(1_000).await;
    for _ in 0..2 {
        acceptor.sender.push(b"own words").unwrap();
        acceptor.sender.flush().await.unwrap();
    }
    let length = raw.stream.read_u16().await.unwrap();
    let mut record = vec![0; usize::from(length)];
    raw.stream.read_exact(&mut record).await.unwrap();
    raw.stream.write_u16(length).await.unwrap();
    raw.stream.write_all(&record).await.unwrap();
    raw.stream.shutdown().await.unwrap();
    let error = acceptor.receiver.receive().await.unwrap_err();
    assert_eq!(error, TransportError::Tampered { record: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_record_without_text_is_an_error() {
    let (mut raw, mut acceptor) = RawPeer::with_acceptor(1_000).await;
    raw.send(b"").await;
    raw.stream.shutdown().await.unwrap();
    let error = acceptor.receiver.receive().await.unwrap_err();
    assert_eq!(error, TransportError::Tampered { record: 1 });
}

#[tokio::test(start_paused = true)]
async fn to_leave_within_a_frame_is_an_error_between_records_too() {
    for come in [1, 4, 7] {
        let (mut raw, mut acceptor) = RawPeer::with_acceptor(1_000).await;
        raw.send(&frame(b"body")[..come]).await;
        raw.stream.shutdown().await.unwrap();
        let error = acceptor.receiver.receive().await.unwrap_err();
        assert_eq!(error, TransportError::Cut { what: "a frame" }, "after {come} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_the_peer_that_is_too_long_is_an_error_before_it_comes() {
    for bytes in [FRAME_BYTES_MAX + 1, u32::MAX as usize] {
        let (mut raw, mut acceptor) = RawPeer::with_acceptor(1_000).await;
        let head = (bytes as u32).to_be_bytes();
        raw.send(&[&frame(b"good")[..], &head].concat()).await;
        raw.stream.shutdown().await.unwrap();
        assert_eq!(acceptor.receiver.receive().await.unwrap().unwrap(), "good");
        let error = acceptor.receiver.receive().await.unwrap_err();
        assert_eq!(error, TransportError::Oversized { bytes, bytes_max: FRAME_BYTES_MAX });
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_is_none_or_too_long_is_an_error() {
    let longest = 1 + 9 + 9 + 2 * (2 + GREETING_TEXT_BYTES_MAX);
    for (body, is_too_long) in [
        (Vec::new(), false),
        (b"\x02\x00\x00\x00\x00".to_vec(), false),
        ([GREETING, b"x"].concat(), false),
        (vec![0; longest], false),
        (vec![0; longest + 1], true),
    ] {
        let (one, other) = tokio::io::duplex(10_000);
        let said = async {
            let mut raw = RawPeer::open(one).await;
            raw.send(&frame(&body)).await;
            raw
        };
        let (_raw, refused) = tokio::join!(said, accepted(other));
        match refused.unwrap_err() {
            TransportError::Greeting(_) => assert!(!is_too_long),
            TransportError::Oversized { bytes_max, .. } => {
                assert!(is_too_long && bytes_max == longest);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_said_is_readable_on_the_wire() {
    let secret = secret().to_hex();
    let frames: [&[u8]; 3] = [b"a value of a client", secret.as_bytes(), &[7; 32]];
    let session = Session::run(&frames, Edit::Nothing, Edit::Nothing).await;
    let said: Vec<_> = frames.into_iter().chain([GREETING]).collect();
    let mut windows = 0;
    for said in said.iter().flat_map(|said| said.windows(8)) {
        for sent in &session.sent {
            assert!(!sent.windows(8).any(|part| part == said), "{said:x?}");
            windows += 1;
        }
    }
    assert!(windows > 100);
    let again = Session::run(&frames, Edit::Nothing, Edit::Nothing).await;
    let common = |one: &[u8], other: &[u8]| {
        one[PREAMBLE.len()..].windows(8).filter(|w| other.windows(8).any(|o| o == *w)).count()
    };
    assert_eq!(common(&session.sent[0], &again.sent[0]), 0, "no two sessions are alike");
    assert_eq!(common(&session.sent[0], &session.sent[1]), 0, "nor two directions");
}

/// How far the peer keeps to the rules before it says anything.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Nothing,
    Preamble,
    /// Hello, or the answer to one.
    Keys,
    /// Keys, then anything as the sealed text of a record.
    SealedGreeting,
    /// Greetings.
    Greeted,
    /// Greetings, then anything as the sealed text of a record.
    Sealed,
}

const STAGES: [Stage; 6] = [
    Stage::Nothing,
    Stage::Preamble,
    Stage::Keys,
    Stage::SealedGreeting,
    Stage::Greeted,
    Stage::Sealed,
];

/// Says it, beginning at a stage, and leaves.
async fn say(mut stream: DuplexStream, opens: bool, stage: Stage, garbage: &[u8]) {
    match stage {
        Stage::Nothing => {}
        Stage::Preamble => stream.write_all(PREAMBLE).await.unwrap(),
        _ => {
            let raw =
                if opens { RawPeer::open(stream).await } else { RawPeer::accept(stream).await };
            return say_sealed(raw, stage, garbage).await;
        }
    }
    // The other side may have gone already.
    drop(stream.write_all(garbage).await);
}

async fn say_sealed(mut raw: RawPeer, stage: Stage, garbage: &[u8]) {
    if matches!(stage, Stage::Greeted | Stage::Sealed) {
        raw.send(&frame(GREETING)).await;
        raw.receive().await;
    }
    let bytes = match stage {
        Stage::SealedGreeting | Stage::Sealed => raw.seal(garbage),
        _ => garbage.to_vec(),
    };
    drop(raw.stream.write_all(&bytes).await);
    drop(raw.stream.shutdown().await);
}

/// What comes of a connection, to its end.
async fn listen(connected: Result<Memory, TransportError>) -> Result<usize, TransportError> {
    let mut connection = connected?;
    let mut bytes = 0;
    while let Some(frame) = connection.receiver.receive().await? {
        bytes += frame.len();
    }
    Ok(bytes)
}

/// Anything, often with something of the protocol in front.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let front = prop_oneof![
        Just(Vec::new()),
        Just(PREAMBLE.to_vec()),
        Just([&PREAMBLE[..], &[0]].concat()),
        Just([&PREAMBLE[..], &[1]].concat()),
        Just(vec![0, 17]),
        Just(vec![0xff, 0xff]),
        Just(frame(GREETING)),
        Just(vec![0, 0x80, 0, 0]),
    ];
    let rest = prop_oneof![vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..3_000)];
    (front, rest).prop_map(|(front, rest)| [front, rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_000)
    })]

    /// No garbage makes anything panic or hang, and no more comes out of it than went in.
    #[test]
    fn garbage_at_any_stage_ends_the_connection(
        stage in prop::sample::select(&STAGES[..]),
        opens in any::<bool>(),
        garbage in garbage(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (one, other) = tokio::io::duplex(100_000);
            let listener = async {
                listen(if opens { accepted(other).await } else { opened(other).await }).await
            };
            let both = async { tokio::join!(say(one, opens, stage, &garbage), listener) };
            let ((), heard) = timeout(12 * LONG, both).await.expect("it ends");
            let timed_out = matches!(heard, Err(TransportError::Timeout { .. }));
            prop_assert!(!timed_out, "the peer has left, and that was not seen");
            match stage {
                Stage::Nothing | Stage::Preamble | Stage::Keys => prop_assert!(heard.is_err()),
                Stage::Greeted => prop_assert_eq!(heard.is_ok(), garbage.is_empty()),
                Stage::SealedGreeting | Stage::Sealed => {
                    prop_assert!(heard.unwrap_or(0) <= garbage.len());
                }
            }
            Ok(())
        })?;
    }
}
