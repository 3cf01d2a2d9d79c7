//! tokio in executables that keep their symbols: where the current task's id lies, and where hyper hands over requests.
//!
//! | what | how it is found |
//! |---|---|
//! | the current task's id, thread-local | the one word of `CONTEXT` that `TaskIdGuard::enter` or `set_current_task_id` writes |
//! | the id in a task | `id_offset` of the tables of functions that tasks point to (`tokio/src/runtime/task/raw.rs`); all with a scheduler of one word must agree |
//! | where a client's connection is handed a request | calls of `AtomicWaker::wake` in `hyper::client::dispatch::Sender` |
//!
//! Where the compiler left no such functions (debug builds, some of those with one unit of code) nothing is found: then
//! calls have no parents.

use std::collections::{BTreeSet, HashMap, HashSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use observer_abi::process::{Runtime, runtime};

use super::{
    image::Image,
    plan::{Plan, Probe},
};

/// Parts of mangled names, the same in both manglings.
const CONTEXT: &[u8] = b"5tokio7runtime7context7CONTEXT";
const ENTER: [&[u8]; 2] = [
    b"5tokio7runtime7context19set_current_task_id",
    b"11TaskIdGuard5enter",
];
const POLL: &[u8] = b"5tokio7runtime4task3raw4poll";
const WAKE: &[u8] = b"5tokio4sync4task12atomic_waker11AtomicWaker4wake";
/// The same with the type in between, in the newer mangling.
const WAKE_PARTS: [&[u8]; 2] = [b"5tokio4sync4task12atomic_waker", b"11AtomicWaker4wake"];
const DISPATCH: &[u8] = b"5hyper6client8dispatch";
const SENDS: [&[u8]; 2] = [b"8try_send", b"4send"];
/// HTTP/2: several tasks share the connection.
const SHARED: &[u8] = b"UnboundedSender";

/// Functions in a task's table; three offsets follow: of the trailer, the scheduler and the id.
const FUNCTIONS: u64 = 7;
/// Offsets within a task are below this.
const MOST_OFFSET: u64 = 1 << 20;
/// Most bytes of a function that is decoded.
const MOST_CODE: u64 = 16 << 10;
/// Most functions that hand over: one for each kind of body, each with copies in other units of code.
const MOST_SENDS: usize = 256;

/// What the symbols tell: addresses, or offsets in the thread-local storage, with sizes.
#[derive(Default)]
struct Found {
    context: BTreeSet<(u64, u64)>,
    enter: BTreeSet<(u64, u64)>,
    poll: HashSet<u64>,
    wakes: HashSet<u64>,
    sends: BTreeSet<(u64, u64)>,
}

/// The plan for an executable with tokio.
pub(super) fn plan(image: &Image<'_>) -> Option<Plan> {
    if image.thread_local == 0 {
        return None;
    }
    let found = find(image);
    // Two versions of tokio in one program keep two ids.
    let (start, size) = only(found.context)?;
    let start = thread_local_offset(image, start);
    let places = found
        .enter
        .iter()
        .map(|(address, size)| {
            let code = image.bytes(*address, (*size).min(MOST_CODE))?;
            written_in(&code, *address)
        })
        .collect::<Option<BTreeSet<i64>>>()?;
    let place = only(places)?;
    if !(start..start.checked_add_unsigned(size)?).contains(&place) {
        return None;
    }
    let pointers: HashMap<u64, u64> = image.pointers().into_iter().collect();
    let mut probes = Vec::new();
    for (address, size) in found.sends.iter().take(MOST_SENDS) {
        let code = image.bytes(*address, (*size).min(MOST_CODE))?;
        for address in wakes_in(&code, *address, &found.wakes, &pointers) {
            probes.push(Probe {
                program: "hyper_request_sent",
                offset: image.file_offset(address)?,
            });
        }
    }
    Some(Plan {
        runtime: Runtime {
            kind: runtime::TOKIO,
            thread_pointer_offset: place,
            unit_offset: id_offset(image, &pointers, &found.poll)?,
            ..Runtime::default()
        },
        probes,
    })
}

/// The one element.
fn only<T>(set: BTreeSet<T>) -> Option<T> {
    let mut elements = set.into_iter();
    let first = elements.next()?;
    elements.next().is_none().then_some(first)
}

fn find(image: &Image<'_>) -> Found {
    let mut found = Found::default();
    image.each_defined(|name, value, size, is_thread_local| {
        let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        if is_thread_local {
            if has(CONTEXT) {
                found.context.insert((value, size));
            }
            return;
        }
        // Most names are none of these.
        if has(b"5tokio") {
            if has(POLL) {
                found.poll.insert(value);
            } else if ENTER.iter().any(|part| has(part)) {
                found.enter.insert((value, size));
            } else if has(WAKE) || WAKE_PARTS.iter().all(|part| has(part)) {
                found.wakes.insert(value);
            }
        }
        if has(DISPATCH) && !has(SHARED) && SENDS.iter().any(|part| has(part)) {
            found.sends.insert((value, size));
        }
    });
    found
}

/// Where an executable's thread-local storage has this offset, from the thread pointer (ELF's ABI for thread-local
/// storage, variant II).
fn thread_local_offset(image: &Image<'_>, offset: u64) -> i64 {
    let size = image
        .thread_local
        .next_multiple_of(image.thread_local_alignment.max(1));
    offset.cast_signed() - size.cast_signed()
}

/// Where the id is in every task whose scheduler takes one word, which is all but those of the pool of blocking threads.
fn id_offset(image: &Image<'_>, pointers: &HashMap<u64, u64>, poll: &HashSet<u64>) -> Option<u32> {
    let mut offsets = BTreeSet::new();
    for (table, _) in pointers.iter().filter(|(_, to)| poll.contains(to)) {
        let bytes = image.bytes(table + 8 * FUNCTIONS, 24)?;
        let word = |index: usize| {
            let bytes = bytes.get(8 * index..8 * index + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let (trailer, scheduler, id) = (word(0)?, word(1)?, word(2)?);
        if scheduler == 0 || id <= scheduler || trailer <= id || trailer > MOST_OFFSET {
            return None;
        }
        if id == scheduler + 8 {
            offsets.insert(id);
        }
    }
    u32::try_from(only(offsets)?).ok()
}

/// Where code calls one of these functions, or ends with a jump to it: directly, or through one of the pointers.
fn wakes_in(
    code: &[u8],
    address: u64,
    targets: &HashSet<u64>,
    pointers: &HashMap<u64, u64>,
) -> Vec<u64> {
    let mut found = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return Vec::new();
        }
        let target = match instruction.flow_control() {
            FlowControl::Call | FlowControl::UnconditionalBranch
                if instruction.op0_kind() == OpKind::NearBranch64 =>
            {
                instruction.near_branch_target()
            }
            FlowControl::IndirectCall | FlowControl::IndirectBranch
                if instruction.memory_base() == Register::RIP =>
            {
                match pointers.get(&instruction.memory_displacement64()) {
                    Some(target) => *target,
                    None => continue,
                }
            }
            _ => continue,
        };
        if targets.contains(&target) {
            found.push(instruction.ip());
        }
    }
    found
}

/// The one thread-local word, from the thread pointer, that a function writes.
fn written_in(code: &[u8], address: u64) -> Option<i64> {
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
    only(places)
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
    fn calls_are_found_direct_and_through_pointers() {
        // call +0x10; call *0x100(%rip); jmp *0x108(%rip)
        let code = [
            0xe8, 0x10, 0, 0, 0, //
            0xff, 0x15, 0, 1, 0, 0, //
            0xff, 0x25, 8, 1, 0, 0,
        ];
        let targets = HashSet::from([0x1015]);
        let found = |pointers: &[(u64, u64)]| {
            let pointers = pointers.iter().copied().collect();
            wakes_in(&code, 0x1000, &targets, &pointers)
        };
        assert_eq!(found(&[(0x110b, 0x1015)]), [0x1000, 0x1005]);
        assert_eq!(found(&[(0x1119, 0x1015)]), [0x1000, 0x100b]);
        assert_eq!(found(&[(0x110b, 0x1016)]), [0x1000]);
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
