//! Which instructions name what is looked for: candidates, found by their bytes alone.

use memchr::{memchr_iter, memmem::Finder};

use super::{Unknown, segments};
use crate::elf::Image;

/// Most places that may name it.
const MOST: usize = 512;
/// `lea`, behind its REX prefix.
const LEA: u8 = 0x8d;

/// Addresses of bytes inside of instructions that may load an address that `is_wanted`. Others are among them: whether an
/// instruction begins there shows when its function is decoded. Those of `absolute` may be named as they are, too.
pub(super) fn find(
    image: &Image<'_>,
    is_wanted: impl Fn(u64) -> bool,
    absolute: impl Iterator<Item = u64>,
) -> Result<Vec<u64>, Unknown> {
    // A program that is loaded where it says may: mov $address, %esi.
    let absolute: Vec<_> = absolute
        .filter(|_| !image.relocatable)
        .filter_map(|address| u32::try_from(address).ok())
        .map(|address| Finder::new(&address.to_le_bytes()).into_owned())
        .collect();
    let mut found = Vec::new();
    segments::each(
        image,
        |segment| segment.is_executable(),
        |address, bytes| {
            for at in memchr_iter(LEA, bytes) {
                // lea distance(%rip), %register
                let Some([mode, a, b, c, d]) = bytes.get(at + 1..at + 6) else {
                    continue;
                };
                if mode & 0xc7 != 0x05 {
                    continue;
                }
                let distance = i64::from(i32::from_le_bytes([*a, *b, *c, *d]));
                let place = address.wrapping_add(at as u64);
                if is_wanted(place.wrapping_add(6).wrapping_add_signed(distance)) {
                    found.push(place);
                }
            }
            for finder in &absolute {
                let places = finder.find_iter(bytes);
                found.extend(places.map(|at| address.wrapping_add(at as u64)));
            }
            found.sort_unstable();
            found.dedup();
            if found.len() > MOST {
                return Err(Unknown::TooMany("places that name what is looked for"));
            }
            Ok(())
        },
    )?;
    Ok(found)
}
