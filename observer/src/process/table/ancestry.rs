//! Where an instance begins, by what `/proc` tells.

use crate::process::proc_fs::{ProcFs, Stat};

/// Most ancestors that are looked at.
const DEEPEST: usize = 64;

/// The ancestors that a process was forked from with no exec in between, nearest first, as id and start in ticks.
pub(super) fn topmost(
    proc: &ProcFs,
    pid: u32,
    stat: &Stat,
    stat_of: impl Fn(u32) -> Option<Stat>,
) -> Vec<(u32, u64)> {
    let mut chain = Vec::new();
    if stat.layout.is_none() {
        return chain;
    }
    let (mut child, mut parent) = (pid, stat.parent);
    while parent != 0 && chain.len() < DEEPEST {
        let Some(found) = stat_of(parent) else { break };
        let group = |pid| proc.read(pid, "cgroup", 16 << 10).ok();
        if found.layout != stat.layout
            || found.start_ticks > stat.start_ticks
            || group(child) != group(parent)
        {
            break;
        }
        chain.push((parent, found.start_ticks));
        (child, parent) = (parent, found.parent);
    }
    chain
}
