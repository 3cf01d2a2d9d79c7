//! The host's own attributes.

use super::proc_fs::ProcFs;

/// What is the same for every process of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `host.name`.
    pub name: Option<String>,
    /// `host.id`, from machine-id.
    pub id: Option<String>,
    /// Boot id: process ids and start times mean something only within one boot.
    pub boot_id: String,
}

impl Host {
    /// Reads it. Where observer has a host name of its own (a container), the host's is asked through process 1.
    pub fn read(proc: &ProcFs) -> Self {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
        };
        let in_host = |path: &str| proc.read_in_root(1, path, 256).ok().and_then(text);
        let global = |file: &str| proc.read_global(file, 256).ok().and_then(text);
        let own_uts = proc.read_global_link("self/ns/uts").ok();
        let shares_name = own_uts.is_some() && own_uts == proc.link(1, "ns/uts").ok();
        let host_name = if shares_name {
            None
        } else {
            in_host("/etc/hostname")
        };
        let id = in_host("/etc/machine-id").or_else(|| in_host("/var/lib/dbus/machine-id"));
        Self {
            name: host_name.or_else(|| global("sys/kernel/hostname")),
            id: id.filter(|id| id != "uninitialized"),
            boot_id: global("sys/kernel/random/boot_id").unwrap_or_default(),
        }
    }

    /// `host.arch` by OpenTelemetry's names.
    pub const fn arch() -> &'static str {
        match std::env::consts::ARCH.as_bytes() {
            b"x86_64" => "amd64",
            b"aarch64" => "arm64",
            b"x86" => "x86",
            b"arm" => "arm32",
            b"powerpc64" => "ppc64",
            _ => std::env::consts::ARCH,
        }
    }
}
