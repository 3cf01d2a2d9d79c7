//! What a daemon has in the kernel: its programs, how often they ran, its maps.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::Observer;

/// Lets the kernel count how often programs run, until this is dropped.
pub struct Counting {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Counting {
    /// Begins.
    ///
    /// # Panics
    /// Where the kernel does not let it be switched on.
    #[allow(clippy::new_without_default, reason = "it changes the machine")]
    pub fn new() -> Self {
        let before = fs::read_to_string(SWITCH).unwrap();
        fs::write(SWITCH, "1").unwrap();
        Self { before }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// What a daemon has in the kernel: kinds (`prog`, `map`, `link`) and ids. Other daemons on the machine have their own.
pub type InKernel = BTreeSet<(&'static str, u64)>;

/// Those of them that the kernel still has.
///
/// # Panics
/// When bpftool is missing or not allowed to look.
pub fn left_in_kernel(of: &InKernel) -> InKernel {
    let ids = |kind: &'static str| {
        let output = Command::new("bpftool")
            .args(["-j", kind, "show"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let list = list.as_array().cloned().unwrap_or_default();
        let ids = list.into_iter().filter_map(|one| one["id"].as_u64());
        ids.map(|id| (kind, id)).collect::<InKernel>()
    };
    let all = KINDS.iter().flat_map(|(kind, _)| ids(kind)).collect();
    of & &all
}

/// Kinds of what is in the kernel, and what a descriptor says of its own.
const KINDS: [(&str, &str); 3] = [("prog", "prog_id"), ("map", "map_id"), ("link", "link_id")];

impl Observer {
    /// How often the daemon's program of this name has run while the kernel counted.
    ///
    /// # Panics
    /// When it has none.
    pub fn runs(&self, program: &str) -> u64 {
        let ids = ids("prog", program);
        let runs: Vec<u64> = self
            .descriptors()
            .iter()
            .filter(|text| ids.iter().any(|id| field(text, "prog_id") == Some(*id)))
            .filter_map(|text| field(text, "run_cnt"))
            .collect();
        *runs.first().unwrap_or_else(|| panic!("no {program}"))
    }

    /// Whether the kernel was told how a process's runtime works.
    ///
    /// # Panics
    /// When the daemon has no such map.
    pub fn knows_runtime_of(&self, pid: u32) -> bool {
        let ids = ids("map", "RUNTIMES");
        let map = self
            .descriptors()
            .iter()
            .find_map(|text| field(text, "map_id").filter(|id| ids.contains(id)))
            .expect("the daemon has no map of runtimes");
        let key = pid.to_ne_bytes().map(|byte| byte.to_string());
        let map = map.to_string();
        let mut lookup = Command::new("bpftool");
        lookup.args(["-j", "map", "lookup", "id", &map, "key"]);
        lookup.args(key).output().unwrap().status.success()
    }

    /// What it has in the kernel now.
    pub fn in_kernel(&self) -> InKernel {
        let said = self.descriptors();
        let said = said.iter().flat_map(|text| {
            let ids = KINDS.iter();
            ids.filter_map(|(kind, name)| Some((*kind, field(text, name)?)))
        });
        said.collect()
    }

    /// What the kernel says of each of the daemon's descriptors.
    fn descriptors(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fdinfo", self.pid());
        let entries = fs::read_dir(folder).unwrap();
        // One that was closed meanwhile is none.
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .collect()
    }
}

/// Ids of all programs (`prog`) or maps (`map`) of a name on this machine.
fn ids(kind: &str, name: &str) -> Vec<u64> {
    let output = Command::new("bpftool")
        .args(["-j", kind, "show"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The kernel keeps fifteen bytes of a name.
    let name = &name[..name.len().min(15)];
    list.as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"] == name)
        .map(|one| one["id"].as_u64().unwrap())
        .collect()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}
