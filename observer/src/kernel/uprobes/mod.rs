//! Runtimes whose work has to be asked of the runtime: event loops, goroutines, Python contexts, Ruby fibers, tasks of tokio's.
//!
//! In: processes that run, that called exec, that loaded something.
//! Out: breakpoints in their executables, and what the kernel programs must know of each process.
//! Owns: the links, by executable; an executable that nobody runs any more loses its breakpoints.
//!
//! A process is told to the kernel only once every breakpoint of its executable is in place, and stands in its own text.

mod code;
mod event_loop;
mod executables;
mod go;
mod imports;
mod node;
mod plan;
mod python;
mod recognition;
mod relocations;
mod ruby;
mod text;
mod thread_local;
mod tokio;

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use aya::maps::{HashMap as KernelMap, MapData};
use observer_abi::process::{Runtime, strict};

use self::plan::Plan;
pub(crate) use self::{executables::Executables, plan::Probe, text::stands_in};
use super::Kernel;
pub(crate) use super::breakpoints::Reach;
use crate::elf::{Executable, Image};
use crate::thread_group;

/// Kernel programs that are attached to executables.
pub(crate) const PROGRAMS: &[&str] = &[
    "loop_turned",
    "node_untold",
    "node_other",
    "node_works",
    "node_work_done",
    "node_lookup_done",
    "node_checked",
    "node_immediates",
    "work_submitted",
    "work_done",
    "go_round_trip",
    "go_connection_write",
    "go_created",
    "go_received",
    "python_context_copied",
    "python_context_entered",
    "ruby_connection_asked",
    "hyper_request_sent",
];

/// Numbers that [`Runtime::life`] may have.
const LIVES: u32 = 1 << 24;

/// Times that an interpreter is looked at again until it has begun.
const MOST_TRIES: u32 = 100;

/// Most executables that are known at a time.
const MOST_EXECUTABLES: usize = 256;

/// What was found out about an executable.
#[derive(Clone, Copy)]
struct Known {
    runtime: Runtime,
    /// The lowest address in the file, where that may be loaded anywhere.
    relocatable_from: Option<u64>,
    interpreter: Interpreter,
    /// Where in the file one of its breakpoints stands, if it needs any.
    breakpoint: Option<u64>,
}

/// What has to be asked of each process that runs an interpreter.
#[derive(Clone, Copy)]
enum Interpreter {
    /// It is none.
    No,
    /// The address of its runtime.
    Python(u64),
    Ruby(ruby::Place),
}

/// All executables with breakpoints, and the processes that the kernel was told about.
pub struct Runtimes {
    map: KernelMap<MapData, u32, Runtime>,
    executables: Executables<Known>,
    /// Interpreters that have not begun, and how often they were looked at.
    beginning: Vec<(u32, u32)>,
    /// Processes that the kernel was told about so far, modulo [`LIVES`].
    lives: u32,
    /// What the kernel was told of a process is true no more.
    taken_back: bool,
    proc: PathBuf,
}

impl Runtimes {
    /// With nothing attached; the programs are loaded ([`Kernel::load_uprobes`]).
    ///
    /// # Errors
    /// When their map is missing.
    pub fn new(kernel: Arc<Mutex<Kernel>>) -> Result<Self> {
        let map = {
            let kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            kernel.runtimes()?
        };
        Ok(Self {
            executables: Executables::new(
                kernel,
                MOST_EXECUTABLES,
                "calls of this program have no parents",
            ),
            map,
            beginning: Vec::new(),
            lives: 0,
            taken_back: false,
            proc: PathBuf::from("/proc"),
        })
    }

    /// Looks at a process. Returns whether the kernel was told something new: connections must then ask it again.
    pub fn look_at(&mut self, pid: u32) -> bool {
        self.look_again(pid, 0)
    }

    /// Whether there are some that had not begun.
    pub fn has_beginning(&self) -> bool {
        !self.beginning.is_empty()
    }

