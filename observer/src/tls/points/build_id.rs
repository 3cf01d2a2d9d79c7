//! What the linker called a file.

use crate::elf::Image;

/// Most bytes of one.
const MOST: usize = 64;
/// Most bytes of the note.
const MOST_NOTE: u64 = 1 << 10;
/// `NT_GNU_BUILD_ID`.
const GNU: u32 = 3;

/// A digest of what was linked (the note `.note.gnu.build-id`). Whoever makes a file may write any: it says where to
/// look first, and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    pub(super) fn of(image: &Image<'_>) -> Option<Self> {
        let note = image.section_bytes(".note.gnu.build-id", MOST_NOTE)?;
        let number = |at: usize| Some(u32::from_le_bytes(note.get(at..at + 4)?.try_into().ok()?));
        // Sizes of name and content, type, "GNU\0".
        let size = usize::try_from(number(4)?).ok()?;
        let is_one = number(0)? == 4 && number(8)? == GNU && note.get(12..16)? == b"GNU\0";
        let content = note.get(16..)?.get(..size)?;
        (is_one && (1..=MOST).contains(&size)).then(|| Self(content.into()))
    }
}
