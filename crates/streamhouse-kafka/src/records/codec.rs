//! Streaming decompressors for the codecs of the protocol.

use super::snappy;
use std::io::{Error, ErrorKind, Read, Result};

/// The largest window that a zstd frame may ask for: 2 to this power bytes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Opens compressed bytes for reading.
///
/// # Errors
/// The codec is not one of the protocol's, or cannot start.
pub(crate) fn open<'a>(codec: u8, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>> {
    Ok(match codec {
        0 => Box::new(bytes),
        1 => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        2 => Box::new(snappy::Snappy::new(bytes)),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        4 => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        other => {
            let message = format!("compression codec {other} does not exist");
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
    })
}