    /// Looks again at those that had not begun. Returns as [`look_at`](Self::look_at).
    pub fn look_at_beginning(&mut self) -> bool {
        let mut told = false;
        for (pid, tries) in std::mem::take(&mut self.beginning) {
            told |= self.look_again(pid, tries);
        }
        told
    }

    fn look_again(&mut self, pid: u32, tries: u32) -> bool {
        let Some(found) = self.find(pid) else {
            if tries < MOST_TRIES && self.may_begin(pid) {
                self.beginning.push((pid, tries + 1));
            }
            return std::mem::take(&mut self.taken_back);
        };
        let same = |told: Runtime| {
            found
                == Runtime {
                    life: found.life,
                    ..told
                }
        };
        if self.map.get(&pid, 0).is_ok_and(same) {
            return false;
        }
        self.lives = (self.lives + 1) % LIVES;
        let life = self.lives;
        self.map.insert(pid, Runtime { life, ..found }, 0).is_ok()
    }

    /// Whether a process is an interpreter that may not have begun.
    fn may_begin(&self, pid: u32) -> bool {
        let name = program_name(&thread_group::folder(&self.proc, pid).join("exe"));
        python::is_interpreter(&name) || ruby::is_interpreter(&name)
    }

    /// What the kernel is to be told of a process; attaches what its executable needs.
    fn find(&mut self, pid: u32) -> Option<Runtime> {
        let exe = thread_group::folder(&self.proc, pid).join("exe");
        let name = program_name(&exe);
        if ruby::is_interpreter(&name) {
            return self.find_ruby(pid);
        }
        let path = if python::is_interpreter(&name) {
            python::interpreter(&self.proc, pid)?
        } else {
            exe
        };
        let known = self.known(pid, &path, &name, |image| {
            if python::is_interpreter(&name) {
                let (plan, runtime) = python::plan(image)?;
                return Some((plan, Interpreter::Python(runtime)));
            }
            Some((recognition::of_executable(&name, image)?, Interpreter::No))
        })?;
        if known.runtime.strict != strict::NO && node::may_use_io_uring(&self.proc, pid) {
            return None;
        }
        placed(known, &self.proc, pid, &path)
    }

    /// The same for Ruby, which consists of two files.
    fn find_ruby(&mut self, pid: u32) -> Option<Runtime> {
        let files = ruby::files(&self.proc, pid)?;
        self.known(pid, &files.sockets, "socket.so", |image| {
            Some((ruby::sockets(image)?, Interpreter::No))
        })?;
        let known = self.known(pid, &files.interpreter, "ruby", |image| {
            let (plan, place) = ruby::interpreter(image)?;
            Some((plan, Interpreter::Ruby(place)))
        })?;
        let Interpreter::Ruby(place) = known.interpreter else {
            return None;
        };
        let (runtime, from) = (known.runtime, known.relocatable_from);
        let bias = bias(from, &self.proc, pid, &files.interpreter)?;
        ruby::placed(runtime, place, &files, &self.proc, pid, bias)
    }

