//! NATS KV through its public protocol: a bucket is a JetStream stream with one message for each key.
//!
//! What a client library of NATS does for these operations is done here: a put publishes to the key's
//! subject and waits for the stream's acknowledgement, an update names the revision that it expects, a
//! get is a direct one, which any replica answers, and a list is a consumer of the page's subjects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    /// Its name, as the server tells it.
    server: String,
    /// What its inboxes begin with.
    inbox: String,
    next_token: AtomicU64,
    waiting: Arc<Waiting>,
    output: mpsc::UnboundedSender<Bytes>,
}

/// Who waits for messages to an inbox, by the number at its end.
#[derive(Default)]
struct Waiting(Mutex<BTreeMap<u64, mpsc::UnboundedSender<Message>>>);

/// A message that was received.
#[derive(Debug)]
struct Message {
    headers: Bytes,
    payload: Bytes,
}

/// An inbox, for as long as somebody reads it.
struct Inbox<'a> {
    link: &'a Inner,
    token: u64,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Link {
    pub async fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let (read, write) = stream.into_split();
        let mut reader = Reader { read, input: BytesMut::new() };
        let info = reader.line().await?;
        let info = info.strip_prefix(b"INFO ").ok_or("the server does not greet")?;
        let info: Value = serde_json::from_slice(info).map_err(words)?;
        let client = info["client_id"].as_u64().ok_or("the server gives no client id")?;
        let server = info["server_name"].as_str().unwrap_or_default().to_owned();
        let inbox = format!("_INBOX.{server}-{client}.");
        let (output, lines) = mpsc::unbounded_channel();
        let hello = format!("CONNECT {CONNECT}\r\nSUB {inbox}* 1\r\n");
        output.send(Bytes::from(hello)).map_err(words)?;
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(write_all(write, lines));
        tokio::spawn(read_all(reader, Arc::clone(&waiting), output.clone()));
        let next_token = AtomicU64::new(0);
        Ok(Self(Arc::new(Inner { server, inbox, next_token, waiting, output })))
    }

    /// Whether the server leads the stream of the bucket, which is made if it is missing.
    pub async fn leads(&self, replicas: usize) -> Result<bool, String> {
        let name = format!("$JS.API.STREAM.INFO.{STREAM}");
        let mut info = parse(&self.0.ask(&name, "", b"").await?)?;
        if info["error"]["code"] == 404 {
            let create = format!("$JS.API.STREAM.CREATE.{STREAM}");
            let config = stream_config(replicas).to_string();
            info = parse(&self.0.ask(&create, "", config.as_bytes()).await?)?;
        }
        if !info["error"].is_null() {
            return Err(info["error"].to_string());
        }
        Ok(info["cluster"]["leader"] == self.0.server.as_str())
    }

    /// Publishes a value; with a revision only if it is that of the last message for the key.
    pub async fn put(
        &self,
        key: &str,
        value: &Bytes,
        revision: Option<u64>,
    ) -> Result<u64, String> {
        let headers = revision.map_or_else(String::new, |revision| {
            format!("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {revision}\r\n\r\n")
        });
        let answer = self.0.ask(&subject(key), &headers, value).await?;
        let ack = parse(&answer)?;
        ack["seq"].as_u64().ok_or_else(|| format!("not acknowledged: {ack}"))
    }

    /// A direct get: the last message of the key, from whichever replica answers.
    pub async fn get(&self, key: &str) -> Result<usize, String> {
        let get = format!("$JS.API.DIRECT.GET.{STREAM}.{}", subject(key));
        let found = self.0.ask(&get, "", b"").await?;
        // What is missing is answered with a status in the headers' first line.
        if found.headers.is_empty() || found.headers.starts_with(b"NATS/1.0 ") {
            let status = found.headers.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(format!("nothing found: {}", String::from_utf8_lossy(status)));
        }
        Ok(found.payload.len())
    }

    /// Reads what is under a prefix of whole words: there are no pages, but consumers of subjects.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<usize, String> {
        let mut inbox = self.0.inbox();
        // What a consumer delivers bears the key's subject, so it has a subscription of its own.
        let deliver = format!("{}list.{}", self.0.inbox, inbox.token);
        let subscription = inbox.token + FIRST_SUBSCRIPTION;
        self.0.send(format!("SUB {deliver} {subscription}\r\n"));
        let listed = self.read_consumer(&mut inbox, &deliver, prefix, limit).await;
        self.0.send(format!("UNSUB {subscription}\r\n"));
        listed
    }

    async fn read_consumer(
        &self,
        inbox: &mut Inbox<'_>,
        deliver: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<usize, String> {
        let config = json!({ "stream_name": STREAM, "config": {
            "deliver_subject": deliver,
            "filter_subject": format!("{SUBJECTS}{prefix}>"),
            "deliver_policy": "last_per_subject", "replay_policy": "instant",
            "ack_policy": "none", "max_deliver": 1, "mem_storage": true, "num_replicas": 1,
            "inactive_threshold": 300_000_000_000_u64,
        }});
        let create = format!("$JS.API.CONSUMER.CREATE.{STREAM}");
        let made = parse(&self.0.ask(&create, "", config.to_string().as_bytes()).await?)?;
        let name = made["name"].as_str().ok_or_else(|| format!("no consumer: {made}"))?;
        let delivered = made["delivered"]["consumer_seq"].as_u64().unwrap_or(0);
        let wanted = made["num_pending"].as_u64().unwrap_or(0) + delivered;
        let mut count = 0;
        while count < limit.min(wanted as usize) {
            inbox.next().await?;
            count += 1;
        }
        // The answer is not waited for: nobody needs it.
        self.0.publish(&format!("$JS.API.CONSUMER.DELETE.{STREAM}.{name}"), "", "", b"");
        Ok(count)
    }
}

