//! The object store, in the layout that `nats object` reads: chunks on one subject, and on another
//! a description that names them.
//!
//! Chunks are read one by one with direct reads instead of through a consumer: each read has its
//! own deadline, nothing can stall, and the limit holds before a byte too many is asked for.

use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::client::Request;
use async_nats::header::{NATS_MESSAGE_ID, NATS_ROLLUP, NATS_SEQUENCE};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;
use visor_protocol::ids::ContentHash;
use visor_protocol::time::{Clock, SystemClock, Timestamp};

use super::api::{self, Done, Failure, code};
use super::link::Link;
use super::patience::Patience;
use super::streams::{BUCKET, Stored};
use crate::{BusError, content};

/// Twice the usual: half the round trips, and still far from any server's limit.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks on their way at once, each until the server has stored it.
const CHUNKS_IN_FLIGHT: usize = 8;

/// What is known of a stored blob.
struct Description {
    nuid: String,
    size: u64,
    chunks: u64,
    stored_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ObjectInfo {
    nuid: String,
    size: u64,
    chunks: u64,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct StoredMessage {
    message: StoredBody,
}

#[derive(Deserialize)]
struct StoredBody {
    #[serde(default)]
    data: String,
    time: Option<Timestamp>,
}

impl Link {
    pub(super) async fn has_blob(&self, hash: ContentHash) -> Result<bool, BusError> {
        Ok(self.describe(hash).await?.is_some())
    }

    pub(super) async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        let hash = content::hash(&bytes).await?;
        let old = self.describe(hash).await?;
        if old.as_ref().is_some_and(|old| self.lasts(old)) {
            return Ok(hash);
        }
        let nuid = self.unique();
        if let Err(error) = self.put_chunks(&nuid, &bytes).await {
            self.purge_chunks(&nuid).await;
            return Err(error);
        }
        self.put_description(hash, &nuid, bytes.len()).await?;
        if let Some(old) = old {
            self.purge_chunks(&old.nuid).await;
        }
        Ok(hash)
    }

    /// Whether a blob stays long enough to be relied on. One that is about to age out is stored
    /// anew.
    fn lasts(&self, old: &Description) -> bool {
        let age = old.stored_at.map(|at| SystemClock.now().since(at));
        age.is_some_and(|age| age < self.options.blob_max_age / 2)
    }

    async fn put_chunks(&self, nuid: &str, bytes: &Bytes) -> Result<(), BusError> {
        let subject = chunk_subject(nuid);
        // The order of chunks is the order in which the server stores them, which is the order in
        // which they are sent: the futures are started in turn, and a chunk that has to be sent
        // again would come after later ones.
        let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
        let chunks = starts.map(|at| bytes.slice(at..bytes.len().min(at + CHUNK_BYTES)));
        futures::stream::iter(chunks)
            .map(|chunk| self.put_once(&subject, HeaderMap::new(), chunk))
            .buffered(CHUNKS_IN_FLIGHT)
            .try_collect::<()>()
            .await
    }

    async fn put_once(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), BusError> {
        let request = Request::new().payload(payload).headers(headers);
        let within = self.options.deadline;
        self.ask(subject, request, within)
            .await
            .and_then(|answer| api::read::<Done>(&answer.payload))
            .map(drop)
            .map_err(|failure| failure.into_bus("storing a blob", within))
    }

    async fn put_description(
        &self,
        hash: ContentHash,
        nuid: &str,
        len: usize,
    ) -> Result<(), BusError> {
        let raw: Vec<u8> = raw_hash(hash);
        let description = json!({
            "name": hash.to_string(),
            "bucket": BUCKET,
            "nuid": nuid,
            "size": len,
            "mtime": SystemClock.now(),
            "chunks": len.div_ceil(CHUNK_BYTES),
            "digest": format!("SHA-256={}", URL_SAFE.encode(raw)),
            "options": { "max_chunk_size": CHUNK_BYTES },
        });
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        headers.insert(NATS_MESSAGE_ID, nuid);
        self.put_once(&meta_subject(hash), headers, description.to_string().into()).await
    }

    pub(super) async fn get_blob(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        let found = self.describe(hash).await?.ok_or(BusError::NoBlob { hash })?;
        let too_large = |len: u64| BusError::TooLarge {
            subject: format!("blob {hash}"),
            len: usize::try_from(len).unwrap_or(usize::MAX),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        if found.size > limit {
            return Err(too_large(found.size));
        }
        // What the description claims is not believed before the bytes are there.
        let mut bytes = BytesMut::new();
        let (subject, mut from) = (chunk_subject(&found.nuid), 1);
        for _ in 0..found.chunks {
            let (chunk, seq) = self.next_chunk(&subject, from).await?;
            from = seq + 1;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large((bytes.len() + chunk.len()) as u64));
            }
            bytes.extend_from_slice(&chunk);
        }
        let bytes = bytes.freeze();
        if content::hash(&bytes).await? != hash {
            return Err(BusError::Unavailable {
                what: format!("reading blob {hash}"),
                why: "what the store has is damaged".into(),
            });
        }
        Ok(bytes)
    }

