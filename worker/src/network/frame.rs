//! Messages between peers: four bytes of length, then postcard. Bounded in size and in time.

use iroh::endpoint::{RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::timeout;

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// Larger than its kind may be.
    #[error("a message of {len} bytes where {max} are the most")]
    TooLarge {
        /// What was announced, bytes.
        len: usize,
        /// The bound, bytes.
        max: usize,
    },
    /// Not what it should be.
    #[error("what came is no message of this kind")]
    Garbage,
    /// Not whole in time.
    #[error("no whole message within {0:?}")]
    Slow(Duration),
}

impl Error {
    /// Whether the other side is to blame, and not the network.
    #[must_use]
    pub fn is_rude(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Garbage | Self::Slow(_))
    }
}

/// Sends one message, within `time`.
///
/// # Errors
/// [`Error::Broken`], [`Error::Slow`] when the other side does not take it in time.
pub async fn write<T: Serialize + Sync>(
    stream: &mut SendStream,
    message: &T,
    time: Duration,
) -> Result<(), Error> {
    let content =
        postcard::to_allocvec(message).map_err(|error| Error::Broken(error.to_string()))?;
    let len = u32::try_from(content.len()).map_err(|error| Error::Broken(error.to_string()))?;
    let bytes = [len.to_le_bytes().as_slice(), &content].concat();
    match timeout(time, stream.write_all(&bytes)).await {
        Ok(written) => written.map_err(|error| Error::Broken(error.to_string())),
        Err(_) => Err(Error::Slow(time)),
    }
}

/// Receives one message of at most `max` bytes, whole within `time`: a byte now and then is not enough.
///
/// # Errors
/// [`Error`].
pub async fn read<T: DeserializeOwned>(
    stream: &mut RecvStream,
    max: usize,
    time: Duration,
) -> Result<T, Error> {
    timeout(time, read_whole(stream, max)).await.map_err(|_| Error::Slow(time))?
}

async fn read_whole<T: DeserializeOwned>(stream: &mut RecvStream, max: usize) -> Result<T, Error> {
    let broken = |error: iroh::endpoint::ReadExactError| Error::Broken(error.to_string());
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.map_err(broken)?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if max < len {
        return Err(Error::TooLarge { len, max });
    }
    let mut content = vec![0; len];
    stream.read_exact(&mut content).await.map_err(broken)?;
    postcard::from_bytes(&content).map_err(|_| Error::Garbage)
}
