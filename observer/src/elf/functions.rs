//! Go's table of functions (`src/internal/abi/symtab.go`, `src/runtime/symtab.go`), which stripped programs keep.
//!
//! Layout since 1.18, all offsets from the table's start: magic, pad, instruction quantum, pointer size; function
//! count, file count, start of the code (not stored since 1.27), offsets of the names, units, files, program counters
//! and functions. The function table has pairs of 32-bit numbers: start, from the start of the code, and where the
//! function's record is, whose second word is the name's offset.

use std::collections::HashMap;
use std::ops::Range;

use super::Image;

/// Most bytes of a table that are read.
const MOST_TABLE: u64 = 128 << 20;
/// 1.18 and 1.20 onward.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
const LONGEST_NAME: usize = 512;

/// All functions of a program.
pub(crate) struct Functions {
    table: Vec<u8>,
    code: u64,
    count: usize,
    names: usize,
    functions: usize,
}

impl Functions {
    /// Sections that the table is in.
    pub(crate) const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

    pub(crate) fn read(image: &Image<'_>) -> Option<Self> {
        let table = Self::SECTIONS
            .iter()
            .find_map(|name| image.section_bytes(name, MOST_TABLE))?;
        let word = |index: usize| {
            let at = 8 + 8 * index;
            Some(u64::from_le_bytes(table.get(at..at + 8)?.try_into().ok()?))
        };
        let magic = u32::from_le_bytes(table.get(..4)?.try_into().ok()?);
        if !MAGIC.contains(&magic) || *table.get(7)? != 8 {
            return None;
        }
        let count = usize::try_from(word(0)?).ok()?;
        // With C code in front the section's start is not the code's.
        let code = image
            .symbols(&["runtime.text"])
            .remove("runtime.text")
            .or_else(|| word(2).filter(|start| *start != 0))
            .or_else(|| image.section_address(".text"))?;
        let names = usize::try_from(word(3)?).ok()?;
        let functions = usize::try_from(word(7)?).ok()?;
        let end = functions.checked_add(count.checked_mul(8)?)?;
        (end <= table.len()).then_some(Self {
            code,
            count,
            names,
            functions,
            table,
        })
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(
            self.table.get(at..at + 4)?.try_into().ok()?,
        ))
    }

    fn name_start(&self, index: usize) -> Option<usize> {
        let record = self.number(self.functions + 8 * index + 4)? as usize;
        let name = self.number(self.functions + record + 4)? as usize;
        self.names.checked_add(name)
    }

    fn name(&self, index: usize) -> Option<&[u8]> {
        let start = self.name_start(index)?;
        let bytes = self
            .table
            .get(start..self.table.len().min(start.saturating_add(LONGEST_NAME)))?;
        bytes.split(|byte| *byte == 0).next()
    }

    fn start(&self, index: usize) -> Option<u64> {
        self.code
            .checked_add(u64::from(self.number(self.functions + 8 * index)?))
    }

    fn addresses(&self, index: usize) -> Option<Range<u64>> {
        Some(self.start(index)?..self.start(index + 1)?)
    }

    /// Whether a function has this name; its end is not looked for.
    fn is_called(&self, index: usize, name: &str) -> bool {
        let named = || {
            let behind = self
                .table
                .get(self.name_start(index)?..)?
                .strip_prefix(name.as_bytes())?;
            behind.first().copied()
        };
        named() == Some(0)
    }

    /// Addresses of the functions with these names.
    pub(crate) fn find(&self, names: &[&'static str]) -> HashMap<&'static str, Range<u64>> {
        (0..self.count)
            .filter_map(|index| {
                let name = names.iter().find(|name| self.is_called(index, name))?;
                Some((*name, self.addresses(index)?))
            })
            .collect()
    }

    /// Names and addresses of all functions, in the order of their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Range<u64>)> {
        (0..self.count).filter_map(|index| Some((self.name(index)?, self.addresses(index)?)))
    }
}
