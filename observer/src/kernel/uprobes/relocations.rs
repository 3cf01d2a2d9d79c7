//! What the dynamic linker fills in when it loads an executable file.

use object::{Endianness, elf, pod};

use crate::elf::Image;
use crate::elf::bytes_at;

impl Image<'_> {
    /// The address that the dynamic linker is to fill in this way for the symbol.
    pub(super) fn relocation(&self, kind: u32, name: &str) -> Option<u64> {
        let symbols = self.section(".dynsym")?;
        let strings = self.whole(self.names_of(symbols)?)?;
        let symbols = self.whole(symbols)?;
        let count = symbols.len() / size_of::<elf::Sym64<Endianness>>();
        let (symbols, _) = pod::slice_from_bytes::<elf::Sym64<Endianness>>(&symbols, count).ok()?;
        [".rela.dyn", ".rela.plt"].iter().find_map(|section| {
            let table = self.whole(self.section(section)?)?;
            let count = table.len() / size_of::<elf::Rela64<Endianness>>();
            let (relocations, _) =
                pod::slice_from_bytes::<elf::Rela64<Endianness>>(&table, count).ok()?;
            let wanted = relocations.iter().find(|relocation| {
                let symbol = relocation.r_sym(Endianness::Little, false) as usize;
                relocation.r_type(Endianness::Little, false) == kind
                    && symbols.get(symbol).is_some_and(|symbol| {
                        let start = symbol.st_name.get(Endianness::Little) as usize;
                        bytes_at(&strings, start) == Some(name.as_bytes())
                    })
            })?;
            Some(wanted.r_offset.get(Endianness::Little))
        })
    }

    /// Addresses at which the dynamic linker puts addresses of this file, with these.
    pub(super) fn pointers(&self) -> Vec<(u64, u64)> {
        let table = self
            .section(".rela.dyn")
            .and_then(|section| self.whole(section))
            .unwrap_or_default();
        let count = table.len() / size_of::<elf::Rela64<Endianness>>();
        let Ok((relocations, _)) = pod::slice_from_bytes::<elf::Rela64<Endianness>>(&table, count)
        else {
            return Vec::new();
        };
        relocations
            .iter()
            .filter(|found| found.r_type(Endianness::Little, false) == elf::R_X86_64_RELATIVE)
            .map(|found| {
                let addend = found.r_addend.get(Endianness::Little);
                (
                    found.r_offset.get(Endianness::Little),
                    addend.cast_unsigned(),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[inline(never)]
    #[unsafe(no_mangle)]
    extern "C" fn observer_test_pointed_at() -> u32 {
        std::hint::black_box(7)
    }

    static POINTER: extern "C" fn() -> u32 = observer_test_pointed_at;

    #[test]
    fn the_test_itself_has_a_pointer_and_imports() {
        assert_eq!((std::hint::black_box(&POINTER))(), 7);
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file).unwrap();
        let name = "observer_test_pointed_at";
        let address = image.symbols(&[name])[name];
        assert!(image.pointers().iter().any(|(_, to)| *to == address));
        assert_eq!(image.relocation(elf::R_X86_64_GLOB_DAT, name), None);
        let imported = image.relocation(elf::R_X86_64_GLOB_DAT, "__libc_start_main");
        assert!(imported.is_some());
    }
}
