//! Where functions begin and end, by the tables for unwinding, which stripped files keep (`.eh_frame`: Linux Standard
//! Base, "Exception Frames"; encodings: DWARF 5, 7.32).

use std::{collections::HashMap, ops::Range};

use object::elf;

use super::Unknown;
use crate::elf::Image;

/// Bytes that are read at once.
const WINDOW: u64 = 256 << 10;
/// Most bytes of the table.
const MOST: u64 = 128 << 20;
/// Most kinds of records (CIEs) that are remembered.
const MOST_KINDS: usize = 4096;

/// Extents of the functions that contain one of these addresses, which are sorted. Functions don't overlap: more than there
/// are addresses are none.
pub(super) fn containing(image: &Image<'_>, addresses: &[u64]) -> Result<Vec<Range<u64>>, Unknown> {
    let mut found = Vec::new();
    each(image, |function| {
        if found.len() > addresses.len() {
            return;
        }
        let first = addresses.partition_point(|address| *address < function.start);
        if addresses
            .get(first)
            .is_some_and(|address| *address < function.end)
            && !found.contains(&function)
        {
            found.push(function);
        }
    });
    found.sort_unstable_by_key(|function| (function.start, function.end));
    if found.len() > addresses.len() {
        return Err(Unknown::TooMany("functions that overlap"));
    }
    Ok(found)
}

/// Calls `each` with every function's extent; with none where there is no such table.
fn each(image: &Image<'_>, mut each: impl FnMut(Range<u64>)) {
    let Some(table) = place(image) else {
        return;
    };
    let mut kinds = HashMap::new();
    let mut at = table.start;
    while at < table.end {
        let size = WINDOW.min(table.end - at);
        let Some(bytes) = image.bytes(at, size) else {
            return;
        };
        let read = records(&bytes, at, &mut kinds, &mut each);
        match read {
            Read::Ended => return,
            // A record that does not fit into a window is none of a function.
            Read::Until(0) if size < WINDOW => return,
            Read::Until(0) => {
                let Some(length) = number(&bytes, 0) else {
                    return;
                };
                at = at.saturating_add(4 + u64::from(length));
            }
            Read::Until(read) => at += read as u64,
        }
    }
}

/// Where the table is: by its section, or by the header that the loader is given.
fn place(image: &Image<'_>) -> Option<Range<u64>> {
    if let Some(section) = image.section(".eh_frame") {
        let end = section.address.checked_add(section.size.min(MOST))?;
        return Some(section.address..end);
    }
    let header = image.segment(elf::PT_GNU_EH_FRAME)?;
    // Version, encodings: the table's address is relative to itself, in four bytes.
    let bytes = image.bytes(header.address, 8)?;
    if bytes[..2] != [1, 0x1b] {
        return None;
    }
    let distance = i32::from_le_bytes(bytes[4..8].try_into().ok()?);
    let start = header
        .address
        .checked_add(4)?
        .checked_add_signed(i64::from(distance))?;
    let within = image.loaded().find_map(|segment| {
        let inside = start.checked_sub(segment.address)?;
        segment.size.checked_sub(inside)
    })?;
    Some(start..start.checked_add(within.min(MOST))?)
}

enum Read {
    /// So many bytes of the window are whole records.
    Until(usize),
    /// The table ends here, or can't be read on.
    Ended,
}

/// Reads the records that are whole in a window.
fn records(
    bytes: &[u8],
    address: u64,
    kinds: &mut HashMap<u64, u8>,
    each: &mut impl FnMut(Range<u64>),
) -> Read {
    let mut at = 0;
    loop {
        let Some(length) = number(bytes, at) else {
            return Read::Until(at);
        };
        // The end; or lengths of 64 bits, which nobody writes.
        if length == 0 || length == u32::MAX {
            return Read::Ended;
        }
        let start = at + 4;
        let Some(record) = bytes.get(start..start + length as usize) else {
            return Read::Until(at);
        };
        let place = address.wrapping_add(start as u64);
        match number(record, 0) {
            None => return Read::Ended,
            Some(0) => {
                if kinds.len() < MOST_KINDS
                    && let Some(encoding) = encoding(record)
                {
                    kinds.insert(place.wrapping_sub(4), encoding);
                }
            }
            Some(back) => {
                let kind = kinds.get(&place.wrapping_sub(u64::from(back)));
                if let Some(function) = kind.and_then(|kind| extent(record, place, *kind)) {
                    each(function);
                }
            }
        }
        at = start + length as usize;
    }
}

/// How a kind of records (a CIE) writes addresses.
fn encoding(record: &[u8]) -> Option<u8> {
    let version = *record.get(4)?;
    let text = record.get(5..)?.split(|byte| *byte == 0).next()?;
    let mut at = 5 + text.len() + 1;
    // Alignments of code and data, and the return address's register.
    skip_leb128(record, &mut at)?;
    skip_leb128(record, &mut at)?;
    if version == 1 {
        at += 1;
    } else {
        skip_leb128(record, &mut at)?;
    }
    let [b'z', flags @ ..] = text else {
        // Addresses as they are.
        return text.is_empty().then_some(0);
    };
    skip_leb128(record, &mut at)?;
    for flag in flags {
        match flag {
            b'R' => return record.get(at).copied(),
            b'L' => at += 1,
            b'P' => at += 1 + width(*record.get(at)?)?,
            b'S' | b'B' => {}
            _ => return None,
        }
    }
    Some(0)
}

fn skip_leb128(bytes: &[u8], at: &mut usize) -> Option<()> {
    while bytes.get(*at)? & 0x80 != 0 {
        *at += 1;
    }
    *at += 1;
    Some(())
}

/// Bytes of an encoded address.
fn width(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        0x03 | 0x0b => Some(4),
        0x00 | 0x04 | 0x0c => Some(8),
        _ => None,
    }
}

/// The extent in a function's record (an FDE), whose first byte is at `place`.
fn extent(record: &[u8], place: u64, encoding: u8) -> Option<Range<u64>> {
    let width = width(encoding)?;
    let value = |at: usize| {
        let bytes = record.get(at..at + width)?;
        Some(match (width, encoding & 0x0f) {
            (4, 0x0b) => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            (4, _) => i64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
            _ => i64::from_le_bytes(bytes.try_into().ok()?),
        })
    };
    let start = match encoding & 0xf0 {
        0x00 => value(4)?.cast_unsigned(),
        0x10 => place.wrapping_add(4).wrapping_add_signed(value(4)?),
        _ => return None,
    };
    let size = u64::try_from(value(4 + width)?).ok()?;
    Some(start..start.checked_add(size)?)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
