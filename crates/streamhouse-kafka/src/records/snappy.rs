//! Snappy, raw or in the framing of xerial's Java library, decompressed piece by piece.
//!
//! A raw block is meant to be decompressed at once, into as much memory as it claims. Here it is
//! read element by element, so that its first bytes cost no more than they are.

use std::io::{Error, ErrorKind, Read, Result};

const XERIAL: &[u8] = b"\x82SNAPPY\0";
/// Magic, version and compatible version.
const XERIAL_HEADER: usize = 16;

/// A reader of the plain bytes.
#[derive(Debug)]
pub(super) struct Snappy<'a> {
    /// Blocks that are not begun.
    blocks: &'a [u8],
    framed: bool,
    /// What is left of the block being read.
    block: &'a [u8],
    /// The block's plain bytes so far: copies refer back to them.
    plain: Vec<u8>,
    /// How many of them were given out.
    given: usize,
}

impl<'a> Snappy<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let framed = bytes.starts_with(XERIAL) && bytes.len() >= XERIAL_HEADER;
        let blocks = if framed { &bytes[XERIAL_HEADER..] } else { bytes };
        Self { blocks, framed, block: &[], plain: Vec::new(), given: 0 }
    }

    /// Begins the next block, if there is one.
    fn next_block(&mut self) -> Result<bool> {
        if self.blocks.is_empty() {
            return Ok(false);
        }
        let block = if self.framed {
            let (length, rest) = self.blocks.split_first_chunk::<4>().ok_or_else(torn)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, rest) = rest.split_at_checked(length).ok_or_else(torn)?;
            self.blocks = rest;
            block
        } else {
            std::mem::take(&mut self.blocks)
        };
        // The plain length is only a claim; nothing is allocated for it.
        let length = block.iter().take(5).position(|byte| byte & 0x80 == 0).ok_or_else(torn)?;
        self.block = &block[length + 1..];
        self.plain.clear();
        self.given = 0;
        Ok(true)
    }

    fn element(&mut self) -> Result<()> {
        let [tag] = self.take::<1>()?;
        let six = usize::from(tag >> 2);
        match tag & 3 {
            0 => self.literal(six),
            1 => {
                let [low] = self.take::<1>()?;
                self.copy(usize::from(tag >> 5) << 8 | usize::from(low), 4 + (six & 7))
            }
            2 => {
                let offset = u16::from_le_bytes(self.take()?);
                self.copy(usize::from(offset), six + 1)
            }
            _ => {
                let offset = u32::from_le_bytes(self.take()?);
                self.copy(offset as usize, six + 1)
            }
        }
    }

    fn literal(&mut self, six: usize) -> Result<()> {
        let length = match six {
            0..60 => six,
            60 => usize::from(self.take::<1>()?[0]),
            61 => usize::from(u16::from_le_bytes(self.take()?)),
            62 => {
                let [a, b, c] = self.take()?;
                u32::from_le_bytes([a, b, c, 0]) as usize
            }
            _ => u32::from_le_bytes(self.take()?) as usize,
        };
        let (literal, rest) = self.block.split_at_checked(length + 1).ok_or_else(torn)?;
        self.plain.extend_from_slice(literal);
        self.block = rest;
        Ok(())
    }

    fn copy(&mut self, offset: usize, length: usize) -> Result<()> {
        let from = self.plain.len().checked_sub(offset).ok_or_else(torn)?;
        if offset == 0 {
            return Err(torn());
        }
        // Byte by byte: a copy may go on into what it has just written.
        for place in from..from + length {
            self.plain.push(self.plain[place]);
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.block.split_first_chunk::<N>().ok_or_else(torn)?;
        self.block = rest;
        Ok(*head)
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.given == self.plain.len() {
            if !self.block.is_empty() {
                self.element()?;
            } else if !self.next_block()? {
                return Ok(0);
            }
        }
        let ready = &self.plain[self.given..];
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }
}

fn torn() -> Error {
    Error::new(ErrorKind::InvalidData, "a snappy block is torn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000u32).flat_map(|n| format!("record {} of many;", n % 977).into_bytes()).collect()
    }

    fn plain(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        Snappy::new(bytes).read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn a_raw_block_is_read_as_the_library_reads_it() {
        let raw = snap::raw::Encoder::new().compress_vec(&text()).unwrap();
        assert_eq!(plain(&raw).unwrap(), text());
    }

    #[test]
    fn blocks_in_xerial_framing_are_read_one_after_another() {
        let mut framed = XERIAL.to_vec();
        framed.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for chunk in text().chunks(32 * 1024) {
            let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
            framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            framed.extend(block);
        }
        assert_eq!(plain(&framed).unwrap(), text());
    }

    #[test]
    fn a_torn_block_is_an_error_at_every_length() {
        let raw = snap::raw::Encoder::new().compress_vec(&text()[..2_000]).unwrap();
        for length in 1..raw.len() {
            let read = plain(&raw[..length]);
            assert!(read.is_err() || read.unwrap().len() < 2_000, "at {length}");
        }
    }

    #[test]
    fn a_copy_from_before_the_beginning_is_an_error() {
        assert!(plain(&[10, 0b0000_0001, 5]).is_err());
        assert!(plain(&[10, 0, b'a', 0b0000_0001, 0]).is_err());
    }
}
