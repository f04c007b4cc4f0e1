//! Walks records one by one, without building them.

use super::TraceHeaders;
use std::io::{BufRead, Error, ErrorKind, Result};

/// The longest header value that is of interest.
const MAX_VALUE: usize = 512;
/// The longest header key that is of interest.
const MAX_KEY: usize = 16;

/// A walk through plain records.
#[derive(Debug)]
pub(super) struct Walk<R> {
    plain: R,
}

impl<R: BufRead> Walk<R> {
    pub fn new(plain: R) -> Self {
        Self { plain }
    }

    /// Reads the next record's timestamp and offset, both relative to the batch's.
    pub fn deltas(&mut self) -> Result<(i64, i64)> {
        let length = usize::try_from(self.varint()?).map_err(|_| torn())?;
        let (attributes, mut read) = (1, 0);
        self.skip(attributes)?;
        let timestamp = self.counted(&mut read)?;
        let offset = self.counted(&mut read)?;
        self.skip(length.checked_sub(attributes + read).ok_or_else(torn)?)?;
        Ok((timestamp, offset))
    }

    /// Reads the next record's trace headers, if it has a `traceparent`.
    pub fn trace_headers(&mut self) -> Result<Option<TraceHeaders>> {
        self.varint()?; // length
        self.skip(1)?; // attributes
        self.varint()?; // timestamp
        self.varint()?; // offset
        self.skip_bytes()?; // key
        self.skip_bytes()?; // value
        let mut found = TraceHeaders::default();
        for _ in 0..self.varint()? {
            let key = self.bytes(MAX_KEY)?;
            match key.as_deref() {
                Some(b"traceparent") => {
                    found.traceparent = self.bytes(MAX_VALUE)?.unwrap_or_default();
                }
                Some(b"tracestate") => {
                    found.tracestate = self.bytes(MAX_VALUE)?.unwrap_or_default();
                }
                _ => self.skip_bytes()?,
            }
        }
        Ok((!found.traceparent.is_empty()).then_some(found))
    }

    /// Reads bytes with their length before them, `None` if they are longer than `limit`.
    fn bytes(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
        let length = usize::try_from(self.varint()?).unwrap_or(0);
        if length > limit {
            self.skip(length)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.plain.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Skips bytes with their length before them; a negative length is null.
    fn skip_bytes(&mut self) -> Result<()> {
        let length = self.varint()?;
        self.skip(usize::try_from(length).unwrap_or(0))
    }

    fn skip(&mut self, mut bytes: usize) -> Result<()> {
        while bytes > 0 {
            let ready = self.plain.fill_buf()?.len().min(bytes);
            if ready == 0 {
                return Err(torn());
            }
            self.plain.consume(ready);
            bytes -= ready;
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<i64> {
        self.counted(&mut 0)
    }

    /// Reads a zigzag varint and adds its length to `read`.
    fn counted(&mut self, read: &mut usize) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let mut byte = [0];
            self.plain.read_exact(&mut byte)?;
            *read += 1;
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(torn())
    }
}

fn torn() -> Error {
    Error::new(ErrorKind::InvalidData, "a record is torn")
}
