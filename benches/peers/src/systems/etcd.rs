//! etcd through its public gRPC API, version 3: HTTP/2 and the few messages that are needed.
//!
//! No TLS and no authentication, as the server is started. Every Range is linearizable: that is what
//! etcd does unless it is asked for less.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;
use prost::Message;
use tokio::net::TcpStream;

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Link {
    requests: SendRequest<Bytes>,
    authority: String,
}

impl Link {
    pub async fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let opening = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream);
        let (requests, connection) = opening.await.map_err(words)?;
        // It ends with the last request handle; an error of it is one of every call.
        tokio::spawn(connection);
        Ok(Self { requests, authority: address.to_owned() })
    }

    /// Whether the member leads its cluster.
    pub async fn leads(&self) -> Result<bool, String> {
        let status: StatusResponse =
            self.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await?;
        let id = status.header.map_or(0, |header| header.member_id);
        Ok(id != 0 && status.leader == id)
    }

    pub async fn put(&self, key: &str, value: &Bytes) -> Result<(), String> {
        let put = put_request(key, value);
        let _: PutResponse = self.call("/etcdserverpb.KV/Put", &put).await?;
        Ok(())
    }

    /// A transaction that puts if the key was last modified at a revision.
    pub async fn update(
        &self,
        key: &str,
        value: &Bytes,
        revision: Option<u64>,
    ) -> Result<u64, String> {
        let compare = revision.map(|revision| Compare {
            result: COMPARE_EQUAL,
            target: COMPARE_MOD_REVISION,
            key: Bytes::copy_from_slice(key.as_bytes()),
            mod_revision: Some(revision as i64),
        });
        let success = vec![RequestOp { put: Some(put_request(key, value)) }];
        let txn = TxnRequest { compare: compare.into_iter().collect(), success };
        let done: TxnResponse = self.call("/etcdserverpb.KV/Txn", &txn).await?;
        if !done.succeeded {
            return Err("the transaction did not succeed".to_owned());
        }
        Ok(done.header.map_or(0, |header| header.revision) as u64)
    }

    pub async fn get(&self, key: &str) -> Result<usize, String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let range = RangeRequest { key, range_end: Bytes::new(), limit: 0 };
        let found: RangeResponse = self.call("/etcdserverpb.KV/Range", &range).await?;
        found.kvs.first().map(|kv| kv.value.len()).ok_or_else(|| "the key is absent".to_owned())
    }

    pub async fn list(&self, prefix: &str, limit: usize) -> Result<usize, String> {
        let mut end = prefix.as_bytes().to_vec();
        // The prefix ends with a dot, so the byte has a successor.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let key = Bytes::copy_from_slice(prefix.as_bytes());
        let range = RangeRequest { key, range_end: end.into(), limit: limit as i64 };
        let found: RangeResponse = self.call("/etcdserverpb.KV/Range", &range).await?;
        Ok(found.kvs.len())
    }

    /// A unary call.
    async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<A, String> {
        let head = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(words)?;
        let mut requests = self.requests.clone().ready().await.map_err(words)?;
        let (response, mut body) = requests.send_request(head, false).map_err(words)?;
        body.send_data(frame(request), true).map_err(words)?;
        let (head, mut body) = response.await.map_err(words)?.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(words)?;
            body.flow_control().release_capacity(chunk.len()).map_err(words)?;
            bytes.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.map_err(words)?.unwrap_or(head.headers);
        let status = trailers.get("grpc-status").map_or(&b""[..], |status| status.as_bytes());
        if status != b"0" {
            let message = trailers.get("grpc-message").map_or(&b""[..], |text| text.as_bytes());
            let (status, message) =
                (String::from_utf8_lossy(status), String::from_utf8_lossy(message));
            return Err(format!("{path}: grpc status {status}, HTTP {}: {message}", head.status));
        }
        let message = bytes.freeze();
        A::decode(message.get(HEAD_BYTES..).map_or(Bytes::new(), |text| message.slice_ref(text)))
            .map_err(words)
    }
}

/// A message as gRPC sends it: uncompressed, its length before it.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn put_request(key: &str, value: &Bytes) -> PutRequest {
    PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.clone() }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Before each message of gRPC stand a flag and four bytes of length.
const HEAD_BYTES: usize = 5;
/// More than all answers that are under way.
const WINDOW_BYTES: u32 = 64 << 20;
const COMPARE_EQUAL: i32 = 0;
const COMPARE_MOD_REVISION: i32 = 2;

// The messages have only those fields that are sent or looked at.

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(int64, tag = "3")]
    limit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}
