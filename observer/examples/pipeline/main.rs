//! How fast one core turns ring records into exchanges and their metrics: `cargo xtask bench --pipeline`, or
//! `cargo run --profile dist -p observer --example pipeline`.
//!
//! Prints exchanges a second, the median and the best of the rounds, for each protocol. With `--rounds N` it makes so
//! many rounds; `--protocol NAME` runs one protocol alone, as is wanted below `valgrind --tool=callgrind
//! --toggle-collect='*replay*'`. Writing the records is not part of what is measured.

mod recording;

use std::time::Instant;

use observer::{
    daemon::Rehearsal,
    stream::{Shard, StreamConfig},
};
use recording::{Recording, dns, http1};

/// What is measured. Apart, so that a profiler can count it alone.
#[inline(never)]
fn replay(shard: &mut Shard, recording: &Recording, sink: &mut Rehearsal) {
    for record in recording.records() {
        shard.record(record, sink);
    }
}

fn main() -> Result<(), String> {
    let (mut rounds, mut only) = (200, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--rounds", Some(count)) => {
                rounds = count.parse().map_err(|_| "--rounds takes a number")?;
            }
            ("--protocol", Some(name)) => only = Some(name),
            _ => return Err("usage: pipeline [--rounds N] [--protocol NAME]".to_owned()),
        }
    }
    for (name, record) in [("http1", http1 as fn(&mut Recording)), ("dns", dns)] {
        if only.as_ref().is_none_or(|only| only == name) {
            measure(name, record, rounds)?;
        }
    }
    Ok(())
}

fn measure(name: &str, write: fn(&mut Recording), rounds: usize) -> Result<(), String> {
    let mut shard = Shard::new(StreamConfig::default());
    let mut recording = Recording::default();
    let mut sink = Rehearsal::new();
    let mut nanoseconds = Vec::new();
    let mut each = 0;
    for _ in 0..rounds.max(1) {
        recording.begin();
        write(&mut recording);
        let before = sink.whole;
        let begin = Instant::now();
        replay(&mut shard, &recording, &mut sink);
        let elapsed = begin.elapsed().as_nanos() as f64;
        each = sink.whole - before;
        nanoseconds.push(elapsed / each as f64);
    }
    if sink.incomplete > 0 || each != recording.exchanges() {
        return Err(format!(
            "{name}: {} exchanges incomplete, {each} of {} whole in the last round",
            sink.incomplete,
            recording.exchanges()
        ));
    }
    nanoseconds.sort_by(f64::total_cmp);
    let (best, median) = (nanoseconds[0], nanoseconds[nanoseconds.len() / 2]);
    println!(
        "{name}: {:.0} exchanges/s (best round {:.0}), {median:.0} ns each, {} exchanges in all",
        1e9 / median,
        1e9 / best,
        sink.whole
    );
    Ok(())
}