impl Inner {
    /// Publishes, and waits for the answer.
    async fn ask(&self, subject: &str, headers: &str, payload: &[u8]) -> Result<Message, String> {
        let mut inbox = self.inbox();
        self.publish(subject, &format!("{}{}", self.inbox, inbox.token), headers, payload);
        inbox.next().await
    }

    fn publish(&self, subject: &str, reply: &str, headers: &str, payload: &[u8]) {
        let total = headers.len() + payload.len();
        let head = if headers.is_empty() {
            format!("PUB {subject} {reply} {total}\r\n")
        } else {
            format!("HPUB {subject} {reply} {} {total}\r\n", headers.len())
        };
        let mut bytes = BytesMut::with_capacity(head.len() + total + 2);
        bytes.put_slice(head.as_bytes());
        bytes.put_slice(headers.as_bytes());
        bytes.put_slice(payload);
        bytes.put_slice(b"\r\n");
        // Without a receiver the connection is gone, and nothing will be answered.
        let _ = self.output.send(bytes.freeze());
    }

    fn send(&self, line: String) {
        // As above.
        let _ = self.output.send(Bytes::from(line));
    }

    fn inbox(&self) -> Inbox<'_> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::unbounded_channel();
        self.waiting.lock().insert(token, sender);
        Inbox { link: self, token, messages }
    }
}

