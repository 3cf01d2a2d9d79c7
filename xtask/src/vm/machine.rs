//! The emulated machine: qemu's command line.

use std::path::Path;
use std::process::Command;

use super::kernel::Kernel;
use super::share::Share;

/// Its size, and what its kernel is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Machine {
    /// Words for the kernel's command line, such as lockdown=confidentiality
    #[arg(
        long,
        value_name = "CMDLINE",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) append: String,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) cpus: u32,
    /// Memory in MB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    pub(crate) memory: u32,
    /// Its clock counts instructions, 2 ns each, instead of time: throughput in it is the same whatever else this
    /// machine does. What an emulated processor is slow at (changing tasks) costs no more than anything else
    #[arg(long)]
    pub(crate) count_instructions: bool,
}

/// What a serial port is connected to.
pub(super) enum Serial<'a> {
    /// A Unix socket that listens.
    Socket(&'a Path),
    /// The terminal that we run in.
    Terminal,
    /// What is written is dropped.
    Nothing,
}

/// Without it a guest takes seconds to gather randomness; with it a panic ends the guest.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t mitigations=off random.trust_cpu=on no_timer_check";

/// qemu for one boot. `serial` are the guest's ports from the second on; the first is the kernel's console, a file.
pub(super) fn command(
    machine: &Machine,
    kernel: &Kernel,
    initramfs: &Path,
    share: &Share,
    console: &Path,
    serial: &[Serial<'_>],
) -> Command {
    let memory = machine.memory;
    let mut qemu = super::dies_with_us();
    qemu.arg("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-cpu", "max"])
        // One thread for all processors: with more, one boot in a hundred panics.
        .args(["-accel", "tcg,thread=single"])
        // Memory that virtiofsd can map, too.
        .args(["-M", "q35,memory-backend=memory"])
        .args(["-m", &memory.to_string()])
        .arg("-object")
        .arg(format!(
            "memory-backend-memfd,id=memory,size={memory}M,share=on"
        ))
        .args(["-smp", &machine.cpus.to_string()])
        .arg("-chardev")
        .arg(format!("socket,id=share,path={}", share.socket.display()))
        .args(["-device", "vhost-user-fs-pci,chardev=share,tag=host"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!("{COMMAND_LINE} {}", machine.append))
        .arg("-chardev")
        .arg(format!("file,id=console,path={}", console.display()))
        .args(["-serial", "chardev:console"]);
    if machine.count_instructions {
        qemu.args(["-icount", "shift=1,sleep=off"]);
    }
    for (number, port) in serial.iter().enumerate() {
        let backend = match port {
            Serial::Socket(path) => format!("socket,id=port{number},path={}", path.display()),
            // Ctrl-C is for the guest.
            Serial::Terminal => format!("stdio,id=port{number},signal=off"),
            Serial::Nothing => format!("null,id=port{number}"),
        };
        qemu.args(["-chardev", &backend]);
        qemu.args(["-serial", &format!("chardev:port{number}")]);
    }
    qemu
}
