//! Which tiers must work on which kernels. What a tier may miss where it works, the suite itself knows.

use super::cell::{Cell, Row};

/// What `doctor` says of a tier that nobody has written yet.
const NOT_BUILT: &str = "this tier is not built yet";

/// Why a tier need not work on a kernel of the matrix, by its name there.
fn may_be_unavailable(kernel: &str, tier: &str) -> bool {
    match tier {
        // Its tracepoints came with 6.3.
        "socket" => ["5.10", "6.1"].contains(&kernel),
        // They read kernel memory by address.
        "kprobe" | "syscall" => kernel.ends_with("lockdown"),
        _ => false,
    }
}

/// Everything on a kernel that is not as it must be, a line each.
pub(super) fn failures(row: &Row) -> Vec<String> {
    let mut lines = Vec::new();
    for (tier, cell) in &row.cells {
        let place = format!("{} {tier}", row.name);
        match cell {
            Cell::Unavailable(why_not) => {
                if why_not != NOT_BUILT && !may_be_unavailable(row.name, tier) {
                    lines.push(format!("{place}: must work here, but: {why_not}"));
                }
            }
            Cell::Broken(_) | Cell::Ran { .. } => {
                let failed = cell.failures();
                lines.extend(failed.into_iter().map(|line| format!("{place}: {line}")));
            }
        }
    }
    lines
}
