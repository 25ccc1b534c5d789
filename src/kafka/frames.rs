//! Reading request frames: memory for them is taken from budgets, and a client that does not send
//! what it has announced is given up.
//!
//! A frame of up to [`FRAME_OWN_BYTES`] costs its connection alone, so that a heartbeat or a fetch
//! never waits for the memory that others hold. A larger one takes its first part from one budget,
//! whole; what is beyond [`FRAME_PART_BYTES`] from another, whole, when that first part is there.
//! Nobody who holds some of a budget waits for more of the same, so they cannot wait for each
//! other, and a claim alone takes little from the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::ConnectionError;
use crate::limits::{
    FRAME_BYTES, FRAME_OWN_BYTES, FRAME_PART_BYTES, FRAME_RATE_BYTES, FRAME_READ_AHEAD_BYTES,
    FRAME_READ_MS,
};

/// Memory for the frames of all connections; clones share it.
#[derive(Debug, Clone)]
pub(super) struct FrameMemory {
    parts: Budget,
    rest: Budget,
}

impl FrameMemory {
    /// A quarter of the memory is for the frames' first parts.
    pub(super) fn new(bytes: usize) -> Self {
        Self { parts: Budget::new(bytes / 4), rest: Budget::new(bytes - bytes / 4) }
    }
}

/// So many bytes to be held at one time.
#[derive(Debug, Clone)]
struct Budget {
    semaphore: Arc<Semaphore>,
    bytes: u32,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self { semaphore: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Takes so many, or all that there are, as soon as they are free.
    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        match Arc::clone(&self.semaphore).acquire_many_owned(bytes).await {
            Ok(permit) => permit,
            // Never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A frame's memory, given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct FramePermits(Vec<OwnedSemaphorePermit>);

/// Reads the frames of one connection.
pub(super) struct FrameReader {
    read: OwnedReadHalf,
    memory: FrameMemory,
    /// Frames of this connection that are read or not yet answered, together no larger than the
    /// largest one.
    own: Budget,
    idle: Duration,
}

impl FrameReader {
    pub(super) fn new(read: OwnedReadHalf, memory: FrameMemory, idle: Duration) -> Self {
        Self { read, memory, own: Budget::new(FRAME_BYTES), idle }
    }

    /// Reads a frame, its size taken off; `None` when the client has left between two. An error
    /// when it has sent nothing for the idle time while nothing was under way for it.
    pub(super) async fn next(
        &mut self,
        under_way: impl Fn() -> bool,
    ) -> Result<Option<(Bytes, FramePermits)>, ConnectionError> {
        let mut prefix = [0; 4];
        let received = loop {
            match timeout(self.idle, self.read.read(&mut prefix)).await {
                Ok(received) => break received?,
                Err(_) if under_way() => {}
                Err(_) => return Err(ConnectionError::Idle(self.idle)),
            }
        };
        if received == 0 {
            return Ok(None);
        }
        let whole_prefix = self.read.read_exact(&mut prefix[received..]);
        match timeout(Duration::from_millis(FRAME_READ_MS), whole_prefix).await {
            Ok(read) => read?,
            Err(_) => return Err(ConnectionError::FrameTimeout { received, size: 4 }),
        };
        let claimed = i32::from_be_bytes(prefix);
        match usize::try_from(claimed).ok().filter(|size| *size <= FRAME_BYTES) {
            Some(size) => self.body(size).await.map(Some),
            None => Err(ConnectionError::FrameSize { size: claimed, hint: hint(prefix) }),
        }
    }

    async fn body(&mut self, size: usize) -> Result<(Bytes, FramePermits), ConnectionError> {
        let mut permits = FramePermits::default();
        let mut frame = BytesMut::new();
        if size > FRAME_OWN_BYTES {
            permits.0.push(self.own.take(size).await);
            permits.0.push(self.memory.parts.take(size.min(FRAME_PART_BYTES)).await);
        }
        // The time that memory was waited for is not the client's.
        let mut deadline = Instant::now() + time_for(size);
        self.fill(&mut frame, (size.min(FRAME_PART_BYTES), size), deadline).await?;
        if size > FRAME_PART_BYTES {
            let before = Instant::now();
            permits.0.push(self.memory.rest.take(size - FRAME_PART_BYTES).await);
            deadline += before.elapsed();
            self.fill(&mut frame, (size, size), deadline).await?;
        }
        Ok((frame.freeze(), permits))
    }

    /// Reads until `frame` has so many bytes of its size. It grows with the bytes that arrive, not
    /// with the size that is claimed.
    async fn fill(
        &mut self,
        frame: &mut BytesMut,
        (until, size): (usize, usize),
        deadline: Instant,
    ) -> Result<(), ConnectionError> {
        while frame.len() < until {
            let missing = until - frame.len();
            if frame.len() == frame.capacity() {
                frame.reserve(missing.min(FRAME_READ_AHEAD_BYTES.max(frame.len())));
            }
            let mut rest = (&mut self.read).take(missing as u64);
            let received = frame.len();
            let Ok(read) = timeout_at(deadline, rest.read_buf(frame)).await else {
                return Err(ConnectionError::FrameTimeout { received, size });
            };
            if read? == 0 {
                return Err(ConnectionError::Truncated { received, size });
            }
        }
        Ok(())
    }

    /// Resolves when the client has closed its side while we work for it. A client that has sent
    /// its next request already counts as there.
    pub(super) async fn closed(&mut self) {
        if !matches!(self.read.peek(&mut [0]).await, Ok(0)) {
            std::future::pending().await
        }
    }
}

/// How long a frame may take to arrive.
fn time_for(size: usize) -> Duration {
    Duration::from_millis(FRAME_READ_MS) + Duration::from_secs((size / FRAME_RATE_BYTES) as u64)
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
