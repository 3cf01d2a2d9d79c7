//! Many bytes at once: which of them are control characters.
//!
//! A bit stands for each byte, the lowest for the first.

use wide::u8x16;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;
/// Bytes of a part of it: what the processor takes at once.
const PART: usize = 16;

/// Which bytes are control characters: below the space, or DEL.
#[inline]
pub(super) fn controls(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<PART>();
    let mut found = 0;
    for (at, part) in parts.iter().enumerate() {
        let bytes = u8x16::new(*part);
        let low = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        let marked = low | bytes.simd_eq(u8x16::splat(0x7f));
        found |= u64::from(marked.to_bitmask()) << (at * PART);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place, among others that are as near as can be.
    fn parts() -> impl Iterator<Item = [u8; PART]> {
        let around = [0x00, 0x1f, 0x20, 0x3a, 0x7e, 0x7f, 0x80, 0x9f, 0xff];
        around.into_iter().flat_map(|other| {
            (0..=255).flat_map(move |byte| {
                (0..PART).map(move |place| {
                    let mut part = [other; PART];
                    part[place] = byte;
                    part
                })
            })
        })
    }

    fn naive(bytes: &[u8], such: impl Fn(u8) -> bool) -> u64 {
        let marked = bytes.iter().enumerate().filter(|(_, byte)| such(**byte));
        marked.map(|(at, _)| 1u64 << at).sum()
    }

    #[test]
    fn what_is_marked_is_what_is_found_byte_by_byte() {
        for part in parts() {
            for place in (0..BLOCK).step_by(PART) {
                let mut block = [b'x'; BLOCK];
                block[place..place + PART].copy_from_slice(&part);
                let expected = naive(&block, |byte| byte.is_ascii_control());
                assert_eq!(controls(&block), expected, "{part:?} at {place}");
            }
        }
    }
}
