//! Thread-local variables of an executable (ELF's ABI for thread-local storage on x86-64, variant II): where they lie from
//! the thread pointer, and which one a function writes.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::elf::Image;

/// Where, from the thread pointer, what has this offset in an executable's thread-local storage lies.
pub(super) fn offset(image: &Image<'_>, within: u64) -> i64 {
    let size = image
        .thread_local
        .next_multiple_of(image.thread_local_alignment.max(1));
    within.cast_signed() - size.cast_signed()
}

/// The one thread-local word, from the thread pointer, that the code of a function writes.
pub(super) fn written_in(code: &[u8], address: u64) -> Option<i64> {
    // What each register holds, as far as that is an offset from the thread pointer.
    let mut known: [Option<i64>; 16] = [None; 16];
    let mut places = BTreeSet::new();
    for instruction in &mut Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        let moved = instruction.mnemonic() == Mnemonic::Mov;
        if moved && is_word_store(&instruction) {
            places.extend(address_of(&instruction, &known));
            continue;
        }
        let value = match instruction.mnemonic() {
            Mnemonic::Mov if is_thread_pointer(&instruction) => Some(0),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                number(instruction.op1_register()).and_then(|from| known[from])
            }
            Mnemonic::Lea => address_of(&instruction, &known),
            _ => None,
        };
        if instruction.flow_control() == FlowControl::IndirectCall
            || instruction.flow_control() == FlowControl::Call
        {
            // What a call may change (System V ABI).
            for register in CLOBBERED {
                if let Some(index) = number(register) {
                    known[index] = None;
                }
            }
        } else if instruction.op0_kind() == OpKind::Register
            && let Some(into) = number(instruction.op0_register())
        {
            let only_reads = matches!(
                instruction.mnemonic(),
                Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push
            );
            if !only_reads {
                known[into] = value;
            }
        }
    }
    let mut places = places.into_iter();
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

const CLOBBERED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// A general register's number, whatever part of it is named.
fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

/// `mov` of a whole register to memory.
fn is_word_store(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register().is_gpr64()
}

/// `mov %fs:0, register`
fn is_thread_pointer(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Memory
        && instruction.segment_prefix() == Register::FS
        && instruction.memory_base() == Register::None
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == 0
}

/// The memory operand's place from the thread pointer, where it is known.
fn address_of(instruction: &Instruction, known: &[Option<i64>; 16]) -> Option<i64> {
    if instruction.memory_index() != Register::None {
        return None;
    }
    let displacement = instruction.memory_displacement64().cast_signed();
    match (instruction.memory_base(), instruction.segment_prefix()) {
        (Register::None, Register::FS) => Some(displacement),
        (base, Register::None) => Some(known[number(base)?]?.wrapping_add(displacement)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_is_written_is_found_through_copies_of_its_address() {
        // mov %fs:0, %rax; lea -0x148(%rax), %rax; mov %rax, %r14; call *0(%rip); mov %r14, %rax;
        // movb $1, 0x48(%r14); mov 0x30(%rax), %rcx; mov %rbx, 0x30(%rax); ret
        let code = [
            0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, //
            0x48, 0x8d, 0x80, 0xb8, 0xfe, 0xff, 0xff, //
            0x49, 0x89, 0xc6, //
            0xff, 0x15, 0, 0, 0, 0, //
            0x4c, 0x89, 0xf0, //
            0x41, 0xc6, 0x46, 0x48, 0x01, //
            0x48, 0x8b, 0x48, 0x30, //
            0x48, 0x89, 0x58, 0x30, //
            0xc3,
        ];
        assert_eq!(written_in(&code, 0x1000), Some(-0x118));
    }

    #[test]
    fn a_word_that_is_written_through_the_segment_is_found() {
        // mov %fs:0xfffffffffffffee8, %rax; mov %rdi, %fs:0xfffffffffffffee8; ret
        let code = [
            0x64, 0x48, 0x8b, 0x04, 0x25, 0xe8, 0xfe, 0xff, 0xff, //
            0x64, 0x48, 0x89, 0x3c, 0x25, 0xe8, 0xfe, 0xff, 0xff, //
            0xc3,
        ];
        assert_eq!(written_in(&code, 0x1000), Some(-0x118));
    }

    #[test]
    fn two_words_that_are_written_are_none() {
        // mov %rdi, %fs:-8; mov %rsi, %fs:-16; ret
        let code = [
            0x64, 0x48, 0x89, 0x3c, 0x25, 0xf8, 0xff, 0xff, 0xff, //
            0x64, 0x48, 0x89, 0x34, 0x25, 0xf0, 0xff, 0xff, 0xff, //
            0xc3,
        ];
        assert_eq!(written_in(&code, 0x1000), None);
        assert_eq!(written_in(&[0xc3], 0x1000), None);
    }
}