    /// What is known of a file that a process runs; examined, with breakpoints, where it is new. `None` also where they
    /// don't stand in what this process has in its memory.
    fn known(
        &mut self,
        pid: u32,
        path: &Path,
        name: &str,
        plan: impl FnOnce(&Image<'_>) -> Option<(Plan, Interpreter)>,
    ) -> Option<Known> {
        let file = File::open(path).ok()?;
        let executable = Executable::of(&file)?;
        if !self.executables.contains(&executable) {
            if self.executables.is_full() {
                self.sweep();
            }
            if self.executables.is_full() {
                return None;
            }
            self.executables.add(executable, name, &file, |file| {
                let image = Image::read(file)?;
                let (plan, interpreter) = plan(&image)?;
                tracing::debug!(name, runtime = ?plan.runtime, "a runtime");
                let known = Known {
                    runtime: plan.runtime,
                    relocatable_from: image.relocatable.then(|| image.lowest_address()),
                    interpreter,
                    breakpoint: plan.probes.first().map(|probe| probe.offset),
                };
                Some((known, plan.probes))
            });
        }
        let known = self.executables.known(&executable)?;
        let stands = |offset| text::stands_in(&self.proc, pid, path, &file, offset);
        if known.breakpoint.is_none_or(stands) {
            return Some(known);
        }
        self.taken_back |= self.map.remove(&pid).is_ok();
        None
    }

    /// Looks at every captured process there is until it is to stop. Returns as [`look_at`](Self::look_at).
    pub fn look_at_all(&mut self, stop: &AtomicBool, is_captured: impl Fn(u32) -> bool) -> bool {
        let mut told = false;
        for pid in self.pids() {
            if stop.load(Ordering::Acquire) {
                break;
            }
            if is_captured(pid) {
                told |= self.look_at(pid);
            }
        }
        told
    }

    /// Takes the breakpoints out of files that nobody runs.
    pub fn sweep(&mut self) {
        let mut running = HashMap::new();
        for pid in self.pids() {
            for path in self.files(pid) {
                let found = File::open(&path)
                    .ok()
                    .and_then(|file| Executable::of(&file));
                if let Some(executable) = found {
                    running.insert(executable, path);
                }
            }
        }
        self.executables.keep(&running);
        self.forget_ended();
    }

    /// Takes back what was told of processes that had ended by then.
    fn forget_ended(&mut self) {
        let told: Vec<u32> = self.map.keys().filter_map(Result::ok).collect();
        for pid in told {
            if !self.proc.join(pid.to_string()).exists() {
                let _ = self.map.remove(&pid);
            }
        }
    }

    /// The files of a process that are looked at.
    fn files(&self, pid: u32) -> Vec<PathBuf> {
        let exe = thread_group::folder(&self.proc, pid).join("exe");
        let name = program_name(&exe);
        let mut files = vec![exe];
        if python::is_interpreter(&name) {
            files.extend(python::interpreter(&self.proc, pid));
        } else if ruby::is_interpreter(&name)
            && let Some(found) = ruby::files(&self.proc, pid)
        {
            files.extend([found.interpreter, found.sockets]);
        }
        files
    }

    fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.proc) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }
}

/// The file name of a process's program.
fn program_name(exe: &Path) -> String {
    let target = fs::read_link(exe).unwrap_or_default();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(" (deleted)").to_owned()
}

/// The entry of one process; Python's depends on where its file was loaded.
fn placed(known: Known, proc: &Path, pid: u32, path: &Path) -> Option<Runtime> {
    let mut found = known.runtime;
    let Interpreter::Python(runtime) = known.interpreter else {
        return Some(found);
    };
    let runtime = runtime.wrapping_add(bias(known.relocatable_from, proc, pid, path)?);
    found.thread_pointer_offset = python::thread_pointer_offset(proc, pid, runtime)?;
    Some(found)
}

/// How far from where it says a file is loaded, whose lowest address is this where that may differ.
fn bias(relocatable_from: Option<u64>, proc: &Path, pid: u32, path: &Path) -> Option<u64> {
    Some(match relocatable_from {
        Some(lowest) => first_mapping(proc, pid, path)?.wrapping_sub(lowest),
        None => 0,
    })
}

/// Where a file's first page is in a process's memory.
fn first_mapping(proc: &Path, pid: u32, path: &Path) -> Option<u64> {
    let inode = File::open(path).ok()?.metadata().ok()?.ino().to_string();
    let maps = fs::read_to_string(thread_group::folder(proc, pid).join("maps")).ok()?;
    // address perms offset device inode path; the lowest mapping of a file comes first.
    let line = maps
        .lines()
        .find(|line| line.split_ascii_whitespace().nth(4) == Some(&inode))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}
