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
    /// How long a small frame may take.
    patience: Duration,
}

impl FrameReader {
    pub(super) fn new(read: OwnedReadHalf, memory: FrameMemory, idle: Duration) -> Self {
        let patience = Duration::from_millis(FRAME_READ_MS);
        Self { read, memory, own: Budget::new(FRAME_BYTES), idle, patience }
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
        match timeout(self.patience, whole_prefix).await {
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
        let time = self.patience + Duration::from_secs((size / FRAME_RATE_BYTES) as u64);
        let mut deadline = Instant::now() + time;
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn connected(memory: &FrameMemory) -> (TcpStream, FrameReader) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (read, _write) = server.into_split();
        (client, FrameReader::new(read, memory.clone(), LONG))
    }

    fn frame(size: usize) -> Vec<u8> {
        let mut frame = u32::try_from(size).unwrap().to_be_bytes().to_vec();
        frame.resize(4 + size, 7);
        frame
    }

    fn free(memory: &FrameMemory) -> (usize, usize) {
        let free = |budget: &Budget| budget.semaphore.available_permits();
        (free(&memory.parts), free(&memory.rest))
    }

    #[tokio::test]
    async fn a_frame_holds_its_memory_and_a_small_one_none() {
        let memory = FrameMemory::new(8 * FRAME_PART_BYTES);
        let all = free(&memory);
        for size in [0, FRAME_OWN_BYTES, FRAME_OWN_BYTES + 1, FRAME_PART_BYTES + 5] {
            let (mut client, mut frames) = connected(&memory).await;
            let sent = tokio::spawn(async move {
                client.write_all(&frame(size)).await.unwrap();
                client
            });
            let (read, permits) = frames.next(|| false).await.unwrap().unwrap();
            assert_eq!(read, frame(size)[4..]);
            let part = if size > FRAME_OWN_BYTES { size.min(FRAME_PART_BYTES) } else { 0 };
            let rest = size.saturating_sub(FRAME_PART_BYTES);
            assert_eq!(free(&memory), (all.0 - part, all.1 - rest), "{size}");
            drop(permits);
            assert_eq!(free(&memory), all);
            drop(sent.await.unwrap());
            assert!(frames.next(|| false).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_frame_that_does_not_come_is_given_up() {
        let memory = FrameMemory::new(8 * FRAME_PART_BYTES);
        let all = free(&memory);
        for (sent, size) in [(2, 4), (4 + 10, 100), (4 + 20_000, 30_000)] {
            let (mut client, mut frames) = connected(&memory).await;
            frames.patience = Duration::from_millis(100);
            let bytes = if size == 4 { vec![0; sent] } else { frame(size)[..sent].to_vec() };
            client.write_all(&bytes).await.unwrap();
            let error = frames.next(|| false).await.err().unwrap();
            assert!(error.is_slowness(), "{error}");
            assert!(error.to_string().contains(&format!("of {size} bytes")), "{error}");
            assert_eq!(free(&memory), all);
        }
    }

    #[tokio::test]
    async fn a_claim_takes_no_memory_beyond_its_first_part() {
        let memory = FrameMemory::new(8 * FRAME_PART_BYTES);
        let all = free(&memory);
        let (mut client, mut frames) = connected(&memory).await;
        client.write_all(&frame(5 * FRAME_PART_BYTES)[..40_000]).await.unwrap();
        let reading = tokio::spawn(async move { frames.next(|| false).await.map(drop) });
        while free(&memory) == all {
            tokio::task::yield_now().await;
        }
        assert_eq!(free(&memory), (all.0 - FRAME_PART_BYTES, all.1));
        drop(client);
        let error = reading.await.unwrap().unwrap_err();
        assert!(matches!(error, ConnectionError::Truncated { .. }), "{error}");
        assert_eq!(free(&memory), all);
    }

    #[tokio::test]
    async fn who_sends_nothing_is_idle_unless_something_is_under_way() {
        let memory = FrameMemory::new(8 * FRAME_PART_BYTES);
        let (_client, mut frames) = connected(&memory).await;
        frames.idle = Duration::from_millis(10);
        let looks = std::cell::Cell::new(0);
        let under_way = || looks.replace(looks.get() + 1) < 3;
        let error = frames.next(under_way).await.err().unwrap();
        assert!(matches!(error, ConnectionError::Idle(_)), "{error}");
        assert_eq!(looks.get(), 4);
    }
}
