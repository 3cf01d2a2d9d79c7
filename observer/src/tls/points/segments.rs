//! The parts of a file that are loaded, a window at a time.

use super::Unknown;
use crate::elf::{Image, Segment};

/// Bytes of a window: what a processor keeps near.
const WINDOW: u64 = 256 << 10;
/// Bytes that a window shares with the one before: no text or instruction that is looked for is longer.
const OVERLAP: u64 = 64;
/// Most bytes that are looked at, all segments together.
const MOST: u64 = 512 << 20;

/// Calls `each` with the address and bytes of each window of the segments that are wanted. What begins in the last
/// [`OVERLAP`] bytes of a window may be seen again in the next.
pub(super) fn each(
    image: &Image<'_>,
    wanted: impl Fn(&Segment) -> bool,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Unknown>,
) -> Result<(), Unknown> {
    let segments = || image.loaded().filter(|segment| wanted(segment));
    let total = segments()
        .map(|segment| segment.size)
        .fold(0, u64::saturating_add);
    if total > MOST {
        return Err(Unknown::TooLarge(total >> 20));
    }
    let mut room = vec![0; WINDOW as usize];
    for segment in segments() {
        let mut at = 0;
        while at < segment.size {
            let size = WINDOW.min(segment.size - at);
            let offset = segment.offset.checked_add(at).ok_or(Unknown::Cut)?;
            let address = segment.address.checked_add(at).ok_or(Unknown::Cut)?;
            let bytes = &mut room[..size as usize];
            image.fill(offset, bytes).ok_or(Unknown::Cut)?;
            each(address, bytes)?;
            if at + size == segment.size {
                break;
            }
            at += size - OVERLAP;
        }
    }
    Ok(())
}
