//! Trace context in TCP options: the program on the root control group, and servers that were there before it.
//!
//! The kernel side, and what it does to packets, is `observer-ebpf/src/option.rs`.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::PathBuf,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf,
    maps::lpm_trie::{Key, LpmTrie},
    programs::{CgroupAttachMode, Iter, ProgramError, SockOps},
};
use ipnet::IpNet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::types::KernelTypes;

/// Networks that the kernel's table holds, as `OPTION_PEERS` declares it.
const MOST_NETWORKS: usize = 1024;
/// Inode number of a control group hierarchy's root.
const ROOT_INODE: u64 = 1;
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
    let root =
        root_group(&fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?)?;
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
    let group = File::open(&root).with_context(|| format!("cannot open {}", root.display()))?;
    // What other programs are on the group stays: links allow several.
    program
        .attach(group, CgroupAttachMode::Single)
        .map_err(explain)
        .with_context(|| format!("cannot attach to the control group at {}", root.display()))?;
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

/// Where the whole control group hierarchy (v2) is mounted: on hybrid hosts usually at `/sys/fs/cgroup/unified`.
fn root_group(mounts: &str) -> Result<PathBuf> {
    let mut partial = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some("cgroup2")) = (fields.next(), fields.next()) else {
            continue;
        };
        let place = PathBuf::from(unescaped(place));
        if fs::metadata(&place).is_ok_and(|group| group.ino() == ROOT_INODE) {
            return Ok(place);
        }
        partial = Some(place);
    }
    match partial {
        Some(place) => bail!(
            "{} is not the root of the control groups but a part: run observer in the host's control group namespace \
             (--cgroupns=host), or mount the host's /sys/fs/cgroup",
            place.display()
        ),
        None => bail!("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

/// A path as `/proc/mounts` writes it: space, tab, newline and backslash are three octal digits (proc_mounts(5)).
fn unescaped(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (code, character)| {
        path.replace(code, character)
    })
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
    fn without_a_mount_the_reason_says_what_to_do() {
        let error =
            root_group("proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n");
        assert!(error.unwrap_err().to_string().contains("mount -t cgroup2"));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_taken_for_its_root() {
        let folder = std::env::temp_dir().join(format!("observer group {}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let shown = folder.display().to_string().replace(' ', "\\040");
        let error = root_group(&format!("none {shown} cgroup2 rw 0 0\n")).unwrap_err();
        fs::remove_dir(&folder).unwrap();
        assert!(error.to_string().contains("is not the root"), "{error}");
        assert!(error.to_string().contains("observer group"), "{error}");
    }

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
