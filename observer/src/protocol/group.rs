//! What a protocol measures: its groups of instruments.

use super::{Attributes, summary::Row};
use crate::process::Value;

/// A metric's description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// OpenTelemetry name, e.g. `http.server.request.duration`.
    pub name: &'static str,
    /// UCUM unit, e.g. `s`.
    pub unit: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Histogram bounds, ascending; empty for sums.
    pub bounds: &'static [f64],
}

/// A histogram's instrument and its buckets as they are counted: in whole nanoseconds or bytes, not in the unit that is
/// shown.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// What is shown.
    pub instrument: &'static Instrument,
    /// Its bounds as whole numbers: what the instrument's are times `scale`.
    pub limits: &'static [u64],
    /// How many of what is counted are one of what is shown.
    pub scale: u64,
}

/// Instruments that share their series: the attributes of one kind of exchange, and room for so many of them.
#[derive(Debug)]
pub struct Group {
    /// What a table calls such exchanges.
    pub kind: &'static str,
    /// Its histograms. The first is the duration, in ns; the others are what [`Describe::measure`](super::Describe::measure)
    /// says.
    pub measures: &'static [Measure],
    /// Its gauge of requests that were not answered yet, where the protocol's conventions have one.
    pub open: Option<OpenRequests>,
    /// The table's line that a series belongs to.
    pub row: fn(&[(&'static str, Value)]) -> Row,
}

/// Groups are statics: one is only ever equal to itself.
impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Group {}

/// A gauge of open requests.
#[derive(Debug)]
pub struct OpenRequests {
    /// What is shown.
    pub instrument: &'static Instrument,
    /// The attributes of the requests that share a [key](Open::key), sorted.
    pub labels: fn(u16, &mut Attributes),
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The group whose gauge it belongs to.
    pub group: &'static Group,
    /// The same for requests that are counted together.
    pub key: u16,
}

/// Nanoseconds in a second.
const NS: u64 = 1_000_000_000;

/// Buckets of durations, ns: the conventions' advice.
static NANOSECONDS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

static SECONDS_SHOWN: [f64; 14] = shown(&NANOSECONDS, NS);

/// Buckets of durations, seconds: the conventions' advice.
pub static SECONDS: &[f64] = &SECONDS_SHOWN;

/// Buckets of body sizes, bytes: none, then powers of four from 64 B to 256 MiB. The conventions advise nothing.
static WHOLE_BYTES: [u64; 13] = [
    0,
    64,
    256,
    1_024,
    4_096,
    16_384,
    65_536,
    262_144,
    1_048_576,
    4_194_304,
    16_777_216,
    67_108_864,
    268_435_456,
];

static BYTES_SHOWN: [f64; 13] = shown(&WHOLE_BYTES, 1);

/// Buckets of body sizes, bytes.
pub static BYTES: &[f64] = &BYTES_SHOWN;

impl Measure {
    /// A duration with the [usual](SECONDS) buckets.
    pub const fn duration(instrument: &'static Instrument) -> Self {
        Self {
            instrument,
            limits: &NANOSECONDS,
            scale: NS,
        }
    }

    /// A size with the [usual](BYTES) buckets.
    pub const fn size(instrument: &'static Instrument) -> Self {
        Self {
            instrument,
            limits: &WHOLE_BYTES,
            scale: 1,
        }
    }

    /// What was counted, in the unit that is shown.
    pub const fn shown(&self, counted: u64) -> f64 {
        counted as f64 / self.scale as f64
    }
}

/// Whole bounds in the unit that is shown. A division of two numbers that a double holds exactly gives the double that
/// the quotient's decimal form is read as.
const fn shown<const N: usize>(limits: &[u64; N], scale: u64) -> [f64; N] {
    let mut bounds = [0.0; N];
    let mut at = 0;
    while at < N {
        bounds[at] = limits[at] as f64 / scale as f64;
        at += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol;

    #[test]
    fn durations_have_the_conventions_buckets() {
        let advised = [
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        ];
        assert_eq!(SECONDS, advised);
    }

    #[test]
    fn what_is_counted_has_the_bounds_that_are_shown() {
        for group in protocol::groups() {
            for measure in group.measures {
                let shown: Vec<f64> = measure.limits.iter().map(|it| measure.shown(*it)).collect();
                assert_eq!(
                    shown, measure.instrument.bounds,
                    "{}",
                    measure.instrument.name
                );
                assert!(measure.limits.is_sorted(), "{}", measure.instrument.name);
            }
            assert_eq!(group.measures[0].instrument.unit, "s", "{}", group.kind);
        }
    }
}
