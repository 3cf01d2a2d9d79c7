//! The block functions of SHA-2, for libraries that tell no labels (rustls).
//!
//! ring, aws-lc, OpenSSL and BoringSSL have them from one source, OpenSSL's `sha512-x86_64.pl`, and with them its tables of
//! round constants, which no other implementation has in this form: each row of 16 bytes stands there twice. So what names such a table
//! is a block function of three arguments, in a stripped file, too.

use std::ops::Range;

use memchr::memmem::Finder;

use super::{FoundBy, KeyPoint, Kind, Unknown, calls, frames, references, segments};
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

/// Bytes of a row of a table.
const ROW: usize = 16;
/// A table's first rows, its bytes in all, and whose it is.
const TABLES: [([u64; 4], u64, Kind); 2] = [
    (
        // Eight words of 32 bits, the lower one first.
        [
            0x7137_4491_428a_2f98,
            0xe9b5_dba5_b5c0_fbcf,
            0x59f1_11f1_3956_c25b,
            0xab1c_5ed5_923f_82a4,
        ],
        2 * 64 * 4,
        Kind::Sha256Blocks,
    ),
    (
        [
            0x428a_2f98_d728_ae22,
            0x7137_4491_23ef_65cd,
            0xb5c0_fbcf_ec4d_3b2f,
            0xe9b5_dba5_8189_dbbc,
        ],
        2 * 80 * 8,
        Kind::Sha512Blocks,
    ),
];

/// All block functions by the tables that they name; none where there are too many.
pub(super) fn by_tables(image: &Image<'_>) -> Result<Vec<KeyPoint>, Unknown> {
    let mut points: Vec<KeyPoint> = Vec::new();
    for (rows, size, kind) in TABLES {
        let tables = tables(image, rows, size)?;
        if tables.is_empty() {
            continue;
        }
        let is_inside =
            |address: u64| -> bool { tables.iter().any(|table| table.contains(&address)) };
        let candidates = references::find(image, is_inside, std::iter::empty())?;
        for extent in frames::containing(image, &candidates)? {
            let Some(offset) = calls::decode(image, &extent)
                .filter(|function| function.loads(is_inside))
                .and_then(|_| image.code_offset(extent.start))
            else {
                continue;
            };
            points.push(KeyPoint {
                kind,
                offset,
                address: extent.start,
                found_by: FoundBy::Constants,
            });
        }
    }
    if points.len() > MOST {
        return Err(Unknown::TooMany("block functions of SHA-2"));
    }
    points.sort_unstable_by_key(|point| point.address);
    points.dedup_by_key(|point| point.address);
    Ok(points)
}

/// Where the tables stand that begin with these rows.
fn tables(image: &Image<'_>, rows: [u64; 4], size: u64) -> Result<Vec<Range<u64>>, Unknown> {
    let plain: Vec<u8> = rows.iter().flat_map(|part| part.to_le_bytes()).collect();
    let doubled: Vec<u8> = plain
        .chunks(ROW)
        .flat_map(|row| [row, row].concat())
        .collect();
    let finder = Finder::new(&doubled);
    let mut found = Vec::new();
    segments::each(
        image,
        |segment| !segment.is_writable(),
        |address, bytes| {
            for at in finder.find_iter(bytes) {
                let start = address.wrapping_add(at as u64);
                found.push(start..start.saturating_add(size));
            }
            if found.len() > MOST {
                return Err(Unknown::TooMany("tables of SHA-2"));
            }
            Ok(())
        },
    )?;
    Ok(found)
}

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
