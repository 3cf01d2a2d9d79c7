//! A `/proc` of files, for tests.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use super::ProcFs;
use crate::identity::ProcessKey;

/// A file system that does not answer until it is told to, as FUSE's may.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Who waits, and whether it is open.
    state: Mutex<(u32, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Returns once it is open.
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
        state.0 -= 1;
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.state.lock().unwrap().0 > 0
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// A directory that is removed with its owner.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "observer-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A made-up `/proc`.
pub(crate) struct Fixture(Directory);

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self(Directory::new());
        fixture.write("sys/kernel/hostname", b"host-1\n");
        fixture.write("sys/kernel/random/boot_id", b"boot\n");
        fixture.write(
            "rootfs/etc/machine-id",
            b"0123456789abcdef0123456789abcdef\n",
        );
        fixture.write(
            "rootfs/etc/passwd",
            b"root:x:0:0::/:/bin/sh\nshop:x:1000:1000::/:/bin/sh\n",
        );
        fixture.process(1, 0, 1, 1, "/sbin/init", &["init"]);
        fixture
    }

    pub(crate) fn proc(&self) -> ProcFs {
        ProcFs::at(self.0.path())
    }

    /// The same, where files in the root of that process are not answered before the gate is opened.
    pub(crate) fn proc_that_hangs(&self, pid: u32) -> (ProcFs, Arc<Gate>) {
        let gate = Arc::<Gate>::default();
        let mut proc = self.proc();
        proc.gate = Some((pid, Arc::clone(&gate)));
        (proc, gate)
    }

    pub(super) fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn link(&self, file: &str, target: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// A process; `layout` is equal for those forked from one another with no exec in between.
    pub(crate) fn process(
        &self,
        pid: u32,
        parent: u32,
        ticks: u64,
        layout: u64,
        exe: &str,
        args: &[&str],
    ) -> ProcessKey {
        let comm: String = exe.rsplit('/').next().unwrap().chars().take(15).collect();
        let stat = format!(
            "{pid} ({comm}) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1 1 1 {layout} 1 {layout}9 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 {layout} 1 {layout} 1 1 1 1 0\n"
        );
        self.write(&format!("{pid}/stat"), stat.as_bytes());
        self.write(
            &format!("{pid}/cmdline"),
            format!("{}\0", args.join("\0")).as_bytes(),
        );
        self.write(&format!("{pid}/environ"), b"");
        self.write(&format!("{pid}/cgroup"), b"0::/\n");
        self.write(
            &format!("{pid}/status"),
            b"Name:\tx\nUid:\t1000\t1000\t1000\t1000\n",
        );
        self.link(&format!("{pid}/exe"), exe);
        self.link(&format!("{pid}/cwd"), "/");
        self.link(
            &format!("{pid}/root"),
            self.0.path().join("rootfs").to_str().unwrap(),
        );
        self.proc().key(pid, ticks)
    }

    pub(crate) fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }
}
