//! Readers of procfs' texts. `None` means that the text is not as expected.

/// Clock ticks per second in procfs: 100 for every user-space interface of Linux.
const TICKS: f64 = 100.0;

/// What `/proc/self/stat` tells, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) user: f64,
    pub(super) system: f64,
    /// From the system's start to the process' start.
    pub(super) started: f64,
}

/// Reads `/proc/self/stat`. The command's name may hold spaces and parentheses: fields are counted
/// after its end.
pub(super) fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // The first field after the name is the third; user, system and start are 14, 15 and 22.
    let user = ticks(fields.nth(11)?)?;
    let system = ticks(fields.next()?)?;
    let started = ticks(fields.nth(6)?)?;
    Some(Stat { user, system, started })
}

fn ticks(field: &str) -> Option<f64> {
    Some(field.parse::<u64>().ok()? as f64 / TICKS)
}

/// Reads `/proc/uptime`: seconds since the system's start.
pub(super) fn uptime(text: &str) -> Option<f64> {
    let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// A number in `/proc/self/status` or `/proc/self/io`: `Key: 12`, or in bytes where it stands as
/// `Key: 12 kB`.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, rest) = pairs.find(|(name, _)| *name == key)?;
    let mut words = rest.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    match words.next() {
        None => Some(number),
        Some("kB") => number.checked_mul(1024),
        Some(_) => None,
    }
}

/// Reads `/proc/self/net/dev`: bytes received and sent on all interfaces.
pub(super) fn network(text: &str) -> Option<(u64, u64)> {
    let mut total = None;
    // Two lines of headings.
    for line in text.lines().skip(2) {
        let (_, fields) = line.split_once(':')?;
        let mut fields = fields.split_ascii_whitespace();
        let received: u64 = fields.next()?.parse().ok()?;
        let sent: u64 = fields.nth(7)?.parse().ok()?;
        let (all_received, all_sent) = total.unwrap_or((0_u64, 0_u64));
        total = Some((all_received.saturating_add(received), all_sent.saturating_add(sent)));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &str = "317 (evil) name) 1) R 1 317 317 0 -1 4194304 100 0 0 0 1234 567 0 0 20 0 8 \
        0 31728 3133440 390 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0";
    const STATUS: &str = "Name:\thouse\nVmSize:\t    2928 kB\nVmRSS:\t    1760 kB\nThreads:\t7\n\
        Groups:\t \nSigQ:\t0/15432\n";
    const IO: &str = "rchar: 6976\nwchar: 0\nread_bytes: 4096\nwrite_bytes: 8192\n";
    const NET: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 100   14487    0    0    0     0          0         0 200    14487    0    0
  eth0:1000       1    0    0    0     0          0         0 2000       1    0    0
";

    #[test]
    fn stat_is_read_past_any_name() {
        let expected = Stat { user: 12.34, system: 5.67, started: 317.28 };
        assert_eq!(stat(STAT), Some(expected));
        assert_eq!(stat("317 (house) R 1 2"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn status_and_io_are_read_by_key_and_in_bytes() {
        assert_eq!(value(STATUS, "VmRSS"), Some(1760 * 1024));
        assert_eq!(value(STATUS, "VmSize"), Some(2928 * 1024));
        assert_eq!(value(STATUS, "Threads"), Some(7));
        assert_eq!(value(IO, "read_bytes"), Some(4096));
        assert_eq!(value(IO, "write_bytes"), Some(8192));
        for odd in ["Absent", "Name", "Groups", "SigQ", "Vm"] {
            assert_eq!(value(STATUS, odd), None, "{odd}");
        }
        assert_eq!(value("VmRSS: 18446744073709551615 kB", "VmRSS"), None);
    }

    #[test]
    fn network_bytes_are_summed_over_interfaces() {
        assert_eq!(network(NET), Some((1_100, 2_200)));
        assert_eq!(network("one line"), None);
        assert_eq!(network("a\nb\nlo: 1 2 3"), None);
    }

    #[test]
    fn uptime_is_the_first_number() {
        assert_eq!(uptime("3172.87 12000.00\n"), Some(3172.87));
        for odd in ["", "x", "NaN 1", "-1 2", "inf"] {
            assert_eq!(uptime(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "[ -~\n\t)(:0-9]{0,300}") {
            let _ = (stat(&text), uptime(&text), value(&text, "VmRSS"), network(&text));
        }
    }
}