    /// The first message on the subject from a sequence number on.
    async fn next_chunk(&self, subject: &str, from: u64) -> Result<(Bytes, u64), BusError> {
        let mut patience = Patience::new(self, "reading a blob", self.deadline());
        let operation = format!("$JS.API.DIRECT.GET.{}", Stored::Blobs.stream());
        let body = json!({ "seq": from, "next_by_subj": subject }).to_string();
        loop {
            let request = Request::new().payload(body.clone().into());
            let answer = self.ask(&operation, request, patience.try_timeout()).await;
            let failure = match answer {
                // A copy of the stream that lags behind has not seen it yet.
                Ok(message) if message.status.is_some() => Failure::Silent,
                Ok(message) => match sequence(&message) {
                    Some(seq) => return Ok((message.payload, seq)),
                    None => Failure::Unreadable { why: "the chunk has no number".into() },
                },
                Err(failure) => failure,
            };
            patience.pause(failure).await?;
        }
    }

    /// Looks a blob up; asks the stream's leader, who knows of everything acknowledged.
    async fn describe(&self, hash: ContentHash) -> Result<Option<Description>, BusError> {
        let mut patience = Patience::new(self, "looking up a blob", self.deadline());
        let operation = format!("STREAM.MSG.GET.{}", Stored::Blobs.stream());
        let body = json!({ "last_by_subj": meta_subject(hash) });
        loop {
            self.open()?;
            self.ensure(&Stored::Blobs, patience.until()).await?;
            let answer = self.call::<StoredMessage>(&operation, &body, patience.try_timeout());
            match answer.await {
                Ok(stored) => return describe(&stored.message),
                Err(failure) if failure.has_code(code::NO_MESSAGE) => return Ok(None),
                Err(failure) if failure.has_code(code::NO_STREAM) => {
                    self.forget_ensured();
                    patience.pause(Failure::Nobody).await?;
                }
                Err(failure) => patience.pause(failure).await?,
            }
        }
    }

    /// Removes the chunks of a blob that is replaced or was not stored. What is left behind when
    /// that fails ages out.
    async fn purge_chunks(&self, nuid: &str) {
        let operation = format!("STREAM.PURGE.{}", Stored::Blobs.stream());
        let body = json!({ "filter": chunk_subject(nuid) });
        let purged = self.call::<Done>(&operation, &body, self.try_timeout(self.deadline())).await;
        if let Err(error) = purged {
            tracing::debug!(nuid, ?error, "chunks of an unused blob are left behind");
        }
    }
}

fn describe(stored: &StoredBody) -> Result<Option<Description>, BusError> {
    let unreadable = || BusError::Unavailable {
        what: "looking up a blob".into(),
        why: "its description cannot be read".into(),
    };
    let text = STANDARD.decode(&stored.data).map_err(|_| unreadable())?;
    let info: ObjectInfo = serde_json::from_slice(&text).map_err(|_| unreadable())?;
    let ObjectInfo { nuid, size, chunks, deleted } = info;
    let stored_at = stored.time;
    Ok((!deleted).then_some(Description { nuid, size, chunks, stored_at }))
}

fn sequence(message: &async_nats::Message) -> Option<u64> {
    u64::from_str(message.headers.as_ref()?.get(NATS_SEQUENCE)?.as_str()).ok()
}

fn chunk_subject(nuid: &str) -> String {
    format!("$O.{BUCKET}.C.{nuid}")
}

fn meta_subject(hash: ContentHash) -> String {
    format!("$O.{BUCKET}.M.{}", URL_SAFE.encode(hash.to_string()))
}

/// The bytes behind the hexadecimal digits.
fn raw_hash(hash: ContentHash) -> Vec<u8> {
    let digits = hash.to_string();
    let pairs = digits.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
