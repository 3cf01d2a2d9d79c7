//! A shell in a guest, for a person.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::guest::Folder;
use super::initramfs;
use super::kernel::Kernel;
use super::machine::{self, Machine, Serial};
use super::share::Share;

/// Boots and connects the terminal that we run in to a shell; returns when the shell ends.
///
/// # Errors
/// When standard input is no terminal, or qemu fails.
pub(super) fn run(kernel: &Kernel, mut machine: Machine) -> Result<()> {
    let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdin()) else {
        bail!("`cargo xtask vm shell` needs a terminal; `cargo xtask vm run` does not");
    };
    // Some terminals don't know their size.
    let (rows, columns) = (size.ws_row.max(24), size.ws_col.max(80));
    let sizes = format!(" observer.shell=1 observer.rows={rows} observer.columns={columns}");
    machine.append.push_str(&sizes);
    let folder = Folder::new()?;
    let image = folder.0.join("initramfs");
    initramfs::write(kernel, &super::script(&["exec bash -i".to_owned()]), &image)?;
    let share = Share::start(&folder.0)?;
    eprintln!(
        "{} boots; your files are there, what you write is gone with the guest; leave with exit",
        kernel.release
    );
    let console = folder.0.join("console");
    let ports = [Serial::Terminal, Serial::Nothing, Serial::Nothing];
    let mut command = machine::command(&machine, kernel, &image, &share, &console, &ports);
    let status = command.stdin(Stdio::inherit()).status();
    let status = status.context("starting qemu-system-x86_64")?;
    if !status.success() {
        bail!("qemu ended with {status}");
    }
    Ok(())
}
