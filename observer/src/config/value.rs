//! Durations and rates.

use std::{fmt, str::FromStr, time::Duration};

use super::{Rejected, text::deserialize_from_str};

/// How long to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFor(pub Option<Duration>);

impl FromStr for RunFor {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let rejected = || {
            Rejected::new(
                text,
                "a duration",
                "a number and ms, s, m or h, e.g. 500ms, 10s, 1m; or unlimited",
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(rejected)?;
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(rejected()),
        };
        let total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis))
            .filter(|n| *n > 0)
            .ok_or_else(rejected)?;
        Ok(Self(Some(Duration::from_millis(total))))
    }
}

/// Spans exported a second, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRate(pub Option<u32>);

impl SpanRate {
    /// The cap that holds where none was asked for: a busy host would drown any backend.
    pub const DEFAULT: Self = Self(Some(200));
}

impl FromStr for SpanRate {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        match text {
            "unlimited" => Ok(Self(None)),
            _ => text
                .parse()
                .ok()
                .filter(|n| *n <= 1_000_000)
                .map(|n| Self(Some(n)))
                .ok_or_else(|| {
                    Rejected::new(
                        text,
                        "a span rate",
                        "spans a second from 0 to 1000000, e.g. 200; or unlimited",
                    )
                }),
        }
    }
}

impl fmt::Display for SpanRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => write!(f, "{rate}"),
            None => f.write_str("unlimited"),
        }
    }
}

deserialize_from_str!(RunFor, SpanRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let millis = |text: &str| text.parse::<RunFor>().map(|d| d.0.map(|d| d.as_millis()));
        assert_eq!(millis("500ms"), Ok(Some(500)));
        assert_eq!(millis("10s"), Ok(Some(10_000)));
        assert_eq!(millis("1m"), Ok(Some(60_000)));
        assert_eq!(millis("2h"), Ok(Some(7_200_000)));
        assert_eq!(millis("unlimited"), Ok(None));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "0s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "10sé",
        ] {
            let message = wrong.parse::<RunFor>().unwrap_err().to_string();
            assert!(
                message.contains("is not a duration: write a number and ms, s, m or h"),
                "{message}"
            );
        }
    }

    #[test]
    fn rates_are_bounded_or_unlimited() {
        assert_eq!("0".parse(), Ok(SpanRate(Some(0))));
        assert_eq!("unlimited".parse(), Ok(SpanRate(None)));
        assert!("-1".parse::<SpanRate>().is_err());
        assert!("1000001".parse::<SpanRate>().is_err());
    }
}
