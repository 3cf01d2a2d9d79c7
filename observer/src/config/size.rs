//! Sizes and bounds.

use std::str::FromStr;

use super::{Rejected, text::deserialize_from_str};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// `4096`, `64KiB`, `4MiB`, `1GiB` as bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Bytes of memory, 1 MiB to 1 GiB: the bound of an export queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl FromStr for ByteSize {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let accepted = "bytes from 1MiB to 1GiB, e.g. 16MiB";
        let size = bytes(text)
            .filter(|n| (MIB..=GIB).contains(n))
            .and_then(|n| n.try_into().ok());
        size.map(Self)
            .ok_or_else(|| Rejected::new(text, "a queue size", accepted))
    }
}

/// Bytes of one ring: a power of two (the kernel refuses anything else), 64 KiB to 256 MiB. The lower end holds a
/// few of the largest records and is a multiple of every page size in use (4, 16 and 64 KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(pub u32);

impl FromStr for RingSize {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let size =
            bytes(text).filter(|n| n.is_power_of_two() && (64 * KIB..=256 * MIB).contains(n));
        size.and_then(|n| n.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                Rejected::new(
                    text,
                    "a ring size",
                    "a power of two from 64KiB to 256MiB, e.g. 4MiB",
                )
            })
    }
}

/// Connections tracked at once, 256 to 1,048,576.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimit(pub u32);

impl FromStr for ConnectionLimit {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        text.parse()
            .ok()
            .filter(|n| (256..=1_048_576).contains(n))
            .map(Self)
            .ok_or_else(|| {
                Rejected::new(
                    text,
                    "a number of connections",
                    "an integer from 256 to 1048576, e.g. 32768",
                )
            })
    }
}

/// Series of one metric of one service, 10 to 100,000; what is beyond goes to the overflow series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimit(pub usize);

impl FromStr for SeriesLimit {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        text.parse()
            .ok()
            .filter(|n| (10..=100_000).contains(n))
            .map(Self)
            .ok_or_else(|| {
                Rejected::new(
                    text,
                    "a number of series",
                    "an integer from 10 to 100000, e.g. 2000",
                )
            })
    }
}

deserialize_from_str!(ByteSize, RingSize, ConnectionLimit, SeriesLimit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_of_at_least_a_page() {
        assert_eq!("4MiB".parse(), Ok(RingSize(4 << 20)));
        assert_eq!("65536".parse(), Ok(RingSize(65536)));
        for wrong in [
            "3MiB",
            "32KiB",
            "512MiB",
            "4MB",
            "",
            "MiB",
            "-4",
            "99999999999GiB",
            "4 096",
        ] {
            assert!(wrong.parse::<RingSize>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_hold() {
        assert_eq!("16 MiB".parse(), Ok(ByteSize(16 << 20)));
        assert!("1023KiB".parse::<ByteSize>().is_err());
        assert!("2GiB".parse::<ByteSize>().is_err());
        assert_eq!("256".parse(), Ok(ConnectionLimit(256)));
        assert!("255".parse::<ConnectionLimit>().is_err());
        assert!("1048577".parse::<ConnectionLimit>().is_err());
        assert!("9".parse::<SeriesLimit>().is_err());
        assert_eq!("100000".parse(), Ok(SeriesLimit(100_000)));
    }
}
