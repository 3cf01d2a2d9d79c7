//! `cargo xtask bench --pipeline`: how many exchanges a second one core makes of ring records, all the way to metrics, and
//! how many instructions each takes.
//!
//! The example `pipeline` of the daemon replays the records; the second number is callgrind's, which never varies.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{command, debian, workspace};

/// Rounds below callgrind, which is fifty times slower.
const COUNTED_ROUNDS: &str = "6";

/// Builds, measures and prints.
///
/// # Errors
/// When the example cannot be built or run, or counts nothing.
pub(super) fn run() -> Result<()> {
    debian::install(&[("valgrind", "valgrind")])?;
    // As it is packaged, but with the names that callgrind looks for.
    let build = ["rustc", "--profile", "dist", "--package", "observer"];
    let kept = ["--example", "pipeline", "--", "-Cstrip=none"];
    command::run(workspace::cargo().args(build).args(kept))?;
    let example = workspace::target().join("dist/examples/pipeline");
    let clock = command::output(&mut Command::new(&example))?;
    for line in clock.lines() {
        println!("{line}");
        let (protocol, _) = line.split_once(':').context("a line without a protocol")?;
        let (instructions, exchanges) = count(&example, protocol)?;
        println!("{protocol}: {} instructions each", instructions / exchanges);
    }
    Ok(())
}

/// Instructions of the replay of one protocol, and its exchanges.
fn count(example: &Path, protocol: &str) -> Result<(u64, u64)> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=callgrind",
        "--toggle-collect=*replay*",
        "--callgrind-out-file=/dev/null",
    ]);
    valgrind.arg(example);
    valgrind.args(["--protocol", protocol, "--rounds", COUNTED_ROUNDS]);
    let output = valgrind
        .stdin(Stdio::null())
        .output()
        .context("starting valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    let in_all = printed
        .trim_end()
        .strip_suffix(" exchanges in all")
        .and_then(|line| line.rsplit(' ').next());
    match (
        collected.and_then(|count| count.trim().parse().ok()),
        in_all.and_then(|count| count.parse().ok()),
    ) {
        (Some(instructions), Some(exchanges)) if instructions > 0 && exchanges > 0 => {
            Ok((instructions, exchanges))
        }
        _ => bail!("callgrind counted nothing of {protocol}:\n{said}{printed}"),
    }
}
