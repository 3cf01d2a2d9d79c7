//! Whether tasks may lose their CPU in the middle of kernel code: `none` and `voluntary` keep them, `lazy`, `full` and
//! real-time kernels do not. Where nothing says so, preemption counts as possible, which costs little.

use std::{fs, io::Read as _};

/// For a kernel with this version and release (`uname -v`, `uname -r`).
pub(super) fn is_possible(version: &str, release: &str) -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let scheduler = fs::read_to_string("/sys/kernel/debug/sched/preempt").ok();
    by(version, scheduler.as_deref(), &line, || {
        configuration(release)
    })
}

/// From the version, the scheduler's own word (`none voluntary (full) lazy`), the kernel's command line and its
/// configuration.
fn by(
    version: &str,
    scheduler: Option<&str>,
    line: &str,
    configuration: impl FnOnce() -> Option<String>,
) -> bool {
    let model = version
        .split_whitespace()
        .find(|word| word.starts_with("PREEMPT"));
    match model {
        None => return false,
        Some("PREEMPT_DYNAMIC") => {}
        Some(_) => return true,
    }
    let chosen = scheduler
        .and_then(|modes| modes.split_once('(')?.1.split(')').next())
        .or_else(|| {
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix("preempt="))
                .next_back()
        });
    if let Some(mode) = chosen {
        return !matches!(mode, "none" | "voluntary");
    }
    match configuration() {
        Some(text) => !text
            .lines()
            .any(|line| matches!(line, "CONFIG_PREEMPT_NONE=y" | "CONFIG_PREEMPT_VOLUNTARY=y")),
        None => true,
    }
}

/// The kernel's configuration, where the kernel or the distribution shows it.
fn configuration(release: &str) -> Option<String> {
    if let Ok(file) = fs::File::open("/proc/config.gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .take(4 << 20)
            .read_to_string(&mut text)
            .ok()?;
        return Some(text);
    }
    fs::read_to_string(format!("/boot/config-{release}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.1-1 (2026-11-01)";

    #[test]
    fn what_the_kernel_says_comes_before_how_it_was_built() {
        let none = || Some("CONFIG_PREEMPT_NONE=y\n".to_owned());
        let lazy = || Some("CONFIG_PREEMPT_LAZY=y\n# CONFIG_PREEMPT_NONE is not set\n".to_owned());
        assert!(!by("#1 SMP Debian 5.10", None, "", lazy));
        assert!(by("#1 SMP PREEMPT_RT Debian", Some("(none)"), "", none));
        assert!(by("#1 SMP PREEMPT", None, "", none));
        assert!(!by(DYNAMIC, None, "quiet", none));
        assert!(by(DYNAMIC, None, "quiet", lazy));
        assert!(by(DYNAMIC, None, "preempt=none preempt=full", none));
        assert!(!by(DYNAMIC, None, "preempt=voluntary", lazy));
        assert!(by(
            DYNAMIC,
            Some("none voluntary full (lazy)"),
            "preempt=none",
            none
        ));
        assert!(!by(DYNAMIC, Some("none (voluntary) full"), "", lazy));
        assert!(by(DYNAMIC, None, "", || None));
    }
}
