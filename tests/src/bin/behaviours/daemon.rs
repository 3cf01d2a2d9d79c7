//! What a daemon says of its own start.

use std::time::Duration;

/// How long it took, and what the verifier had to look at.
pub(crate) struct Load {
    pub(crate) tier: String,
    /// Seconds from its start to `ready`.
    pub(crate) ready: f64,
    /// Seconds of that for loading and attaching its programs.
    pub(crate) programs: f64,
    /// Seconds from SIGTERM until it had ended, its programs detached.
    pub(crate) end: f64,
    /// Instructions that the verifier looked at, by program; empty where the kernel does not tell (before 5.16).
    pub(crate) instructions: Vec<(String, u64)>,
}

impl Load {
    /// Reads the log of a daemon with `--log-level=debug` up to its line `ready`.
    ///
    /// # Panics
    /// When the daemon says these things in another way.
    pub(crate) fn read(log: &str, end: Duration) -> Self {
        let find = |mark: &str| {
            let line = log.lines().find(|line| line.contains(mark));
            line.unwrap_or_else(|| panic!("the daemon did not say {mark:?}:\n{log}"))
        };
        let (ready, verified) = (find("observer: ready"), find("programs verified"));
        let (_, list) = verified.split_once("instructions=[").expect("a list");
        let (list, _) = list.split_once(']').expect("the list's end");
        Self {
            tier: word(ready, "tier=").to_owned(),
            ready: seconds(word(ready, "after=")),
            programs: seconds(word(verified, "load_time=")),
            end: end.as_secs_f64(),
            instructions: list.split("), ").filter_map(pair).collect(),
        }
    }
}

/// The word that follows a key.
fn word<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, rest) = line
        .split_once(key)
        .unwrap_or_else(|| panic!("no {key} in {line:?}"));
    rest.split_whitespace().next().unwrap_or_default()
}

/// `1.2s`, `875.6ms`, `12µs`
fn seconds(text: &str) -> f64 {
    let units = [("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)];
    let found = units
        .iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor));
    found.unwrap_or_else(|| panic!("no duration: {text:?}"))
}

/// `("name", 12`
fn pair(text: &str) -> Option<(String, u64)> {
    let (name, count) = text.trim_matches(['(', ')']).split_once(", ")?;
    Some((name.trim_matches('"').to_owned(), count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_log_is_read() {
        let log = "T DEBUG programs verified load_time=875.5ms instructions=[(\"a\", 731), (\"b_c\", 4)]\n\
                   observer: ready tier=socket after=1.36s metrics=http://127.0.0.1:1/metrics\n";
        let load = Load::read(log, Duration::from_millis(20));
        assert_eq!(load.tier, "socket");
        assert!((load.programs - 0.8755).abs() < 1e-9 && (load.ready - 1.36).abs() < 1e-9);
        assert_eq!(
            load.instructions,
            [("a".to_owned(), 731), ("b_c".to_owned(), 4)]
        );
    }
}
