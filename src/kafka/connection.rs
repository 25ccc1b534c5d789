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

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::api::ApiKey;
use super::dispatch::{Call, dispatch};
use super::header::RequestHeader;
use super::service::Context;
use super::wire::WireError;
use super::writer::Segments;
use crate::limits::{
    CONNECTION_PIPELINE_REQUESTS, FRAME_BYTES, FRAME_READ_AHEAD_BYTES, FRAME_READ_MS, WRITE_MS,
};

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
    #[error("a frame of {size} bytes was not complete after {FRAME_READ_MS} ms")]
    FrameTimeout { size: usize },
    /// A client that does not take its response.
    #[error("the client took nothing of a response for {WRITE_MS} ms")]
    WriteTimeout,
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
    /// The request's bytes, counted until then.
    _bytes: OwnedSemaphorePermit,
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
    let reading = read_requests(read, context, queue, stop);
    let writing = write_responses(write, responses);
    tokio::try_join!(reading, writing)?;
    Ok(())
}

async fn read_requests(
    mut read: OwnedReadHalf,
    context: &Context,
    queue: mpsc::Sender<Queued>,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectionError> {
    let places = Arc::new(Semaphore::new(CONNECTION_PIPELINE_REQUESTS));
    let mut stop = pin!(stop);
    loop {
        let frame = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            frame = read_frame(&mut read, &context.request_bytes) => frame?,
        };
        let Some((frame, bytes)) = frame else { return Ok(()) };
        let (header, body) = RequestHeader::decode(frame)?;
        let place = match header.api_key == ApiKey::Produce.key() {
            true => Arc::clone(&places).acquire_owned().await,
            // All places: everything before it has been answered.
            false => Arc::clone(&places).acquire_many_owned(PLACES).await,
        };
        let Ok(place) = place else { return Ok(()) };
        let response = tokio::select! {
            biased;
            call = dispatch(context, header, body) => match call? {
                Call::Done(response) => Box::pin(std::future::ready(Ok(Some(response)))),
                Call::Pending(response) => response,
            },
            () = closed(&mut read) => return Ok(()),
        };
        let queued = Queued { response, _place: place, _bytes: bytes };
        if queue.send(queued).await.is_err() {
            // The writer has ended and says why.
            return Ok(());
        }
    }
}

const PLACES: u32 = CONNECTION_PIPELINE_REQUESTS as u32;

async fn write_responses(
    mut write: OwnedWriteHalf,
    mut responses: mpsc::Receiver<Queued>,
) -> Result<(), ConnectionError> {
    while let Some(Queued { response, _place, _bytes }) = responses.recv().await {
        if let Some(mut segments) = response.await? {
            while segments.has_remaining() {
                let written = write.write_buf(&mut segments);
                match tokio::time::timeout(Duration::from_millis(WRITE_MS), written).await {
                    Ok(written) => written?,
                    Err(_) => return Err(ConnectionError::WriteTimeout),
                };
            }
        }
    }
    Ok(())
}

/// Reads a frame, its size taken off; `None` when the client has left between two. Memory grows
/// with the bytes that arrive, not with the size that is claimed.
async fn read_frame(
    read: &mut OwnedReadHalf,
    request_bytes: &Arc<Semaphore>,
) -> Result<Option<(Bytes, OwnedSemaphorePermit)>, ConnectionError> {
    let mut prefix = [0; 4];
    match read.read(&mut prefix).await? {
        0 => return Ok(None),
        received => {
            read.read_exact(&mut prefix[received..]).await?;
        }
    }
    let claimed = i32::from_be_bytes(prefix);
    let size = usize::try_from(claimed).ok().filter(|size| *size <= FRAME_BYTES);
    let Some(size) = size else {
        return Err(ConnectionError::FrameSize { size: claimed, hint: hint(prefix) });
    };
    let frame = async {
        let mut frame = BytesMut::new();
        let mut permit = reserve(request_bytes, 0).await?;
        while frame.len() < size {
            if frame.len() == frame.capacity() {
                // Counted as it grows: a claim alone takes nothing from the others.
                let step = (size - frame.len()).min(FRAME_READ_AHEAD_BYTES.max(frame.len()));
                permit.merge(reserve(request_bytes, step).await?);
                frame.reserve(step);
            }
            let missing = (size - frame.len()) as u64;
            if (&mut *read).take(missing).read_buf(&mut frame).await? == 0 {
                return Err(ConnectionError::Truncated { received: frame.len(), size });
            }
        }
        Ok((frame.freeze(), permit))
    };
    match tokio::time::timeout(Duration::from_millis(FRAME_READ_MS), frame).await {
        Ok(frame) => frame.map(Some),
        Err(_) => Err(ConnectionError::FrameTimeout { size }),
    }
}

async fn reserve(
    request_bytes: &Arc<Semaphore>,
    bytes: usize,
) -> Result<OwnedSemaphorePermit, ConnectionError> {
    let count = u32::try_from(bytes).unwrap_or(u32::MAX);
    let permit = Arc::clone(request_bytes).acquire_many_owned(count).await;
    permit.map_err(|closed| ConnectionError::Io(io::Error::other(closed)))
}

/// What the first bytes of another protocol look like as a size.
fn hint(prefix: [u8; 4]) -> &'static str {
    match &prefix {
        [0x16, 0x03, ..] => "; this looks like TLS, and the port speaks plain text",
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"PRI " => {
            "; this looks like HTTP, and the port speaks Kafka's protocol"
        }
        _ => "",
    }
}

/// Resolves when the client has closed its side while we work for it. A client that has sent its
/// next request already counts as there.
async fn closed(read: &mut OwnedReadHalf) {
    if !matches!(read.peek(&mut [0]).await, Ok(0)) {
        std::future::pending().await
    }
}
