//! Trace context in TCP options: the program on the root control group, and servers that were there before it.
//!
//! The kernel side, and what it does to packets, is `observer-ebpf/src/carry/tcp_option.rs`.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    os::fd::AsFd,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf,
    maps::lpm_trie::{Key, LpmTrie},
    programs::{CgroupAttachMode, Iter, ProgramError, SockOps},
};
use ipnet::IpNet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{control_group, types::KernelTypes};

/// Networks that the kernel's table holds, as `OPTION_PEERS` declares it.
const MOST_NETWORKS: usize = 1024;
/// Network namespaces whose servers are looked for, at most.
const MOST_NAMESPACES: usize = 4096;

/// Trace context in TCP options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Nobody asked for it.
    Off,
    /// In use.
    On,
    /// Asked for, and not possible here: why.
    Refused(String),
}

/// Loads the program, tells it the networks, and puts it on the root control group until the object is dropped.
///
/// # Errors
/// Why options can't be used here.
pub(crate) fn attach(ebpf: &mut Ebpf, types: &KernelTypes, peers: &[IpNet]) -> Result<()> {
    if !types.has_helper("reserve_hdr_opt") {
        bail!("this kernel's programs cannot write TCP options (5.10 and later can)");
    }
    let group = control_group::root()?;
    if peers.len() > MOST_NETWORKS {
        bail!(
            "{} networks are too many: name {MOST_NETWORKS} at most",
            peers.len()
        );
    }
    let map = ebpf.map_mut("OPTION_PEERS");
    let map = map.ok_or_else(|| anyhow!("the object has no map OPTION_PEERS"))?;
    let mut known: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(map)?;
    for network in peers {
        let (address, bits) = mapped(*network);
        known
            .insert(&Key::new(bits, address), 1, 0)
            .with_context(|| format!("cannot tell the kernel about {network}"))?;
    }
    let program: &mut SockOps = ebpf
        .program_mut("option_callback")
        .ok_or_else(|| anyhow!("the object has no program option_callback"))?
        .try_into()?;
    program.load().map_err(explain)?;
    // What other programs are on the group stays: links allow several.
    program
        .attach(group, CgroupAttachMode::Single)
        .map_err(explain)
        .context("cannot attach to the root control group")?;
    Ok(())
}

/// A network's address as IPv6, IPv4 mapped into it (RFC 4291 section 2.5.5.2), and how many of its 128 bits count.
fn mapped(network: IpNet) -> ([u8; 16], u32) {
    let bits = u32::from(network.prefix_len());
    match network {
        IpNet::V4(network) => (network.network().to_ipv6_mapped().octets(), 96 + bits),
        IpNet::V6(network) => (network.network().octets(), bits),
    }
}

fn explain(error: ProgramError) -> anyhow::Error {
    let refused = match &error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let error = anyhow!(error);
    match refused {
        Some(libc::EPERM) => error.context("the kernel refuses it (is CAP_NET_ADMIN missing?)"),
        _ => error,
    }
}

/// What became of servers that listened already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Listening sockets that answer from now on.
    pub sockets: usize,
    /// Those that will not: only servers that begin to listen from now on do.
    pub left_out: usize,
    /// Network namespaces that could not be looked into.
    pub namespaces_left_out: usize,
}

/// Whether servers that listen already can be made to answer (6.12).
pub(crate) fn can_adopt(types: &KernelTypes) -> bool {
    types.has_constant("TCP_BPF_SOCK_OPS_CB_FLAGS")
}

/// Makes servers that listen already answer, in every network namespace that a process is in.
///
/// # Errors
/// Why this kernel does not let it.
pub(crate) fn adopt(ebpf: &mut Ebpf) -> Result<Adopted> {
    let btf = Btf::from_sys_fs().context("cannot read the kernel's type information")?;
    let program: &mut Iter = ebpf
        .program_mut("option_listeners")
        .ok_or_else(|| anyhow!("the object has no program option_listeners"))?
        .try_into()?;
    program.load("tcp", &btf)?;
    let mut adopted = Adopted::default();
    // An iterator sees the namespace of the thread that opens it: one that is thrown away may change its own.
    std::thread::scope(|scope| {
        let walk = std::thread::Builder::new()
            .name("observer-listen".to_owned())
            .spawn_scoped(scope, || {
                for namespace in namespaces() {
                    let network = Some(LinkNameSpaceType::Network);
                    if let Err(error) = move_into_link_name_space(namespace.as_fd(), network) {
                        tracing::debug!(%error, "cannot enter a network namespace");
                        adopted.namespaces_left_out += 1;
                        continue;
                    }
                    let answers = answers(program)?;
                    adopted.sockets += answers.iter().filter(|answer| **answer == b'+').count();
                    adopted.left_out += answers.iter().filter(|answer| **answer == b'-').count();
                }
                Ok(())
            })
            .context("cannot start a thread")?;
        walk.join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that looked for servers panicked")))
    })?;
    Ok(adopted)
}

/// One character for each listening socket of the thread's network namespace.
fn answers(program: &mut Iter) -> Result<Vec<u8>> {
    let link = program.attach()?;
    let mut file = program.take_link(link)?.into_file()?;
    let mut answers = Vec::new();
    file.read_to_end(&mut answers)
        .context("cannot read the kernel's list of sockets")?;
    Ok(answers)
}

/// A file for each network namespace that a process is in.
fn namespaces() -> Vec<File> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| {
            let path = entry.path().join("ns/net");
            let link = fs::read_link(&path).ok()?;
            seen.insert(link).then(|| File::open(&path).ok())?
        })
        .take(MOST_NAMESPACES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv4_is_one_of_mapped_addresses() {
        let of = |text: &str| mapped(text.parse().unwrap());
        assert_eq!(
            of("10.0.0.0/8"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0], 104)
        );
        assert_eq!(of("0.0.0.0/0").1, 96);
        assert_eq!(of("::/0"), ([0; 16], 0));
        assert_eq!(of("fd00:1::/32").1, 32);
    }

    #[test]
    fn this_machine_has_namespaces() {
        assert!(!namespaces().is_empty());
    }
}
