//! Walks a request by its shape before anything is decoded.
//!
//! The decoder trusts array lengths: it allocates before it reads an element. The walker reads
//! every length first and refuses what the bytes that are left cannot hold, and what would take
//! far more memory decoded than on the wire.
//!
//! A shape is a line of letters: `b` 1 byte, `h` 2, `i` 4, `q` 8, `u` 16, `s` string, `y` bytes,
//! `[…]` array, `S`, `Y`, `{…}` the same with compact lengths, `t` tagged fields; `w` before an
//! array of elements that are large in memory.

/// What a decoded array element may take in memory beyond the bytes it refers to.
const ELEMENT: usize = 96;
/// The same for an element of an array that a `w` stands before.
const WIDE: usize = 128;
/// What the map of unknown tagged fields takes once it is not empty.
const TAGS: usize = 512;
/// What each field in it takes.
const TAG: usize = 96;
/// What decoding may take for a small frame.
const ALLOWANCE: usize = 768 * 1024;
/// What decoding may take for each byte of a frame.
const EXPANSION: usize = 3;

/// Why a frame is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeError {
    /// A length reaches beyond the end of the frame.
    #[error("a length reaches beyond the end of the frame")]
    Truncated,
    /// Decoding would take far more memory than the frame's size justifies.
    #[error("the frame has more elements than its size justifies")]
    Inflated,
}

/// Walks `frame` by `header` and then `body`, and tells how many bytes are left after them.
///
/// Those are no error: librdkafka leaves three after a request for the metadata of all topics
/// (it reserves four bytes for the length of the array, of which a null one needs a single one).
pub(crate) fn walk(frame: &[u8], header: &str, body: &str) -> Result<usize, ShapeError> {
    let mut walker =
        Walker { left: frame, budget: frame.len().saturating_mul(EXPANSION) + ALLOWANCE };
    walker.fields(header.as_bytes())?;
    walker.fields(body.as_bytes())?;
    Ok(walker.left.len())
}

struct Walker<'a> {
    left: &'a [u8],
    budget: usize,
}

impl Walker<'_> {
    fn fields(&mut self, shape: &[u8]) -> Result<(), ShapeError> {
        let mut at = 0;
        let mut element = ELEMENT;
        while let Some(field) = shape.get(at) {
            at += 1;
            match field {
                b'w' => element = WIDE,
                b'b' => self.skip(1)?,
                b'h' => self.skip(2)?,
                b'i' => self.skip(4)?,
                b'q' => self.skip(8)?,
                b'u' => self.skip(16)?,
                b's' => {
                    let length = self.short()?;
                    self.skip(length)?;
                }
                b'y' => {
                    let length = self.int()?;
                    self.skip(length)?;
                }
                b'S' | b'Y' => {
                    let length = self.compact()?;
                    self.skip(length)?;
                }
                b't' => self.tags()?,
                b'[' | b'{' => {
                    let inside = inside(&shape[at..]);
                    let count = if *field == b'[' { self.int()? } else { self.compact()? };
                    self.array(count, inside, std::mem::replace(&mut element, ELEMENT))?;
                    at += inside.len() + 1;
                }
                _ => return Err(ShapeError::Truncated),
            }
        }
        Ok(())
    }

    fn array(&mut self, count: usize, shape: &[u8], element: usize) -> Result<(), ShapeError> {
        // Every element takes at least a byte, so this also bounds the loop.
        if count > self.left.len() {
            return Err(ShapeError::Truncated);
        }
        self.charge(count.saturating_mul(element))?;
        for _ in 0..count {
            self.fields(shape)?;
        }
        Ok(())
    }

    fn tags(&mut self) -> Result<(), ShapeError> {
        let count = self.varint()?;
        if count > 0 {
            self.charge(count.saturating_mul(TAG).saturating_add(TAGS))?;
        }
        for _ in 0..count {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ShapeError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(ShapeError::Inflated)?;
        Ok(())
    }

    fn skip(&mut self, bytes: usize) -> Result<(), ShapeError> {
        self.left = self.left.get(bytes..).ok_or(ShapeError::Truncated)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ShapeError> {
        let (head, rest) = self.left.split_first_chunk::<N>().ok_or(ShapeError::Truncated)?;
        self.left = rest;
        Ok(*head)
    }

    /// An i16 length; a negative one is null, which is as long as empty.
    fn short(&mut self) -> Result<usize, ShapeError> {
        Ok(usize::try_from(i16::from_be_bytes(self.take()?)).unwrap_or(0))
    }

    fn int(&mut self) -> Result<usize, ShapeError> {
        Ok(usize::try_from(i32::from_be_bytes(self.take()?)).unwrap_or(0))
    }

    /// A compact length is stored plus one; 0 is null.
    fn compact(&mut self) -> Result<usize, ShapeError> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn varint(&mut self) -> Result<usize, ShapeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value as usize);
            }
        }
        Err(ShapeError::Truncated)
    }
}

/// The shape up to the bracket that closes the one just opened.
fn inside(shape: &[u8]) -> &[u8] {
    let mut depth = 0usize;
    for (at, field) in shape.iter().enumerate() {
        match field {
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return &shape[..at],
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_array_length_is_refused() {
        assert_eq!(walk(&[0x7f, 0xff, 0xff, 0xff], "", "[s]"), Err(ShapeError::Truncated));
    }

    #[test]
    fn many_empty_elements_are_refused_when_they_inflate_the_frame() {
        let mut frame = 1_000_000u32.to_be_bytes().to_vec();
        frame.extend(std::iter::repeat_n(0u8, 2_000_000));
        assert_eq!(walk(&frame, "", "[s]"), Err(ShapeError::Inflated));
    }

    #[test]
    fn ten_thousand_topics_of_short_names_are_not_too_many() {
        let mut frame = 10_000u32.to_be_bytes().to_vec();
        for topic in 0..10_000 {
            frame.extend([0, 6]);
            frame.extend(format!("t{topic:05}").bytes());
        }
        assert_eq!(walk(&frame, "", "[s]"), Ok(0));
    }

    #[test]
    fn wide_elements_weigh_more() {
        let mut frame = 8_000u32.to_be_bytes().to_vec();
        frame.extend([0; 16_000]);
        assert_eq!(walk(&frame, "", "[s]"), Ok(0));
        assert_eq!(walk(&frame, "", "w[s]"), Err(ShapeError::Inflated));
    }

    #[test]
    fn bytes_after_the_request_are_told_and_no_error() {
        assert_eq!(walk(&[0, 0, 1], "h", ""), Ok(1));
    }

    #[test]
    fn null_is_as_long_as_empty() {
        assert_eq!(walk(&[0xff, 0xff], "s", ""), Ok(0));
        assert_eq!(walk(&[0xff; 4], "[s]", ""), Ok(0));
        assert_eq!(walk(&[0, 0], "S{S}", ""), Ok(0));
    }
}
