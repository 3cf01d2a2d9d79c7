//! Runtimes whose work has to be asked of the runtime: event loops, goroutines, Python contexts.
//!
//! In: processes that run, that called exec, that loaded something.
//! Out: breakpoints in their executables, and what the kernel programs must know of each process.
//! Owns: the links, by executable; an executable that nobody runs any more loses its breakpoints.
//!
//! A process is told to the kernel only once every breakpoint of its executable is in place.

mod event_loop;
mod functions;
mod go;
mod image;
mod plan;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use aya::{
    maps::{HashMap as KernelMap, MapData},
    programs::uprobe::UProbeLink,
};
use observer_abi::process::{Runtime, runtime};

use self::plan::Plan;
use super::Kernel;

/// Most executables that have breakpoints at a time.
const MOST_EXECUTABLES: usize = 256;

/// Kernel programs that are attached to executables.
pub(crate) const PROGRAMS: &[&str] = &[
    "loop_turned",
    "work_submitted",
    "work_done",
    "go_round_trip",
    "go_connection_write",
    "go_created",
    "go_received",
];

/// An executable, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Executable {
    device: u64,
    inode: u64,
    changed_ns: i64,
}

impl Executable {
    fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed_ns: metadata
                .mtime()
                .wrapping_mul(1_000_000_000)
                .wrapping_add(metadata.mtime_nsec()),
        })
    }
}

/// What was found out about an executable.
struct Known {
    runtime: Runtime,
    relocatable_from: Option<u64>,
    /// Held for what dropping them does.
    _links: Vec<UProbeLink>,
}

/// All executables with breakpoints, and the processes that the kernel was told about.
pub struct Runtimes {
    kernel: Arc<Mutex<Kernel>>,
    map: KernelMap<MapData, u32, Runtime>,
    executables: HashMap<Executable, Option<Known>>,
    proc: PathBuf,
}

impl Runtimes {
    /// With nothing attached.
    ///
    /// # Errors
    /// When the kernel refused the programs or their map is missing.
    pub fn new(kernel: Arc<Mutex<Kernel>>) -> Result<Self> {
        let map = {
            let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            kernel.load_uprobes(PROGRAMS)?;
            kernel.runtimes()?
        };
        Ok(Self {
            kernel,
            map,
            executables: HashMap::new(),
            proc: PathBuf::from("/proc"),
        })
    }

    /// Looks at a process. Returns whether the kernel was told something new: connections must then ask it again.
    pub fn look_at(&mut self, pid: u32) -> bool {
        let path = self.proc.join(pid.to_string()).join("exe");
        let Ok(file) = File::open(&path) else {
            return false;
        };
        let Some(executable) = Executable::of(&file) else {
            return false;
        };
        if !self.executables.contains_key(&executable) {
            if self.executables.len() >= MOST_EXECUTABLES {
                self.sweep();
            }
            if self.executables.len() >= MOST_EXECUTABLES {
                return false;
            }
            let name = fs::read_link(&path).unwrap_or_default();
            let name = name.file_name().unwrap_or_default().to_string_lossy();
            let name = name.trim_end_matches(" (deleted)");
            let known = plan::of_executable(name, &file).and_then(|plan| {
                self.attach(&path, &plan)
                    .inspect_err(|error| {
                        tracing::info!(
                            name,
                            error = format!("{error:#}"),
                            "calls of this program have no parents"
                        );
                    })
                    .ok()
                    .map(|known| {
                        tracing::debug!(name, probes = plan.probes.len(), runtime = ?plan.runtime, "breakpoints set");
                        known
                    })
            });
            self.executables.insert(executable, known);
        }
        let Some(Some(known)) = self.executables.get(&executable) else {
            return false;
        };
        let Some(runtime) = placed(known, &self.proc, pid) else {
            return false;
        };
        if self.map.get(&pid, 0).is_ok_and(|told| told == runtime) {
            return false;
        }
        self.map.insert(pid, runtime, 0).is_ok()
    }

    /// Looks at every process there is. Returns as [`look_at`](Self::look_at).
    pub fn look_at_all(&mut self) -> bool {
        let mut told = false;
        for pid in self.pids() {
            told |= self.look_at(pid);
        }
        told
    }

    /// Takes the breakpoints out of executables that nobody runs.
    pub fn sweep(&mut self) {
        let running: HashSet<Executable> = self
            .pids()
            .into_iter()
            .filter_map(|pid| {
                let file = File::open(self.proc.join(pid.to_string()).join("exe")).ok()?;
                Executable::of(&file)
            })
            .collect();
        self.executables
            .retain(|executable, _| running.contains(executable));
    }

    fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.proc) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn attach(&self, path: &Path, plan: &Plan) -> Result<Known> {
        let file = File::open(path)?;
        let image = image::Image::read(&file);
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let mut links = Vec::with_capacity(plan.probes.len());
        for probe in &plan.probes {
            links.push(kernel.attach_uprobe(probe.program, path, probe.offset)?);
        }
        Ok(Known {
            runtime: plan.runtime,
            relocatable_from: image
                .filter(|image| image.relocatable)
                .map(|image| image.lowest_address()),
            _links: links,
        })
    }
}

/// The entry of one process: addresses are where its executable was loaded.
fn placed(known: &Known, proc: &Path, pid: u32) -> Option<Runtime> {
    let mut found = known.runtime;
    if let (Some(lowest), true) = (
        known.relocatable_from,
        found.kind == runtime::GO && found.library_end != 0,
    ) {
        let loaded = first_mapping(proc, pid)?;
        let bias = loaded.wrapping_sub(lowest);
        found.library_start = found.library_start.wrapping_add(bias);
        found.library_end = found.library_end.wrapping_add(bias);
    }
    Some(found)
}

/// Where the executable's first page is in memory.
fn first_mapping(proc: &Path, pid: u32) -> Option<u64> {
    let exe = fs::read_link(proc.join(pid.to_string()).join("exe")).ok()?;
    let exe = exe.to_str()?;
    let maps = fs::read_to_string(proc.join(pid.to_string()).join("maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with(exe))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}
