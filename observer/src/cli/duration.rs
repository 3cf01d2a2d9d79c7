//! Durations, sizes and times of day for people.

/// Nanoseconds as `12µs`, `3.4ms`, `120ms`, `1.20s`, `75s`: three digits, at most seven characters up to a day.
pub(super) fn human(ns: u64) -> String {
    let micros = ns as f64 / 1e3;
    match ns {
        0..=999_499 => format!("{micros:.0}µs"),
        _ if ns < 9_950_000 => format!("{:.1}ms", micros / 1e3),
        _ if ns < 999_500_000 => format!("{:.0}ms", micros / 1e3),
        _ if ns < 9_995_000_000 => format!("{:.2}s", micros / 1e6),
        _ => format!("{:.0}s", micros / 1e6),
    }
}

/// Bytes as `0B`, `999B`, `1.5K`, `20M`: powers of 1024.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    if count < 1000 {
        return format!("{count}B");
    }
    for unit in ["K", "M", "G", "T"] {
        value /= 1024.0;
        if value < 9.95 {
            return format!("{value:.1}{unit}");
        }
        if value < 999.5 {
            return format!("{value:.0}{unit}");
        }
    }
    format!("{:.0}P", value / 1024.0)
}

/// Time of day, UTC, `HH:MM:SS.mmm`.
pub(super) fn time_of_day(unix_nano: u64) -> String {
    let millis = unix_nano / 1_000_000 % 86_400_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!(
        "{:02}:{:02}:{:02}.{millis:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        let cases = [
            (0, "0µs"),
            (12_000, "12µs"),
            (999_499, "999µs"),
            (999_500, "1.0ms"),
            (9_949_999, "9.9ms"),
            (9_950_000, "10ms"),
            (999_499_999, "999ms"),
            (1_200_000_000, "1.20s"),
            (75_000_000_000, "75s"),
        ];
        for (ns, text) in cases {
            assert_eq!(human(ns), text, "{ns}");
        }
        assert!(human(86_400_000_000_000).chars().count() <= 7);
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1536, "1.5K"),
            (20 << 20, "20M"),
            (u64::MAX, "16384P"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time_of_day(1_700_000_000_123_456_789), "22:13:20.123");
    }
}
