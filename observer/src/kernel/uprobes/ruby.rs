//! Ruby 3.0 on: the fiber that each thread runs, and where puma asks for a connection's state.
//!
//! | what | where | how it is found |
//! |---|---|---|
//! | the current execution context | `ruby_current_ec`, thread-local, in libruby or the executable | the thread's table of thread-local storage, the file's number in it, the symbol's offset (ELF's ABI for thread-local storage on x86-64) |
//! | `getsockopt` | its stub in `socket.so` | the stub that jumps through the slot of that relocation |
//!
//! No offset of any struct of Ruby's. glibc only: musl's table has entries of another size.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use object::elf;
use observer_abi::process::{Runtime, runtime};

use super::{
    imports,
    plan::{Plan, Probe},
};
use crate::elf::Image;
use crate::thread_group;

/// The execution context of the thread's current fiber.
const CONTEXT: &str = "ruby_current_ec";
/// `tcbhead_t.dtv` of glibc (`sysdeps/x86_64/nptl/tls.h`), from the thread pointer.
const TABLE: i64 = 8;
/// Bytes of an entry of that table (`sysdeps/generic/dl-dtv.h`).
const ENTRY: u32 = 16;
/// The executable's number in it. Others get theirs when they are loaded.
const EXECUTABLE: u64 = 1;
/// More files with thread-local storage no process has.
const MOST_FILES: u64 = 4096;

/// Whether an executable's file name is this interpreter's: `ruby`, `ruby3.1`.
pub(super) fn is_interpreter(name: &str) -> bool {
    name.strip_prefix("ruby")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The files of a process that are looked at.
pub(super) struct Files {
    /// The one that has the interpreter: its executable, or the library that this has loaded.
    pub(super) interpreter: PathBuf,
    is_library: bool,
    /// The extension for sockets. Until it is there the process has no connections.
    pub(super) sockets: PathBuf,
}

/// `None` until all are loaded, and for a C library that is not known.
pub(super) fn files(proc: &Path, pid: u32) -> Option<Files> {
    let folder = thread_group::folder(proc, pid);
    let maps = fs::read_to_string(folder.join("maps")).ok()?;
    let path_like = |found: &dyn Fn(&str) -> bool| {
        let paths = maps.lines().filter_map(|line| line.get(line.find('/')?..));
        let mut paths = paths.filter(|path| found(path.rsplit('/').next().unwrap_or_default()));
        let path = paths.next()?;
        Some(folder.join("root").join(path.trim_start_matches('/')))
    };
    path_like(&|name| name == "libc.so.6")?;
    let sockets = path_like(&|name| name == "socket.so")?;
    let library = path_like(&|name| name.starts_with("libruby") && name.contains(".so"));
    Some(Files {
        is_library: library.is_some(),
        interpreter: library.unwrap_or_else(|| folder.join("exe")),
        sockets,
    })
}

/// Where a file's thread-local storage is, and the current context in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Address of the word with the file's number in the table; none for an executable.
    number_at: Option<u64>,
    offset: u32,
}

/// What the file that has the interpreter tells; it needs no breakpoints.
pub(super) fn interpreter(image: &Image<'_>) -> Option<(Plan, Place)> {
    let place = Place {
        number_at: image.relocation(elf::R_X86_64_DTPMOD64, CONTEXT),
        offset: u32::try_from(image.thread_local_symbol(CONTEXT)?).ok()?,
    };
    let runtime = Runtime {
        kind: runtime::RUBY,
        thread_pointer_offset: TABLE,
        ..Runtime::default()
    };
    let probes = Vec::new();
    Some((Plan { runtime, probes }, place))
}

/// The extension's one breakpoint.
pub(super) fn sockets(image: &Image<'_>) -> Option<Plan> {
    // Another program's file of that name?
    if image.symbols(&["Init_socket"]).is_empty() {
        return None;
    }
    let probe = Probe {
        program: "ruby_connection_asked",
        offset: image.file_offset(imports::stub(image, "getsockopt")?)?,
    };
    let runtime = Runtime::default();
    Some(Plan {
        runtime,
        probes: vec![probe],
    })
}

/// The entry of one process, whose interpreter's file is loaded so far from where it says; `None` until the dynamic
/// linker is through.
pub(super) fn placed(
    mut runtime: Runtime,
    place: Place,
    files: &Files,
    proc: &Path,
    pid: u32,
    bias: u64,
) -> Option<Runtime> {
    let number = if files.is_library {
        let memory = File::open(thread_group::folder(proc, pid).join("mem")).ok()?;
        let mut bytes = [0; 8];
        memory
            .read_exact_at(&mut bytes, place.number_at?.wrapping_add(bias))
            .ok()?;
        u64::from_le_bytes(bytes)
    } else {
        EXECUTABLE
    };
    if !(1..MOST_FILES).contains(&number) {
        return None;
    }
    runtime.unit_offset = ENTRY * u32::try_from(number).ok()?;
    runtime.second_offset = place.offset;
    Some(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_known_by_its_name() {
        for name in ["ruby", "ruby3.1", "ruby3"] {
            assert!(is_interpreter(name), "{name}");
        }
        for name in ["rubyist", "truby", "ruby-build", "rub"] {
            assert!(!is_interpreter(name), "{name}");
        }
    }
}
