//! What the kernel counts of programs and maps (`/proc/self/fdinfo`), and the calls that no program saw.

use observer_abi::loss::Counter;

/// What the kernel tells of a program.
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// Time spent in it, ns; zero while `kernel.bpf_stats_enabled` is off.
    pub run_time_ns: u64,
    /// How often it ran; zero while `kernel.bpf_stats_enabled` is off.
    pub runs: u64,
    /// How often the kernel left it out, because the CPU was in the middle of it already: a thread that was preempted
    /// there, or an interrupt (`bpf_prog_inc_misses_counter`, since 5.12).
    pub missed: u64,
    /// It works where another one was missed.
    pub is_spare: bool,
    /// Instructions that the verifier looked at (5.16).
    pub verified: Option<u64>,
}

impl ProgramStats {
    /// Of the program behind a descriptor; `None` where it can't be read: a counter must not seem to fall to zero.
    pub(super) fn of(name: &str, descriptor: i32) -> Option<Self> {
        Some(Self::from_text(name, &fdinfo(descriptor)?))
    }

    fn from_text(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            run_time_ns: number(text, "run_time_ns:").unwrap_or(0),
            runs: number(text, "run_cnt:").unwrap_or(0),
            missed: number(text, "recursion_misses:").unwrap_or(0),
            is_spare: name.ends_with("_spare"),
            verified: number(text, "verified_insns:"),
        }
    }
}

/// `memlock` of a map's descriptor: what the kernel charges for it, bytes.
pub(super) fn memory_of(descriptor: i32) -> Option<u64> {
    number(&fdinfo(descriptor)?, "memlock:")
}

fn fdinfo(descriptor: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()
}

fn number(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// Calls that a hook's first program, or its spare, did not deal with as usual.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// The first program was left out of.
    pub(super) missed: u64,
    /// The spare served.
    pub(super) taken_over: u64,
}

impl Calls {
    /// So far.
    pub(super) fn of(stats: &[ProgramStats], counters: &[(Counter, &'static str, u64)]) -> Self {
        let firsts = stats.iter().filter(|program| !program.is_spare);
        Self {
            missed: firsts.map(|program| program.missed).sum(),
            taken_over: taken_over(counters),
        }
    }

    /// How many nobody served, of those since `settled`.
    pub(super) fn lost_since(self, settled: Self) -> u64 {
        let taken_over = self.taken_over.saturating_sub(settled.taken_over);
        let missed = self.missed.saturating_sub(settled.missed);
        missed.saturating_sub(taken_over)
    }
}

/// Calls that spares served.
pub(super) fn taken_over(counters: &[(Counter, &'static str, u64)]) -> u64 {
    let spare_ran = |(counter, ..): &&(Counter, _, _)| *counter == Counter::SpareRan;
    let found = counters.iter().find(spare_ran);
    found.map_or(0, |(.., count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_keys() {
        let text = "prog_type:\t26\nrun_time_ns:\t1200\nrun_cnt:\t3\nrecursion_misses:\t2\nverified_insns:\t77\n";
        let stats = ProgramStats::from_text("socket_sent_spare", text);
        assert_eq!((stats.run_time_ns, stats.runs, stats.missed), (1200, 3, 2));
        assert_eq!(stats.verified, Some(77));
        assert!(stats.is_spare);
        // 5.10 tells neither.
        let old = ProgramStats::from_text("socket_sent", "prog_type:\t26\n");
        assert_eq!((old.missed, old.verified, old.is_spare), (0, None, false));
    }

    #[test]
    fn a_call_that_the_spare_served_is_not_lost_and_what_attaching_cost_does_not_count() {
        let missed =
            |name, count| ProgramStats::from_text(name, &format!("recursion_misses:\t{count}"));
        let calls = |first, served| {
            Calls::of(
                &[
                    missed("socket_sent", first),
                    missed("socket_sent_spare", 100),
                ],
                &[(Counter::SpareRan, "spare_ran", served)],
            )
        };
        assert_eq!(calls(7, 7).lost_since(Calls::default()), 0);
        assert_eq!(calls(7, 5).lost_since(Calls::default()), 2);
        assert_eq!(calls(9, 6).lost_since(calls(7, 5)), 1);
    }
}
