//! Walks OTLP metrics before they are decoded.
//!
//! The decoder turns an empty submessage of two bytes into a whole structure, so a small body can
//! ask for much memory. The walker counts submessages and strings first, data points among them,
//! and refuses what nests deeper than metrics do.

/// The deepest nesting: metrics need eight levels, and values of attributes may nest.
const DEPTH: usize = 20;

/// A message of the protocol: which of its fields hold messages, and whether it is a data point.
struct Shape {
    point: bool,
    inside: &'static [(u64, &'static Shape)],
}

const fn shape(inside: &'static [(u64, &'static Shape)]) -> Shape {
    Shape { point: false, inside }
}

const fn point(inside: &'static [(u64, &'static Shape)]) -> Shape {
    Shape { point: true, inside }
}

static METRICS: Shape = shape(&[(1, &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Shape = shape(&[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
static RESOURCE: Shape = shape(&[(1, &ATTRIBUTE), (3, &LEAF)]);
static SCOPE_METRICS: Shape = shape(&[(1, &SCOPE), (2, &METRIC)]);
static SCOPE: Shape = shape(&[(3, &ATTRIBUTE)]);
static METRIC: Shape = shape(&[
    (5, &NUMBERS),
    (7, &NUMBERS),
    (9, &HISTOGRAMS),
    (10, &EXPONENTIALS),
    (11, &SUMMARIES),
    (12, &ATTRIBUTE),
]);
static NUMBERS: Shape = shape(&[(1, &NUMBER)]);
static NUMBER: Shape = point(&[(5, &EXEMPLAR), (7, &ATTRIBUTE)]);
static HISTOGRAMS: Shape = shape(&[(1, &HISTOGRAM)]);
static HISTOGRAM: Shape = point(&[(8, &EXEMPLAR), (9, &ATTRIBUTE)]);
static EXPONENTIALS: Shape = shape(&[(1, &EXPONENTIAL)]);
static EXPONENTIAL: Shape = point(&[(1, &ATTRIBUTE), (8, &LEAF), (9, &LEAF), (11, &EXEMPLAR)]);
static SUMMARIES: Shape = shape(&[(1, &SUMMARY)]);
static SUMMARY: Shape = point(&[(6, &LEAF), (7, &ATTRIBUTE)]);
static EXEMPLAR: Shape = shape(&[(7, &ATTRIBUTE)]);
static ATTRIBUTE: Shape = shape(&[(2, &VALUE)]);
static VALUE: Shape = shape(&[(5, &VALUES), (6, &ATTRIBUTES)]);
static VALUES: Shape = shape(&[(1, &VALUE)]);
static ATTRIBUTES: Shape = shape(&[(1, &ATTRIBUTE)]);
static LEAF: Shape = shape(&[]);

/// Why a body is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkError {
    /// A field reaches beyond its message, or is of a kind that the protocol does not have.
    Torn,
    /// Values nest too deeply.
    TooDeep,
    /// There are more submessages and strings than so many data points justify.
    TooMany,
}

/// Walks `body` and counts its data points; at most `items` submessages and strings are allowed.
pub(super) fn points(body: &[u8], items: usize) -> Result<usize, WalkError> {
    let mut walker = Walker { points: 0, items };
    walker.message(body, &METRICS, DEPTH)?;
    Ok(walker.points)
}

struct Walker {
    points: usize,
    /// Submessages and strings that may still come.
    items: usize,
}

impl Walker {
    fn message(&mut self, body: &[u8], shape: &Shape, depth: usize) -> Result<(), WalkError> {
        let mut left = body;
        while !left.is_empty() {
            let key = varint(&mut left)?;
            match key & 7 {
                0 => {
                    varint(&mut left)?;
                }
                1 => {
                    skip(&mut left, 8)?;
                }
                5 => {
                    skip(&mut left, 4)?;
                }
                2 => {
                    let length = usize::try_from(varint(&mut left)?);
                    let inner = skip(&mut left, length.map_err(|_| WalkError::Torn)?)?;
                    self.items = self.items.checked_sub(1).ok_or(WalkError::TooMany)?;
                    let known = shape.inside.iter().find(|(field, _)| *field == key >> 3);
                    if let Some((_, shape)) = known {
                        self.points += usize::from(shape.point);
                        let depth = depth.checked_sub(1).ok_or(WalkError::TooDeep)?;
                        self.message(inner, shape, depth)?;
                    }
                }
                _ => return Err(WalkError::Torn),
            }
        }
        Ok(())
    }
}

fn varint(left: &mut &[u8]) -> Result<u64, WalkError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first().ok_or(WalkError::Torn)?;
        *left = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WalkError::Torn)
}

fn skip<'a>(left: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], WalkError> {
    let (skipped, rest) = left.split_at_checked(bytes).ok_or(WalkError::Torn)?;
    *left = rest;
    Ok(skipped)
}
