//! The block functions of SHA-2, for libraries that tell no labels (rustls).

use super::{FoundBy, KeyPoint, Kind};
use crate::elf::Image;

/// Names of OpenSSL's assembly, which ring and aws-lc use with a prefix of their own and several endings
/// (`ring_core_0_17_14__sha256_block_data_order_avx`). Which of them runs is chosen by the processor.
const NAMES: [(&str, Kind); 2] = [
    ("sha256_block_data_order", Kind::Sha256Blocks),
    ("sha512_block_data_order", Kind::Sha512Blocks),
];
/// Behind these: the ways that a processor may have.
const ENDINGS: [&str; 8] = [
    "", "_avx", "_avx2", "_hw", "_nohw", "_shaext", "_ssse3", "_xop",
];
/// Most of them.
const MOST: usize = 16;

/// All block functions that have symbols; none where there are too many.
pub(super) fn points(image: &Image<'_>) -> Vec<KeyPoint> {
    let mut points: Vec<KeyPoint> = Vec::new();
    image.each_function(|name, address, _| {
        let Some(kind) = kind(name) else { return };
        if points.len() > MOST || points.iter().any(|point| point.address == address) {
            return;
        }
        if let Some(offset) = image.code_offset(address) {
            points.push(KeyPoint {
                kind,
                offset,
                address,
                found_by: FoundBy::Symbol,
            });
        }
    });
    if points.len() > MOST {
        return Vec::new();
    }
    points.sort_unstable_by_key(|point| point.address);
    points
}

fn kind(name: &[u8]) -> Option<Kind> {
    let name = std::str::from_utf8(name).ok()?;
    NAMES.iter().find_map(|(known, kind)| {
        let (prefix, ending) = name.split_once(known)?;
        let of_library = prefix.is_empty() || prefix.ends_with('_');
        (of_library && ENDINGS.contains(&ending)).then_some(*kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_functions_are_known_with_the_prefixes_and_endings_of_libraries() {
        for (name, expected) in [
            ("sha256_block_data_order", Some(Kind::Sha256Blocks)),
            (
                "ring_core_0_17_14__sha512_block_data_order_avx",
                Some(Kind::Sha512Blocks),
            ),
            (
                "aws_lc_0_30_0_sha256_block_data_order_hw",
                Some(Kind::Sha256Blocks),
            ),
            ("sha256_block_data_order_capable", None),
            ("nosha256_block_data_order", None),
            ("sha1_block_data_order", None),
        ] {
            assert_eq!(kind(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(kind(b"\xff"), None);
    }
}
