//! What changed, from the commits' subjects.

use anyhow::Result;

use super::source::{Source, git};

/// In Debian's form, which rpm's tools show as well as text: one entry, since there was no release before.
pub(super) fn of_debian(source: &Source) -> Result<String> {
    let subjects = git(&["log", "--no-merges", "--format=%s"])?;
    let time = source.time("%a, %d %b %Y %H:%M:%S +0000")?;
    Ok(entry(source.version, &subjects, &time))
}

fn entry(version: &str, subjects: &str, time: &str) -> String {
    let lines: String = subjects
        .lines()
        .map(|subject| format!("  * {subject}\n"))
        .collect();
    format!("observer ({version}) unstable; urgency=medium\n\n{lines}\n -- {MAINTAINER}  {time}\n")
}

/// Who stands for the packages. There is no address of ours to name.
pub(super) const MAINTAINER: &str = "The observer authors <observer@localhost>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_in_debians_form() {
        assert_eq!(
            entry(
                "1.2.3",
                "b: new\na: old\n",
                "Mon, 30 Nov 2026 12:00:00 +0000"
            ),
            "observer (1.2.3) unstable; urgency=medium\n\n  * b: new\n  * a: old\n\n \
             -- The observer authors <observer@localhost>  Mon, 30 Nov 2026 12:00:00 +0000\n"
        );
    }
}
