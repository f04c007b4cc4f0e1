//! Outcomes as text, so that a commit can be answered again.
//!
//! Words separated by spaces, one per batch or run of batches: `c100*3` three batches committed
//! from offset 100 on, `d7` a duplicate, `p` unknown partition, `o9` out of order (9 expected),
//! `f` a forgotten duplicate, `u` unknown producer, `e` a superseded epoch, `s5` below floor 5.

use crate::error::MetadataError;
use crate::types::{Batch, BatchOutcome, Rejection, Segment};
use std::fmt::Write as _;

fn batches(segment: &Segment) -> impl Iterator<Item = &Batch> {
    segment.blocks.iter().flat_map(|block| &block.batches)
}

/// Writes the outcomes of `segment`'s batches.
pub(crate) fn encode(segment: &Segment, outcomes: &[BatchOutcome]) -> String {
    let mut text = String::new();
    let mut run: Option<(i64, i64, u32)> = None;
    for (batch, outcome) in batches(segment).zip(outcomes) {
        if let BatchOutcome::Committed(offset) = *outcome {
            let next = offset.saturating_add(i64::from(batch.records));
            run = match run {
                Some((first, expected, count)) if expected == offset => {
                    Some((first, next, count + 1))
                }
                other => {
                    close(&mut text, other);
                    Some((offset, next, 1))
                }
            };
            continue;
        }
        close(&mut text, run.take());
        // Writing to a string cannot fail.
        let _ = match *outcome {
            BatchOutcome::Committed(_) => Ok(()),
            BatchOutcome::Duplicate(offset) => write!(text, "d{offset} "),
            BatchOutcome::Rejected(reason) => match reason {
                Rejection::UnknownPartition => write!(text, "p "),
                Rejection::OutOfOrder { expected } => write!(text, "o{expected} "),
                Rejection::ForgottenDuplicate => write!(text, "f "),
                Rejection::UnknownProducer => write!(text, "u "),
                Rejection::Fenced => write!(text, "e "),
                Rejection::StaleSegment { floor_ms } => write!(text, "s{floor_ms} "),
            },
        };
    }
    close(&mut text, run);
    text.truncate(text.trim_end().len());
    text
}

fn close(text: &mut String, run: Option<(i64, i64, u32)>) {
    if let Some((first, _, count)) = run {
        let _ = write!(text, "c{first}*{count} ");
    }
}

/// Reads the outcomes of `segment`'s batches. Without a text they are no longer kept: the segment
/// was committed, and what became of each batch is not known any more.
///
/// # Errors
/// [`MetadataError::Corrupt`]: the text does not fit the segment.
pub(crate) fn decode(
    segment: &Segment,
    text: Option<&str>,
) -> Result<Vec<BatchOutcome>, MetadataError> {
    let corrupt = |what: &str| {
        MetadataError::Corrupt(format!("outcomes of segment {} are unreadable: {what}", segment.id))
    };
    let mut batches = batches(segment);
    let Some(text) = text else {
        return Ok(batches
            .map(|_| BatchOutcome::Rejected(Rejection::ForgottenDuplicate))
            .collect());
    };
    let mut outcomes = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (kind, rest) = word.split_at_checked(1).ok_or_else(|| corrupt(word))?;
        let number = || rest.parse::<i64>().map_err(|_| corrupt(word));
        if kind == "c" {
            let (first, count) = rest.split_once('*').ok_or_else(|| corrupt(word))?;
            let mut offset = first.parse::<i64>().map_err(|_| corrupt(word))?;
            for _ in 0..count.parse::<u32>().map_err(|_| corrupt(word))? {
                let batch = batches.next().ok_or_else(|| corrupt("too many"))?;
                outcomes.push(BatchOutcome::Committed(offset));
                offset = offset.saturating_add(i64::from(batch.records));
            }
            continue;
        }
        batches.next().ok_or_else(|| corrupt("too many"))?;
        outcomes.push(match kind {
            "d" => BatchOutcome::Duplicate(number()?),
            "p" => BatchOutcome::Rejected(Rejection::UnknownPartition),
            "o" => {
                let expected = i32::try_from(number()?).map_err(|_| corrupt(word))?;
                BatchOutcome::Rejected(Rejection::OutOfOrder { expected })
            }
            "f" => BatchOutcome::Rejected(Rejection::ForgottenDuplicate),
            "u" => BatchOutcome::Rejected(Rejection::UnknownProducer),
            "e" => BatchOutcome::Rejected(Rejection::Fenced),
            // Without a number in texts of earlier versions.
            "s" => {
                let floor_ms = if rest.is_empty() { 0 } else { number()? };
                BatchOutcome::Rejected(Rejection::StaleSegment { floor_ms })
            }
            _ => return Err(corrupt(word)),
        });
    }
    if batches.next().is_some() {
        return Err(corrupt("too few"));
    }
    Ok(outcomes)
}
