//! The stack that programs need, with all that they call.

use std::collections::{HashMap, HashSet};

use aya_obj::{Function, Object, generated::bpf_insn};

use super::object::OBJECT;

/// `MAX_BPF_STACK`, for a program and the chain of functions that it calls.
const LIMIT: usize = 512;
/// What kernels before 6.8 round a function's part up to (`kernel/bpf/verifier.c`, `check_max_stack_depth`).
const STEP: usize = 32;
/// The register that holds a frame's address.
const FRAME: u8 = 10;

/// Instructions, by class or code (`include/uapi/linux/bpf.h`).
mod code {
    pub(super) const CLASS: u8 = 7;
    pub(super) const LOAD: u8 = 1;
    pub(super) const STORE: u8 = 2;
    pub(super) const STORE_REGISTER: u8 = 3;
    pub(super) const MOVE: u8 = 0xbf;
    pub(super) const ADD: u8 = 0x07;
    pub(super) const CALL: u8 = 0x85;
    /// Of a call's source register: another function of the program.
    pub(super) const FUNCTION: u8 = 1;
}

/// One function: bytes of its frame that it touches, and where in the program what it calls begins.
struct Frame {
    bytes: usize,
    calls: Vec<usize>,
}

/// The functions of a program, by their first instruction.
fn frames(program: &Function) -> HashMap<usize, Frame> {
    let mut starts: Vec<usize> = program.func_info.func_info.iter().map(start).collect();
    starts.push(program.instructions.len());
    starts.sort_unstable();
    let of = |ends: &[usize]| (ends[0], frame(&program.instructions, ends[0]..ends[1]));
    starts.windows(2).map(of).collect()
}

fn start(info: &aya_obj::generated::bpf_func_info) -> usize {
    info.insn_off as usize
}

fn frame(instructions: &[bpf_insn], range: std::ops::Range<usize>) -> Frame {
    let (mut bytes, mut calls) = (0, Vec::new());
    let mut addresses = HashSet::new();
    for at in range {
        let it = &instructions[at];
        let (to, from) = (it.dst_reg(), it.src_reg());
        let offset = match it.code & code::CLASS {
            code::LOAD if from == FRAME => i32::from(it.off),
            code::STORE | code::STORE_REGISTER if to == FRAME => i32::from(it.off),
            _ if it.code == code::ADD && addresses.remove(&to) => it.imm,
            _ => 0,
        };
        bytes = bytes.max(usize::try_from(-offset).unwrap_or(0));
        if it.code == code::MOVE && from == FRAME {
            addresses.insert(to);
        } else if it.code == code::MOVE {
            addresses.remove(&to);
        } else if it.code == code::CALL && from == code::FUNCTION {
            calls.push((at as i64 + 1 + i64::from(it.imm)) as usize);
        }
    }
    Frame { bytes, calls }
}

/// The stack of the deepest chain of calls from a function on.
fn deepest(frames: &HashMap<usize, Frame>, from: usize) -> usize {
    let frame = &frames[&from];
    let below = frame.calls.iter().map(|to| deepest(frames, *to));
    frame.bytes.max(1).next_multiple_of(STEP) + below.max().unwrap_or(0)
}

#[test]
fn no_program_needs_more_stack_than_the_oldest_kernel_gives() {
    let mut object = Object::parse(OBJECT).unwrap();
    let sections = object.functions.keys().map(|(section, _)| *section);
    let sections = sections.collect();
    object.relocate_calls(&sections).unwrap();
    let depths: Vec<(usize, &str)> = object
        .programs
        .iter()
        .map(|(name, program)| {
            let program = &object.functions[&program.function_key()];
            (deepest(&frames(program), 0), name.as_str())
        })
        .collect();
    let too_deep: Vec<_> = depths.iter().filter(|(depth, _)| *depth > LIMIT).collect();
    assert!(too_deep.is_empty(), "{too_deep:?}");
    // That the sum is one: the core's chain is by far the deepest, and stands in every tier.
    let deep = depths.iter().filter(|(depth, _)| *depth > LIMIT / 2);
    assert!(deep.count() >= 10, "{depths:?}");
}
