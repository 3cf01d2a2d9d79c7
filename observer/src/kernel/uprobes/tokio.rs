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

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind, Register};
use observer_abi::process::{Runtime, runtime};

use super::{
    plan::{Plan, Probe},
    thread_local,
};
use crate::elf::Image;

/// The thread-local variable, in both manglings.
const CONTEXT: &[u8] = b"5tokio7runtime7context7CONTEXT";

/// Functions by how their mangled names begin.
const LEGACY: [(&[u8], Function); 6] = [
    (
        b"_ZN5tokio7runtime7context19set_current_task_id17h",
        Function::Enter,
    ),
    (
        b"_ZN5tokio7runtime4task4core11TaskIdGuard5enter17h",
        Function::Enter,
    ),
    (b"_ZN5tokio7runtime4task3raw4poll17h", Function::Poll),
    (
        b"_ZN5tokio4sync4task12atomic_waker11AtomicWaker4wake17h",
        Function::Wake,
    ),
    (
        b"_ZN5hyper6client8dispatch19Sender$LT$T$C$U$GT$8try_send17h",
        Function::Send,
    ),
    (
        b"_ZN5hyper6client8dispatch19Sender$LT$T$C$U$GT$4send17h",
        Function::Send,
    ),
];
/// In the newer mangling: how they begin, and what follows within [`PATH`] bytes, in this order.
const NEWER: [(&[u8], Parts, Function); 6] = [
    (
        b"_RNvNtNtCs",
        &[b"5tokio7runtime7context19set_current_task_id"],
        Function::Enter,
    ),
    (
        b"_RNvM",
        &[b"5tokio7runtime4task4coreNtB", b"_11TaskIdGuard5enter"],
        Function::Enter,
    ),
    (
        b"_RINvNtNtNtCs",
        &[b"5tokio7runtime4task3raw4poll"],
        Function::Poll,
    ),
    (
        b"_RNvM",
        &[b"5tokio4sync4task12atomic_wakerNtB", b"_11AtomicWaker4wake"],
        Function::Wake,
    ),
    (
        b"_RNvM",
        &[b"5hyper6client8dispatchINtB", b"_6SenderI", b"E8try_send"],
        Function::Send,
    ),
    (
        b"_RNvM",
        &[b"5hyper6client8dispatchINtB", b"_6SenderI", b"E4send"],
        Function::Send,
    ),
];
/// Parts of a name.
type Parts = &'static [&'static [u8]];

/// A path with the hash of its crate is not longer.
const PATH: usize = 96;

/// What a function is to us. Those that send over HTTP/2, where several tasks share a connection, are none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Enter,
    Poll,
    Wake,
    Send,
}

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
    let found = find(image)?;
    // Two versions of tokio in one program keep two ids.
    let (start, size) = only(found.context)?;
    let start = thread_local::offset(image, start);
    let places = found
        .enter
        .iter()
        .map(|(address, size)| {
            let code = image.bytes(*address, (*size).min(MOST_CODE))?;
            thread_local::written_in(&code, *address)
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

/// `None` without tokio, which few symbols tell.
fn find(image: &Image<'_>) -> Option<Found> {
    let mut found = Found::default();
    image.each_thread_local(|name, offset, size| {
        if name.windows(CONTEXT.len()).any(|window| window == CONTEXT) {
            found.context.insert((offset, size));
        }
    });
    if found.context.is_empty() {
        return None;
    }
    image.each_function(|name, address, size| match function(name) {
        Some(Function::Enter) => {
            found.enter.insert((address, size));
        }
        Some(Function::Poll) => {
            found.poll.insert(address);
        }
        Some(Function::Wake) => {
            found.wakes.insert(address);
        }
        Some(Function::Send) => {
            found.sends.insert((address, size));
        }
        None => {}
    });
    Some(found)
}

fn function(name: &[u8]) -> Option<Function> {
    if name.starts_with(b"_ZN") {
        let mut all = LEGACY.iter();
        return all.find_map(|(start, function)| name.starts_with(start).then_some(*function));
    }
    if !name.starts_with(b"_R") {
        return None;
    }
    NEWER.iter().find_map(|(start, parts, function)| {
        let mut rest = name.strip_prefix(*start)?;
        for (index, part) in parts.iter().enumerate() {
            // Types, which may be long, stand before the last part of a method of a generic type.
            let within = if index < 2 {
                rest.len().min(PATH)
            } else {
                rest.len()
            };
            let at = rest[..within]
                .windows(part.len())
                .position(|window| window == *part)?;
            rest = &rest[at + part.len()..];
        }
        Some(*function)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_in_both_manglings() {
        for (name, expected) in [
            (
                "_ZN5tokio7runtime4task3raw4poll17h0e990fdc583c2e4dE",
                Some(Function::Poll),
            ),
            (
                "_ZN5hyper6client8dispatch19Sender$LT$T$C$U$GT$8try_send17h66698a16a3e226c5E",
                Some(Function::Send),
            ),
            (
                "_ZN5hyper6client8dispatch28UnboundedSender$LT$T$C$U$GT$8try_send17h0E",
                None,
            ),
            (
                "_ZN12atomic_waker11AtomicWaker4wake17h30e3650f8da24a6aE",
                None,
            ),
            (
                "_RNvNtNtCs6lIMRr3PfSq_5tokio7runtime7context19set_current_task_id",
                Some(Function::Enter),
            ),
            (
                "_RNvMs2_NtNtNtCs6lIMRr3PfSq_5tokio7runtime4task4coreNtB5_11TaskIdGuard5enter",
                Some(Function::Enter),
            ),
            (
                "_RNvMs0_NtNtNtCs6lIMRr3PfSq_5tokio4sync4task12atomic_wakerNtB5_11AtomicWaker4wake",
                Some(Function::Wake),
            ),
            (
                "_RNvMCs1jQHsFwZTMo_12atomic_wakerNtB2_11AtomicWaker4wake",
                None,
            ),
            (
                "_RNvMNtNtCs5QDSTDkL1U1_5hyper6client8dispatchINtB2_6SenderINtNtCsg_4http7request7RequestuEuE8try_sendB1D_",
                Some(Function::Send),
            ),
            (
                "_RNvMs3_NtNtCs5QDSTDkL1U1_5hyper6client8dispatchINtB5_8CallbackuuE4sendB1I_",
                None,
            ),
        ] {
            assert_eq!(function(name.as_bytes()), expected, "{name}");
        }
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
}
