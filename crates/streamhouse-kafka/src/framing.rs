//! Frames: a length and a body. A body is read only once there is memory for it.

use crate::config::BrokerConfig;
use crate::error::KafkaError;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::spans::Arrival;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The smallest body: key, version and correlation id.
const MIN_BODY: usize = 8;
/// How many bytes a second a client must manage beyond the fixed timeout.
const MIN_RATE: usize = 1 << 20;

/// The memory for frames: a number of bytes that are shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    memory: Arc<Semaphore>,
    max_frame: usize,
    timeout: Duration,
}

/// A frame's bytes with the permit for them, which ends with the last slice.
struct Admitted {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Admission {
    pub fn new(config: &BrokerConfig) -> Self {
        let max_frame = config.max_frame_bytes.clamp(MIN_BODY, i32::MAX as usize);
        let memory = config.request_memory.clamp(max_frame, Semaphore::MAX_PERMITS);
        Self { memory: Arc::new(Semaphore::new(memory)), max_frame, timeout: config.read_timeout }
    }

    /// Reads the next frame's length.
    ///
    /// # Errors
    /// The socket failed or the length is out of bounds. `None`: the client closed the connection.
    pub async fn length<R: AsyncRead + Unpin>(
        &self,
        socket: &mut R,
    ) -> Result<Option<usize>, KafkaError> {
        let mut first = [0];
        if socket.read(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut rest = [0; 3];
        deadline("send a length", self.timeout, socket.read_exact(&mut rest)).await?;
        let size = i32::from_be_bytes([first[0], rest[0], rest[1], rest[2]]);
        usize::try_from(size)
            .ok()
            .filter(|length| (MIN_BODY..=self.max_frame).contains(length))
            .map(Some)
            .ok_or(KafkaError::FrameSize { size, limit: self.max_frame })
    }

    /// Waits for memory and reads a body of `length` bytes into it. The memory is free again when
    /// the last slice of the returned bytes is dropped.
    ///
    /// # Errors
    /// The socket failed, or the body does not come in time.
    pub async fn body<R: AsyncRead + Unpin>(
        &self,
        socket: &mut R,
        length: usize,
    ) -> Result<(Bytes, Arrival), KafkaError> {
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        let permit = self.memory.clone().acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        let arrival = Arrival::now();
        let mut body = vec![0; length];
        let timeout = allowance(self.timeout, length);
        deadline("send a frame", timeout, socket.read_exact(&mut body)).await?;
        Ok((Bytes::from_owner(Admitted { body, _permit: permit }), arrival))
    }

    /// Bytes that are free.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.memory.available_permits()
    }
}

/// How long `bytes` may take.
pub(crate) fn allowance(fixed: Duration, bytes: usize) -> Duration {
    fixed + Duration::from_secs((bytes / MIN_RATE) as u64)
}

/// Runs `io` under a deadline.
pub(crate) async fn deadline<T>(
    what: &'static str,
    limit: Duration,
    io: impl Future<Output = std::io::Result<T>>,
) -> Result<T, KafkaError> {
    match tokio::time::timeout(limit, io).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(KafkaError::TooSlow(what, limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn admission(memory: usize) -> Admission {
        Admission::new(&BrokerConfig {
            max_frame_bytes: 100,
            request_memory: memory,
            read_timeout: Duration::from_secs(1),
            ..BrokerConfig::default()
        })
    }

    #[tokio::test]
    async fn memory_is_free_again_when_the_last_slice_is_dropped() {
        let admission = admission(100);
        let (frame, _) = admission.body(&mut &[7; 100][..], 100).await.unwrap();
        let slice = frame.slice(40..42);
        drop(frame);
        assert_eq!(admission.free(), 0);
        drop(slice);
        assert_eq!(admission.free(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn without_memory_the_socket_is_not_read() {
        let admission = admission(100);
        let held = admission.body(&mut &[7; 60][..], 60).await.unwrap();
        let mut socket = &[8; 60][..];
        let waiting =
            tokio::time::timeout(Duration::from_secs(600), admission.body(&mut socket, 60));
        assert!(waiting.await.is_err());
        assert_eq!(socket.len(), 60);
        drop(held);
        assert!(admission.body(&mut socket, 60).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_gives_its_memory_back() {
        let admission = admission(100);
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(&[1, 2, 3]).await.unwrap();
        let read = admission.body(&mut server, 50).await;
        assert!(matches!(read, Err(KafkaError::TooSlow(..))));
        assert_eq!(admission.free(), 100);
    }

    #[tokio::test]
    async fn lengths_outside_the_bounds_are_refused() {
        let admission = admission(100);
        for size in [-1, 0, 7, 101, i32::MAX, i32::MIN] {
            let read = admission.length(&mut &size.to_be_bytes()[..]).await;
            assert!(matches!(read, Err(KafkaError::FrameSize { .. })), "{size}");
        }
        assert_eq!(admission.length(&mut &100i32.to_be_bytes()[..]).await.unwrap(), Some(100));
        assert_eq!(admission.length(&mut &[][..]).await.unwrap(), None);
    }
}
