//! One connection: frames in, responses out in the order of the requests.
//!
//! Requests are handled one after the other, as Kafka does, with one exception: while a Produce
//! request waits for the disk the next Produce may begin, so that one connection can fill the
//! committer's groups.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::api::ApiKey;
use super::dispatch::{Call, dispatch};
use super::frames::{FramePermits, FrameReader};
use super::header::RequestHeader;
use super::service::Context;
use super::wire::WireError;
use super::writer::Segments;
use crate::broker::AnswerMemory;
use crate::limits::{CONNECTION_PIPELINE_REQUESTS, FRAME_BYTES, WRITE_MS, WRITE_SHORT_MS};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client left in the middle of a frame.
    #[error("the client left after {received} of {size} bytes of a frame")]
    Truncated { received: usize, size: usize },
    /// Not a size that a frame may have.
    #[error("frame of {size} bytes, at most {FRAME_BYTES} are allowed{hint}")]
    FrameSize { size: i32, hint: &'static str },
    /// A frame that does not come to its end.
    #[error("the client was too slow: {received} of {size} bytes of a frame had come")]
    FrameTimeout { received: usize, size: usize },
    /// Nothing has happened for the idle time.
    #[error("nothing has happened on it for {0:?}")]
    Idle(Duration),
    /// A client that does not take its response.
    #[error("the client took nothing of a response for {stalled_ms} ms")]
    WriteTimeout { stalled_ms: u64 },
    /// A request that cannot be read.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// An API that we do not speak.
    #[error("api {key} is not supported")]
    UnsupportedApi { key: i16 },
    /// A version that we do not speak.
    #[error("{api:?} version {version} is not supported")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    /// A Produce request without an answer failed; closing is the only way to say so.
    #[error("a produce request with acks=0 failed: {0}")]
    Unacknowledged(String),
}

impl ConnectionError {
    /// Whether the client was too slow for what it had begun.
    pub(super) fn is_slowness(&self) -> bool {
        matches!(self, Self::FrameTimeout { .. } | Self::WriteTimeout { .. })
    }

    /// Whether the client merely went away.
    pub(super) fn is_disconnect(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

/// A response that may still be waiting for the disk.
pub(super) type PendingResponse =
    Pin<Box<dyn Future<Output = Result<Option<Segments>, ConnectionError>> + Send>>;

struct Queued {
    response: PendingResponse,
    /// The request's place in the pipeline, given back when its response is written.
    _place: OwnedSemaphorePermit,
    /// The memory of the request's frame, held until then.
    _memory: FramePermits,
    /// The memory of a long response, held until it is written.
    _answer: Option<AnswerMemory>,
}

/// Serves a connection until the client leaves, sends what it must not, or `stop`.
pub(super) async fn serve(
    stream: TcpStream,
    context: &Context,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (queue, responses) = mpsc::channel(CONNECTION_PIPELINE_REQUESTS);
    let frames = FrameReader::new(read, context.frame_memory.clone(), context.idle);
    let reading = read_requests(frames, context, queue, stop);
    let writing = write_responses(write, responses, || context.broker.reads_wait());
    tokio::try_join!(reading, writing)?;
    Ok(())
}

async fn read_requests(
    mut frames: FrameReader,
    context: &Context,
    queue: mpsc::Sender<Queued>,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectionError> {
    let places = Arc::new(Semaphore::new(CONNECTION_PIPELINE_REQUESTS));
    let under_way = || places.available_permits() < CONNECTION_PIPELINE_REQUESTS;
    let mut stop = pin!(stop);
    loop {
        let frame = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            frame = frames.next(under_way) => frame?,
        };
        let Some((frame, memory)) = frame else { return Ok(()) };
        let (header, body) = RequestHeader::decode(frame)?;
        let place = match header.api_key == ApiKey::Produce.key() {
            true => Arc::clone(&places).acquire_owned().await,
            // All places: everything before it has been answered.
            false => Arc::clone(&places).acquire_many_owned(PLACES).await,
        };
        let Ok(place) = place else { return Ok(()) };
        let (response, answer) = tokio::select! {
            biased;
            call = dispatch(context, header, body) => match call? {
                Call::Done(response, memory) => {
                    let response: PendingResponse =
                        Box::pin(std::future::ready(Ok(Some(response))));
                    (response, memory)
                }
                Call::Pending(response) => (response, None),
            },
            () = frames.closed() => return Ok(()),
        };
        let queued = Queued { response, _place: place, _memory: memory, _answer: answer };
        if queue.send(queued).await.is_err() {
            // The writer has ended and says why.
            return Ok(());
        }
    }
}

const PLACES: u32 = CONNECTION_PIPELINE_REQUESTS as u32;

/// Writes responses in the order of their requests; those that are ready together go out together.
async fn write_responses(
    mut write: OwnedWriteHalf,
    mut responses: mpsc::Receiver<Queued>,
    memory_is_short: impl Fn() -> bool,
) -> Result<(), ConnectionError> {
    let mut waiting = None;
    loop {
        let first = match waiting.take() {
            Some(queued) => Some(queued),
            None => responses.recv().await,
        };
        let Some(mut first) = first else { return Ok(()) };
        let mut segments = (&mut first.response).await?.unwrap_or_default();
        let mut answered = vec![first];
        let mut failed = None;
        while let Ok(mut queued) = responses.try_recv() {
            match (&mut queued.response).now_or_never() {
                Some(Ok(more)) => {
                    segments.extend(more.unwrap_or_default());
                    answered.push(queued);
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                None => {
                    waiting = Some(queued);
                    break;
                }
            }
        }
        write_out(&mut write, segments, &memory_is_short).await?;
        failed.map_or(Ok(()), Err)?;
        // Their places and memory are free for others.
        drop(answered);
    }
}

async fn write_out(
    write: &mut OwnedWriteHalf,
    mut segments: Segments,
    memory_is_short: impl Fn() -> bool,
) -> Result<(), ConnectionError> {
    let mut stalled_ms = 0;
    while segments.has_remaining() {
        let written = write.write_buf(&mut segments);
        match timeout(Duration::from_millis(WRITE_SHORT_MS), written).await {
            Ok(written) => {
                written?;
                stalled_ms = 0;
            }
            Err(_) => stalled_ms += WRITE_SHORT_MS,
        }
        if stalled_ms >= WRITE_MS || stalled_ms > 0 && memory_is_short() {
            return Err(ConnectionError::WriteTimeout { stalled_ms });
        }
    }
    Ok(())
}