impl Inbox<'_> {
    async fn next(&mut self) -> Result<Message, String> {
        match timeout(ANSWER_TIME, self.messages.recv()).await {
            Ok(Some(message)) if message.headers.starts_with(b"NATS/1.0 503") => {
                Err("nobody answers".to_owned())
            }
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the connection has ended".to_owned()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.link.waiting.lock().remove(&self.token);
    }
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, mpsc::UnboundedSender<Message>>> {
        // Nothing in there panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what has come together as one.
async fn write_all(mut write: OwnedWriteHalf, mut lines: mpsc::UnboundedReceiver<Bytes>) {
    let mut waiting = Vec::new();
    let mut bytes = BytesMut::new();
    while lines.recv_many(&mut waiting, LINES_MAX).await > 0 {
        for line in waiting.drain(..) {
            bytes.extend_from_slice(&line);
        }
        if write.write_all_buf(&mut bytes).await.is_err() {
            return;
        }
    }
}

/// Gives messages to whoever waits for them, until the connection ends.
async fn read_all(mut reader: Reader, waiting: Arc<Waiting>, output: mpsc::UnboundedSender<Bytes>) {
    let ended = reader.serve(&waiting, &output).await;
    // Who waits learns of it by the end of their queues.
    waiting.lock().clear();
    if let Err(why) = ended {
        eprintln!("nats: {why}");
    }
}

struct Reader {
    read: OwnedReadHalf,
    input: BytesMut,
}

impl Reader {
    async fn serve(
        &mut self,
        waiting: &Waiting,
        output: &mpsc::UnboundedSender<Bytes>,
    ) -> Result<(), String> {
        loop {
            let line = self.line().await?;
            let text = std::str::from_utf8(&line).map_err(words)?;
            let mut parts = text.split_ascii_whitespace();
            match parts.next() {
                Some("PING") => output.send(Bytes::from_static(b"PONG\r\n")).map_err(words)?,
                Some("-ERR") => return Err(text.to_owned()),
                Some(verb @ ("MSG" | "HMSG")) => {
                    let subject = parts.next().unwrap_or_default();
                    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
                    let subscription: u64 = number(parts.next()).ok_or("no subscription")?;
                    let mut sizes = parts.rev();
                    let total = number(sizes.next()).ok_or("a message without a size")?;
                    let head = if verb == "HMSG" { number(sizes.next()) } else { Some(0) };
                    let head = head.ok_or("headers without a size")?;
                    let token = subscription
                        .checked_sub(FIRST_SUBSCRIPTION)
                        .or_else(|| number(subject.rsplit('.').next()));
                    let message = self.message(head as usize, total as usize).await?;
                    let receiver = token.and_then(|token| waiting.lock().get(&token).cloned());
                    if let Some(receiver) = receiver {
                        let _ = receiver.send(message);
                    }
                }
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Result<Bytes, String> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.input[seen..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.input.split_to(seen + end + 1).freeze();
                line.truncate(line.len().saturating_sub(2));
                return Ok(line);
            }
            seen = self.input.len();
            self.fill().await?;
        }
    }

    async fn message(&mut self, head: usize, total: usize) -> Result<Message, String> {
        while self.input.len() < total + 2 {
            self.fill().await?;
        }
        let mut payload = self.input.split_to(total).freeze();
        self.input.advance(2);
        let headers = payload.split_to(head.min(total));
        Ok(Message { headers, payload })
    }

    async fn fill(&mut self) -> Result<(), String> {
        self.input.reserve(READ_BYTES);
        match self.read.read_buf(&mut self.input).await {
            Ok(0) => Err("the server has closed the connection".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a client library makes of a bucket with default settings.
fn stream_config(replicas: usize) -> Value {
    json!({
        "name": STREAM, "subjects": [format!("{SUBJECTS}>")], "num_replicas": replicas,
        "storage": "file", "retention": "limits", "discard": "new",
        "max_msgs_per_subject": 1, "max_msgs": -1, "max_bytes": -1, "max_msg_size": -1,
        "max_consumers": -1, "max_age": 0, "duplicate_window": 120_000_000_000_u64,
        "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true,
    })
}

fn subject(key: &str) -> String {
    format!("{SUBJECTS}{key}")
}

fn parse(message: &Message) -> Result<Value, String> {
    serde_json::from_slice(&message.payload).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The stream of the bucket `bench`.
const STREAM: &str = "KV_bench";
/// What the subjects of its keys begin with.
const SUBJECTS: &str = "$KV.bench.";
const CONNECT: &str = r#"{"verbose":false,"pedantic":false,"lang":"rust","version":"0","protocol":1,"headers":true,"no_responders":true}"#;
/// The subscription to all inboxes has number 1; those of lists, their token and this.
const FIRST_SUBSCRIPTION: u64 = 2;
const ANSWER_TIME: Duration = Duration::from_secs(5);
const LINES_MAX: usize = 1_024;
const READ_BYTES: usize = 64 << 10;
