//! Where a library calls what another one defines: the stubs of its procedure linkage table.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, Register};
use object::elf;

use crate::elf::Image;

/// Sections with stubs, each with the size of one. With `-z ibtplt` calls go to `.plt.sec`.
const STUBS: [(&str, usize); 2] = [(".plt.sec", 16), (".plt", 16)];

/// The address of the stub through which a file calls this function of another one.
pub(super) fn stub(image: &Image<'_>, function: &str) -> Option<u64> {
    let slot = image.relocation(elf::R_X86_64_JUMP_SLOT, function)?;
    STUBS.iter().find_map(|(section, size)| {
        let (address, code) = image.placed_section(section)?;
        stub_in(&code, address, *size, slot)
    })
}

/// The stub that jumps to where the slot points.
fn stub_in(code: &[u8], address: u64, size: usize, slot: u64) -> Option<u64> {
    code.chunks_exact(size)
        .zip((address..).step_by(size))
        .find_map(|(stub, start)| {
            let mut decoder = Decoder::with_ip(64, stub, start, DecoderOptions::NONE);
            let mut instruction = decoder.decode();
            if instruction.mnemonic() == Mnemonic::Endbr64 {
                instruction = decoder.decode();
            }
            let leads = instruction.flow_control() == FlowControl::IndirectBranch
                && instruction.memory_base() == Register::RIP
                && instruction.memory_displacement64() == slot;
            leads.then_some(start)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_known_by_the_slot_that_it_jumps_through() {
        // push GOT+8; jmp *GOT+16; nop, then: jmp *0x2000(%rip); push $0; jmp
        let lazy = [
            0xff, 0x35, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, 0x0f, 0x1f, 0x40, 0, //
            0xff, 0x25, 0, 0x20, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0,
        ];
        assert_eq!(stub_in(&lazy, 0x1000, 16, 0x1016 + 0x2000), Some(0x1010));
        assert_eq!(stub_in(&lazy, 0x1000, 16, 0x1016 + 0x2008), None);
        // endbr64; bnd jmp *0x2000(%rip); nop
        let guarded = [
            0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0, 0x20, 0, 0, 0x0f, 0x1f, 0x44, 0, 0,
        ];
        assert_eq!(stub_in(&guarded, 0x1000, 16, 0x100b + 0x2000), Some(0x1000));
    }
}
