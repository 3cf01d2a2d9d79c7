//! CPython 3.11: the context that each thread runs in, and where one is copied from another.
//!
//! Offsets are those of 3.11's structs (`Include/internal/pycore_runtime.h`, `Include/cpython/pystate.h`,
//! `Include/internal/pycore_context.h`), seen equal in 3.11.2 and 3.11.7. They are not taken on trust: a process
//! counts only once its own memory agrees, that is, once the thread state that glibc keeps for its main thread
//! is the one that the interpreter has listed for it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use observer_abi::process::{Runtime, runtime};

use super::{
    code,
    plan::{Plan, Probe},
};
use crate::elf::Image;
use crate::thread_group;

/// In `_PyRuntime`: `interpreters.main`, `gilstate.autoTSSkey`.
const MAIN_INTERPRETER: u64 = 0x30;
const THREAD_KEY: u64 = 0x250;
/// In the interpreter: `threads.head`.
const FIRST_THREAD: u64 = 0x10;
/// In the thread state: `next`, `thread_id`, `context`.
const NEXT_THREAD: u64 = 0x08;
const THREAD_ID: u64 = 0x98;
const CONTEXT: u32 = 0xe0;
/// In the context: `ctx_entered`.
const ENTERED: u32 = 0x28;
/// glibc's `struct pthread`: `specific_1stblock`, 32 pairs of a sequence number and a pointer.
const THREAD_SPECIFIC: u64 = 0x310;
const FIRST_BLOCK: u32 = 32;
/// Most threads that are looked at for the main one.
const MOST_THREADS: usize = 64;

const COPY: &str = "PyContext_CopyCurrent";
const ENTER: &str = "PyContext_Enter";
const RUNTIME: &str = "_PyRuntime";

/// Whether an executable's file name is this interpreter's.
pub(super) fn is_interpreter(name: &str) -> bool {
    name == "python3.11"
}

/// The file that holds the interpreter of a process: its executable, or the library that this has loaded.
pub(super) fn interpreter(proc: &Path, pid: u32) -> Option<PathBuf> {
    let folder = thread_group::folder(proc, pid);
    let exe = folder.join("exe");
    let file = File::open(&exe).ok()?;
    if Image::read(&file)?.symbols(&[COPY]).contains_key(COPY) {
        return Some(exe);
    }
    let maps = fs::read_to_string(folder.join("maps")).ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.get(line.find('/')?..))
        .find(|path| path.contains("/libpython3.11.so"))?;
    Some(folder.join("root").join(path.trim_start_matches('/')))
}

/// Where the interpreter's probes belong, and where its runtime lies.
pub(super) fn plan(image: &Image<'_>) -> Option<(Plan, u64)> {
    let found = image.symbols(&[COPY, ENTER, RUNTIME]);
    let mut probes = vec![Probe {
        program: "python_context_entered",
        offset: image.file_offset(*found.get(ENTER)?)?,
    }];
    for address in code::returns(image, *found.get(COPY)?)? {
        probes.push(Probe {
            program: "python_context_copied",
            offset: image.file_offset(address)?,
        });
    }
    let runtime = Runtime {
        kind: runtime::PYTHON,
        unit_offset: CONTEXT,
        second_offset: ENTERED,
        ..Runtime::default()
    };
    Some((Plan { runtime, probes }, *found.get(RUNTIME)?))
}

/// Where in its threads' memory a process keeps their thread states, from the thread pointer; `None` until it has
/// begun, and where it is not as it should be.
pub(super) fn thread_pointer_offset(proc: &Path, pid: u32, runtime: u64) -> Option<i64> {
    let memory = File::open(thread_group::folder(proc, pid).join("mem")).ok()?;
    let word = |address: u64| {
        let mut bytes = [0; 8];
        memory.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let key = word(runtime + THREAD_KEY)?;
    let (initialised, key) = (key as u32, (key >> 32) as u32);
    if initialised != 1 || key >= FIRST_BLOCK {
        return None;
    }
    let offset = THREAD_SPECIFIC + 16 * u64::from(key) + 8;
    let interpreter = word(runtime + MAIN_INTERPRETER).filter(|address| *address != 0)?;
    let mut thread = word(interpreter + FIRST_THREAD)?;
    for _ in 0..MOST_THREADS {
        if thread == 0 {
            return None;
        }
        let id = word(thread + THREAD_ID)?;
        if word(id.wrapping_add(offset)) != Some(thread) {
            return None;
        }
        let next = word(thread + NEXT_THREAD)?;
        if next == 0 {
            return i64::try_from(offset).ok();
        }
        thread = next;
    }
    i64::try_from(offset).ok()
}
