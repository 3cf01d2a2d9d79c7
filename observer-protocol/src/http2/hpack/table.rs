//! The fields that a direction's sender may point at, newest first.

use std::collections::VecDeque;

use super::Name;

/// What a table may hold before anything is agreed (RFC 7541 section 4.2, RFC 9113 section 6.5.2), bytes.
const DEFAULT: usize = 4096;
/// The most that is kept, whatever is agreed: what lies further back is not known.
const MOST: usize = 64 * 1024;
/// What each field counts besides its texts (RFC 7541 section 4.1).
const OVERHEAD: usize = 32;

/// Such fields.
#[derive(Debug)]
pub(in crate::http2) struct Table {
    /// The newest is the last.
    fields: VecDeque<Field>,
    size: usize,
    limit: usize,
    /// Room that is used again.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Field {
    name: Name,
    /// Of a name that is read.
    value: Option<Vec<u8>>,
    size: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            fields: VecDeque::new(),
            size: 0,
            limit: DEFAULT,
            spare: Vec::new(),
        }
    }
}

impl Table {
    /// A table may have so many bytes from here on. It is only ever made larger: a sender that holds less points no further.
    pub(super) fn allow(&mut self, size: usize) {
        self.limit = self.limit.max(size.min(MOST));
    }

    /// The field `back` before the newest, and its value where that is kept.
    pub(super) fn get(&self, back: usize) -> Option<(Name, Option<&[u8]>)> {
        let at = self.fields.len().checked_sub(back + 1)?;
        let field = self.fields.get(at)?;
        Some((field.name, field.value.as_deref()))
    }

    /// Adds one whose texts have at least `size` bytes.
    pub(super) fn insert(&mut self, name: Name, value: Option<&[u8]>, size: usize) {
        let size = size + OVERHEAD;
        while self.size + size > self.limit {
            let Some(oldest) = self.fields.pop_front() else {
                break;
            };
            self.size -= oldest.size;
            if let Some(value) = oldest.value {
                self.spare = value;
            }
        }
        // One that is larger than the table is none of it, and leaves it empty.
        if size > self.limit {
            return;
        }
        let value = value.map(|value| {
            let mut room = std::mem::take(&mut self.spare);
            room.clear();
            room.extend_from_slice(value);
            room
        });
        self.size += size;
        self.fields.push_back(Field { name, value, size });
    }

    /// Nothing is known of any field that was sent so far.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.size = 0;
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.size
    }
}
