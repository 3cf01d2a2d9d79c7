//! Machine code: where a function returns, what it calls, and where in it a breakpoint is cheap.
//!
//! A breakpoint anywhere but at the first byte of an instruction would break the program: every place that is given
//! here was reached by decoding from the function's start.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use crate::elf::Image;

/// Most instructions that are followed.
const MOST_INSTRUCTIONS: usize = 2000;
/// The longest instruction of x86-64, bytes.
const LONGEST: u64 = 15;

/// Addresses of every return instruction that the function at `start` can end with, those of functions that it ends
/// by jumping to included. `None` where a jump leads to what is not known before it runs.
pub(super) fn returns(image: &Image<'_>, start: u64) -> Option<BTreeSet<u64>> {
    let mut returns = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut waiting = vec![start];
    while let Some(mut address) = waiting.pop() {
        loop {
            if !seen.insert(address) {
                break;
            }
            if seen.len() > MOST_INSTRUCTIONS {
                return None;
            }
            let bytes = image.bytes(address, LONGEST)?;
            let mut decoder = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return None;
            }
            let near = || {
                matches!(instruction.op0_kind(), OpKind::NearBranch64)
                    .then(|| instruction.near_branch_target())
            };
            match instruction.flow_control() {
                FlowControl::Return => {
                    returns.insert(address);
                    break;
                }
                FlowControl::UnconditionalBranch => {
                    address = near()?;
                    continue;
                }
                FlowControl::ConditionalBranch => waiting.push(near()?),
                FlowControl::IndirectBranch => return None,
                FlowControl::Exception | FlowControl::Interrupt => break,
                _ => {}
            }
            address = instruction.next_ip();
        }
    }
    (!returns.is_empty()).then_some(returns)
}

/// Bytes at a function's start among which a cheap place is looked for.
const PROLOGUE: u64 = 40;

/// The first place at or behind `start`, a function's first byte, at which the kernel emulates the instruction (it
/// steps through others, which takes a second trap: `arch/x86/kernel/uprobes.c`) and `argument` still holds what was
/// passed. `start` itself where there is none.
pub(super) fn cheap_place(image: &Image<'_>, start: u64, argument: Register) -> u64 {
    let Some(bytes) = image.bytes(start, PROLOGUE) else {
        return start;
    };
    let mut factory = InstructionInfoFactory::new();
    for instruction in &mut Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE) {
        if is_emulated(&instruction) {
            return instruction.ip();
        }
        let plain = match instruction.flow_control() {
            FlowControl::Next => true,
            // Go: a stack that is too small is grown, and the function begins anew.
            FlowControl::ConditionalBranch => instruction.near_branch_target() > instruction.ip(),
            _ => false,
        };
        let overwritten = factory
            .info(&instruction)
            .used_registers()
            .iter()
            .any(|used| {
                used.register().full_register() == argument && used.access() != OpAccess::Read
            });
        if !plain || overwritten || instruction.is_invalid() {
            break;
        }
    }
    start
}

/// `push` of a register.
fn is_emulated(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Push && instruction.op0_kind() == OpKind::Register
}

/// Where the function at `addresses` calls one of `targets` directly.
pub(super) fn calls(image: &Image<'_>, addresses: &Range<u64>, targets: &[u64]) -> Vec<u64> {
    let size = addresses.end.saturating_sub(addresses.start);
    let Some(code) = image.bytes(addresses.start, size) else {
        return Vec::new();
    };
    calls_in(&code, addresses.start, targets)
}

/// Where the function at `addresses` calls what it learned the address of. `None` where its code can't be read.
pub(super) fn indirect_calls(image: &Image<'_>, addresses: &Range<u64>) -> Option<Vec<u64>> {
    let size = addresses.end.saturating_sub(addresses.start);
    indirect_calls_in(&image.bytes(addresses.start, size)?, addresses.start)
}

/// [`indirect_calls`] in code that was read.
fn indirect_calls_in(code: &[u8], start: u64) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        if instruction.flow_control() == FlowControl::IndirectCall {
            found.push(instruction.ip());
        }
    }
    Some(found)
}

/// [`calls`] in code that was read.
pub(super) fn calls_in(code: &[u8], start: u64, targets: &[u64]) -> Vec<u64> {
    // Most functions have no such call: a look at the bytes tells faster than decoding.
    let might = code.windows(5).enumerate().any(|(index, bytes)| {
        matches!(bytes, [0xe8, a, b, c, d] if {
            let distance = i64::from(i32::from_le_bytes([*a, *b, *c, *d]));
            let behind = start.wrapping_add(index as u64 + 5);
            targets.contains(&behind.wrapping_add_signed(distance))
        })
    });
    if !might {
        return Vec::new();
    }
    let mut found = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return Vec::new();
        }
        if instruction.flow_control() == FlowControl::Call
            && instruction.op0_kind() == OpKind::NearBranch64
            && targets.contains(&instruction.near_branch_target())
        {
            found.push(instruction.ip());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[inline(never)]
    #[unsafe(no_mangle)]
    extern "C" fn observer_test_two_returns(number: u64) -> u64 {
        if std::hint::black_box(number) > 3 {
            return std::hint::black_box(7);
        }
        std::hint::black_box(number) + 1
    }

    #[test]
    fn a_call_is_found_by_where_it_leads_and_only_where_an_instruction_begins() {
        // nop; call +0x10; ret
        let code = [0x90, 0xe8, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(calls_in(&code, 0x1000, &[0x1016]), [0x1001]);
        assert!(calls_in(&code, 0x1000, &[0x1017]).is_empty());
        // The same bytes inside of movabs $…, %rax.
        let hidden = [0x48, 0xb8, 0x90, 0xe8, 0x10, 0, 0, 0, 0xc3, 0x90, 0xc3];
        assert!(calls_in(&hidden, 0x1000, &[0x1018]).is_empty());
    }

    #[test]
    fn a_call_by_register_is_found_and_a_cut_instruction_is_not_read() {
        // nop; call *%rax; call +0x10; ret
        let code = [0x90, 0xff, 0xd0, 0xe8, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(indirect_calls_in(&code, 0x1000), Some(vec![0x1001]));
        assert_eq!(indirect_calls_in(&code[..5], 0x1000), None);
    }

    #[test]
    fn a_function_returns_somewhere() {
        assert_eq!(observer_test_two_returns(1), 2);
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file).unwrap();
        let name = "observer_test_two_returns";
        let start = image.symbols(&[name])[name];
        let found = returns(&image, start).unwrap();
        for address in found {
            assert_eq!(image.bytes(address, 1).unwrap(), [0xc3]);
        }
    }
}
