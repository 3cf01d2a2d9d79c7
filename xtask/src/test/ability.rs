//! Whether the end-to-end tests run here.

use std::ffi::OsStr;

/// What becomes of the end-to-end tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EndToEnd {
    /// The kernel can trace.
    Run,
    /// It can't, and somebody reads what is left out.
    Skip,
    /// It can't, and in CI nobody would notice that most tests are left out.
    Fail,
}

/// Decides from what `observer doctor` found and the environment's `CI`, which every CI service sets.
pub(super) fn decide(can_trace: bool, ci: Option<&OsStr>) -> EndToEnd {
    let in_ci = ci.is_some_and(|value| !["", "0", "false"].iter().any(|off| value == *off));
    match (can_trace, in_ci) {
        (true, _) => EndToEnd::Run,
        (false, false) => EndToEnd::Skip,
        (false, true) => EndToEnd::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(can_trace: bool, ci: Option<&str>) -> EndToEnd {
        decide(can_trace, ci.map(OsStr::new))
    }

    #[test]
    fn where_the_kernel_can_trace_the_tests_run_in_ci_and_elsewhere() {
        for ci in [None, Some(""), Some("false"), Some("true"), Some("1")] {
            assert_eq!(decided(true, ci), EndToEnd::Run, "{ci:?}");
        }
    }

    #[test]
    fn a_machine_that_cant_trace_fails_in_ci() {
        for ci in ["true", "1", "yes"] {
            assert_eq!(decided(false, Some(ci)), EndToEnd::Fail, "{ci}");
        }
    }

    #[test]
    fn a_machine_that_cant_trace_skips_elsewhere() {
        for ci in [None, Some(""), Some("0"), Some("false")] {
            assert_eq!(decided(false, ci), EndToEnd::Skip, "{ci:?}");
        }
    }
}
