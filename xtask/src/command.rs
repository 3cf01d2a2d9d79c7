//! Running other programs: say what is run, and fail with its name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, iter};

use anyhow::{Context, Result, bail};

/// Runs a program to its end with our own output streams, after printing its command line to stderr.
///
/// # Errors
/// When it can't be started, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("+ {line}");
    let status = command
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a program quietly and returns what it wrote to stdout.
///
/// # Errors
/// When it can't be started, fails (its stderr is in the message), or writes something that is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}\n{}", output.status, stderr.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` wrote no UTF-8"))
}

/// Whether a program is there and ends with success. Its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `PATH`, where `python3` is the interpreter itself. What is found there otherwise may be a script that looks for it
/// (pyenv's), which takes seconds in an emulated machine.
///
/// # Errors
/// When there is no Python.
pub(crate) fn path_to_python() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let print = "import sys; print(sys.executable)";
    let found = output(Command::new("python3").args(["-c", print]))?;
    let folder = Path::new(found.trim_end()).parent();
    let folder = folder.context("python3 does not know where it is")?;
    let is_python = |folder: &PathBuf| folder.join("python3").is_file();
    if env::split_paths(&path).find(is_python).as_deref() == Some(folder) {
        return Ok(path);
    }
    let folders = iter::once(folder.to_owned()).chain(env::split_paths(&path));
    Ok(env::join_paths(folders)?)
}

/// The command line for people: program and arguments with spaces between, no quoting.
fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}
