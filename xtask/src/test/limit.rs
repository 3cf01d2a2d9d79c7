//! One test program under a limit, for `cargo test`, which waits for ever for a test that hangs. (nextest has its own:
//! `.config/nextest.toml`.)
//!
//! Comes in: the program, as cargo starts it. Goes out: what it writes, and its exit code, or 124 and its name on
//! stderr where it wrote nothing for too long. The harness writes a line when a test ends, and one when a test has run for a
//! minute, which names it.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest time without a line: a test may take minutes, and may wait for another work tree's tests.
const SILENCE: Duration = Duration::from_secs(600);

/// How often to see whether it ended while it writes nothing.
const LOOK: Duration = Duration::from_millis(200);

/// What timeout(1) says, too.
const TOO_LONG: u8 = 124;

#[derive(clap::Args)]
pub(crate) struct ProgramOptions {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Makes `cargo test` start each test program through us.
///
/// # Errors
/// When our own executable is not known, or has a strange name.
pub(super) fn install(cargo: &mut Command) -> Result<()> {
    let own = std::env::current_exe()?;
    let own = own.to_str().context("the path of xtask is no UTF-8")?;
    let runner = serde_json::to_string(&[own, "test-program"])?;
    // A list of plain strings is the same in JSON and in TOML.
    cargo.args(["--config", &format!("target.'cfg(all())'.runner={runner}")]);
    Ok(())
}

/// Runs a test program.
///
/// # Errors
/// When it can't be started.
pub(crate) fn run(options: &ProgramOptions) -> Result<ExitCode> {
    let (program, arguments) = options.command.split_first().context("no test program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    match limited(command, SILENCE, std::io::stdout())? {
        Some(status) => Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from)),
        None => {
            eprintln!(
                "error: {} wrote nothing for {} minutes, so a test of it hangs: it was killed",
                Path::new(program).display(),
                SILENCE.as_secs() / 60
            );
            Ok(ExitCode::from(TOO_LONG))
        }
    }
}

/// Runs a program to its end and hands on what it writes. `None` where it wrote nothing for so long: then it, and all
/// that it started, was killed.
fn limited(
    mut command: Command,
    silence: Duration,
    mut to: impl Write,
) -> Result<Option<ExitStatus>> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a test program")?;
    let mut from = child.stdout.take().context("it has no output")?;
    let (written, wrote) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if written.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut last = Instant::now();
    loop {
        match wrote.recv_timeout(LOOK.min(silence)) {
            Ok(bytes) => {
                last = Instant::now();
                to.write_all(&bytes)?;
                to.flush()?;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It closed its output, and ends now or hangs.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(1)),
        }
        // What it left running may hold its output open; what it wrote itself is on its way at most.
        if let Some(status) = child.try_wait()? {
            let until = Instant::now() + silence.min(10 * LOOK);
            while Instant::now() < until
                && let Ok(bytes) = wrote.recv_timeout(LOOK)
            {
                to.write_all(&bytes)?;
            }
            return Ok(Some(status));
        }
        if last.elapsed() >= silence {
            kill(&mut child)?;
            return Ok(None);
        }
    }
}

/// Kills it and all that it started.
fn kill(child: &mut Child) -> Result<()> {
    let mut all = vec![child.id()];
    let mut looked = 0;
    while looked < all.len() {
        all.extend(children(all[looked])?);
        looked += 1;
    }
    child.kill()?;
    for pid in &all[1..] {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    child.wait()?;
    Ok(())
}

/// The processes that one started and that run.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Of one that ended meanwhile there is nothing to read.
        if let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
            && parent_of(&stat)? == parent
        {
            children.push(pid);
        }
    }
    Ok(children)
}

/// From `/proc/PID/stat`: behind the name, which may hold anything, stand the state and the parent.
fn parent_of(stat: &str) -> Result<u32> {
    let parent = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    match parent {
        Some(parent) => Ok(parent),
        None => bail!("a process's stat is not as it should be: {stat}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_ends_gives_what_it_wrote_and_its_code() {
        let mut wrote = Vec::new();
        let status = limited(shell("echo one; echo two; exit 3"), SILENCE, &mut wrote);
        assert_eq!(status.unwrap().and_then(|status| status.code()), Some(3));
        assert_eq!(wrote, b"one\ntwo\n");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let begun = Instant::now();
        let mut wrote = Vec::new();
        let script = "sh -c 'sleep 1000 & echo $!; wait' & wait";
        let status = limited(shell(script), Duration::from_secs(1), &mut wrote);
        assert!(status.unwrap().is_none());
        assert!(begun.elapsed() < Duration::from_secs(30));
        let sleeper = String::from_utf8(wrote).unwrap();
        let stat = Path::new("/proc").join(sleeper.trim()).join("stat");
        // Killed; whoever reaps it may take a moment.
        let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !is_gone() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{sleeper}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_program_that_closed_its_output_and_hangs_is_killed() {
        let script = "exec >&-; sleep 1000";
        let status = limited(shell(script), Duration::from_secs(1), Vec::new());
        assert!(status.unwrap().is_none());
    }

    #[test]
    fn what_a_program_left_running_is_not_waited_for() {
        let begun = Instant::now();
        let mut wrote = Vec::new();
        let status = limited(shell("sleep 20 & echo one"), SILENCE, &mut wrote);
        assert!(status.unwrap().is_some_and(|status| status.success()));
        assert_eq!(wrote, b"one\n");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_program_that_goes_on_writing_may_take_its_time() {
        let script = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done";
        let mut wrote = Vec::new();
        let status = limited(shell(script), Duration::from_secs(1), &mut wrote);
        assert!(status.unwrap().is_some_and(|status| status.success()));
        assert_eq!(wrote, b"1\n2\n3\n4\n5\n6\n");
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_of("7 (a) b (c)) S 42 7 7 0").unwrap(), 42);
        assert!(parent_of("nothing").is_err());
    }
}
