//! What the daemon itself uses.

/// CPU time and memory of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
}

impl Usage {
    /// As `/proc/self/stat` tells it; `None` where that can't be read. A zero would be a counter that falls.
    pub(super) fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Self::parse(&stat, ticks, rustix::param::page_size() as f64)
    }

    /// proc_pid_stat(5): `utime`, `stime` and `rss` are fields 14, 15 and 24.
    fn parse(stat: &str, ticks_per_second: f64, page_size: f64) -> Option<Self> {
        let (_, after) = stat.rsplit_once(") ")?;
        // What follows the name begins with field 3.
        let field = |number: usize| -> Option<f64> {
            after.split_whitespace().nth(number - 3)?.parse().ok()
        };
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks_per_second,
            resident_bytes: field(24)? * page_size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_zero() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 150 50 0 0 20 0 1 0 9 1000 25 1";
        let usage = Usage {
            cpu_seconds: 2.0,
            resident_bytes: 102_400.0,
        };
        assert_eq!(Usage::parse(stat, 100.0, 4096.0), Some(usage));
        assert_eq!(Usage::parse("", 100.0, 4096.0), None);
        assert_eq!(Usage::parse("7 (a) S 1 2", 100.0, 4096.0), None);
        assert!(Usage::read().is_some_and(|it| it.resident_bytes > 0.0));
    }
}
