//! What consumers tell each other when they join: the topics that they subscribe to.

/// The topics of a consumer's metadata; `None` if it is of another kind.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (_version, mut left) = metadata.split_first_chunk::<2>()?;
    let (count, rest) = left.split_first_chunk::<4>()?;
    left = rest;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    // Every name takes at least its length: more cannot be there.
    if count > left.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = left.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        topics.push(std::str::from_utf8(name).ok()?);
        left = rest;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_what_is_no_subscription_is_none() {
        let both = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(topics(both), Some(vec!["a", "bc"]));
        assert_eq!(topics(b"\0\0\0\0\0\0"), Some(vec![]));
        for bad in
            [&b""[..], b"\0\0\x7f\xff\xff\xff", b"\0\0\0\0\0\x01\0\x05a", b"\0\0\xff\xff\xff\xff"]
        {
            assert_eq!(topics(bad), None, "{bad:?}");
        }
    }
}
