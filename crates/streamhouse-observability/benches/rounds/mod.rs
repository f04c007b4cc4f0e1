//! Interleaved rounds: on a shared machine only ratios within one run mean anything.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How many rounds a comparison takes.
const ROUNDS: usize = 9;

/// One way to do the thing that is compared.
pub struct Candidate<'a> {
    /// What the report calls it.
    pub name: &'static str,
    /// Runs it this many times.
    pub run: Box<dyn FnMut(u64) + 'a>,
}

/// Runs every candidate once in each round, in rotating order, and writes for each the minimum and
/// median of its times, and the median over the rounds of its ratio to the first candidate.
///
/// A time is that of the best of `chunks` chunks of about `chunk` each.
pub fn compare(
    out: &mut impl Write,
    title: &str,
    chunk: Duration,
    chunks: u32,
    candidates: &mut [Candidate<'_>],
) -> io::Result<Vec<f64>> {
    let counts: Vec<u64> =
        candidates.iter_mut().map(|candidate| calibrate(chunk, &mut candidate.run)).collect();
    let mut times = vec![Vec::new(); candidates.len()];
    for round in 0..ROUNDS {
        for place in 0..candidates.len() {
            let which = (place + round) % candidates.len();
            let (candidate, count) = (&mut candidates[which], counts[which]);
            let best =
                (0..chunks).map(|_| time(&mut candidate.run, count)).fold(f64::MAX, f64::min);
            times[which].push(best / count as f64);
        }
    }
    writeln!(out, "{title}: min ns, median ns, median ratio over {ROUNDS} rounds")?;
    let first = times[0].clone();
    let mut ratios = Vec::new();
    for (candidate, times) in candidates.iter().zip(&times) {
        let ratio = median(times.iter().zip(&first).map(|(time, first)| time / first).collect());
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        let middle = median(times.clone());
        writeln!(out, "  {:<40} {least:>14.2} {middle:>14.2} {ratio:>9.4}", candidate.name)?;
        ratios.push(ratio);
    }
    Ok(ratios)
}

/// How many runs take about as long as `chunk`.
fn calibrate(chunk: Duration, run: &mut dyn FnMut(u64)) -> u64 {
    let mut count = 1;
    loop {
        let nanos = time(run, count);
        if nanos * 2.0 >= chunk.as_nanos() as f64 {
            let wanted = count as f64 * chunk.as_nanos() as f64 / nanos;
            return (wanted as u64).max(1);
        }
        count *= 2;
    }
}

fn time(run: &mut dyn FnMut(u64), count: u64) -> f64 {
    let started = Instant::now();
    run(count);
    started.elapsed().as_nanos() as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
