//! Executables with breakpoints, each once, whatever it is seen through.
//!
//! A file has another device and inode in each overlay that it is seen through, as an image has in each container. The
//! kernel keeps breakpoints by the inode below, and would run each as often as it was set. So before any is set in a new
//! file its [`Text`] is looked at. Where a breakpoint stands already one more is set for a moment, in this process alone
//! (`Reach::Ourselves`): the executable in whose text that one shows has the same inode. Where another's does, a second
//! tracer's say, it shows in none, and the file gets breakpoints of its own.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;

use super::{
    plan::Probe,
    text::{self, Text},
};
use crate::elf::Executable;
use crate::kernel::{
    Kernel,
    breakpoints::{Breakpoints, Reach},
};

/// The breakpoints of one file.
struct Attached {
    /// As what it was seen when they were set: their links hold its mount.
    through: Executable,
    probes: Vec<Probe>,
    _breakpoints: Vec<Breakpoints>,
    /// Around the first of them; none where the file needs none.
    text: Option<Text>,
}

#[derive(Clone)]
struct Entry<K> {
    known: K,
    /// Shared by all that turned out to be the same file.
    attached: Arc<Attached>,
}

/// All executables that were looked at, with what is known of those that have breakpoints, or need none.
pub(crate) struct Executables<K> {
    kernel: Arc<Mutex<Kernel>>,
    all: HashMap<Executable, Option<Entry<K>>>,
    /// How many there may be.
    most: usize,
    /// What a file's processes go without where its breakpoints can't be set.
    without: &'static str,
}

impl<K: Clone> Executables<K> {
    /// None of them. `without` says what is missing where breakpoints can't be set.
    pub(crate) fn new(kernel: Arc<Mutex<Kernel>>, most: usize, without: &'static str) -> Self {
        Self {
            kernel,
            all: HashMap::new(),
            most,
            without,
        }
    }

    /// Whether there is no room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= self.most
    }

    /// Whether a file was looked at.
    pub(crate) fn contains(&self, executable: &Executable) -> bool {
        self.all.contains_key(executable)
    }

    /// What is known of a file that was looked at.
    pub(crate) fn known(&self, executable: &Executable) -> Option<K> {
        Some(self.all.get(executable)?.as_ref()?.known.clone())
    }

    /// Looks at a file and sets the breakpoints that it needs and has not.
    pub(crate) fn add(
        &mut self,
        executable: Executable,
        name: &str,
        file: &File,
        plan: impl FnOnce(&File) -> Option<(K, Vec<Probe>)>,
    ) {
        let entry = self.examine(executable, name, file, plan);
        self.all.insert(executable, entry);
    }

    /// `None` where the file is none of ours or something is missing.
    fn examine(
        &self,
        executable: Executable,
        name: &str,
        file: &File,
        plan: impl FnOnce(&File) -> Option<(K, Vec<Probe>)>,
    ) -> Option<Entry<K>> {
        let (known, probes) = plan(file)?;
        if let Some(attached) = self.same_file(file, &probes) {
            tracing::debug!(name, "seen through another mount: its breakpoints stand");
            return Some(Entry { known, attached });
        }
        match self.attach(executable, file, probes) {
            Ok(attached) => {
                let probes = attached.probes.len();
                tracing::debug!(name, probes, "breakpoints set");
                let attached = Arc::new(attached);
                Some(Entry { known, attached })
            }
            Err(error) => {
                tracing::info!(
                    name,
                    error = format!("{error:#}"),
                    "no breakpoints: {}",
                    self.without
                );
                None
            }
        }
    }

    /// The breakpoints that stand in this file already, set through another mount.
    fn same_file(&self, file: &File, probes: &[Probe]) -> Option<Arc<Attached>> {
        let first = probes.first()?;
        if !text::is_instruction(file, first.offset)
            || !Text::around(file, first.offset)?.has_breakpoint(first.offset)
        {
            return None;
        }
        let mut candidates: Vec<(&Arc<Attached>, &Text)> = self
            .all
            .values()
            .filter_map(|entry| {
                let attached = &entry.as_ref()?.attached;
                Some((attached, attached.text.as_ref()?))
            })
            .filter(|(attached, _)| attached.probes == probes)
            .collect();
        for witness in text::following(file, first.offset) {
            // Where one shows that nobody set for this there is no telling.
            if candidates
                .iter()
                .any(|(_, text)| text.has_breakpoint(witness))
            {
                continue;
            }
            let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let path = held(file);
            let set = kernel.attach_uprobes(first.program, &path, &[witness], Reach::Ourselves);
            let Ok(_set) = set else { continue };
            candidates.retain(|(_, text)| text.has_breakpoint(witness));
            return candidates.first().map(|(attached, _)| Arc::clone(attached));
        }
        None
    }

    fn attach(&self, executable: Executable, file: &File, probes: Vec<Probe>) -> Result<Attached> {
        let mut places: HashMap<&'static str, Vec<u64>> = HashMap::new();
        for probe in &probes {
            places.entry(probe.program).or_default().push(probe.offset);
        }
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let path = held(file);
        let breakpoints = places
            .iter()
            .map(|(program, offsets)| {
                kernel.attach_uprobes(program, &path, offsets, Reach::Everyone)
            })
            .collect::<Result<_>>()?;
        let first = probes.first();
        Ok(Attached {
            through: executable,
            text: first.and_then(|probe| Text::around(file, probe.offset)),
            probes,
            _breakpoints: breakpoints,
        })
    }

    /// Takes the breakpoints out of a file, for as long as it is known.
    pub(crate) fn disarm(&mut self, executable: &Executable) {
        let Some(Some(entry)) = self.all.get(executable) else {
            return;
        };
        let attached = Arc::clone(&entry.attached);
        for entry in self.all.values_mut() {
            if entry
                .as_ref()
                .is_some_and(|entry| Arc::ptr_eq(&entry.attached, &attached))
            {
                *entry = None;
            }
        }
    }

    /// Forgets what nobody runs, with its breakpoints. Those of a file that is still run through another mount are set
    /// anew through that one, so that a container that ended does not keep its mount.
    pub(crate) fn keep(&mut self, running: &HashMap<Executable, PathBuf>) {
        self.all
            .retain(|executable, _| running.contains_key(executable));
        let moving: Vec<(Executable, Arc<Attached>)> = self
            .all
            .iter()
            .filter_map(|(executable, entry)| {
                let attached = &entry.as_ref()?.attached;
                let left = !running.contains_key(&attached.through);
                left.then(|| (*executable, Arc::clone(attached)))
            })
            .collect();
        for (executable, old) in moving {
            let Some(entry) = self.all.get(&executable).and_then(Option::as_ref) else {
                continue;
            };
            // Moved already, with another that shares them.
            if !Arc::ptr_eq(&entry.attached, &old) {
                continue;
            }
            let Some(new) = running
                .get(&executable)
                .and_then(|path| File::open(path).ok())
                .filter(|file| Executable::of(file) == Some(executable))
                .and_then(|file| self.attach(executable, &file, old.probes.clone()).ok())
            else {
                continue;
            };
            let new = Arc::new(new);
            for entry in self.all.values_mut().flatten() {
                if Arc::ptr_eq(&entry.attached, &old) {
                    entry.attached = Arc::clone(&new);
                }
            }
        }
    }
}

/// A name for an open file: the process that it was found by may be gone by now, the file is not.
fn held(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}
