//! Which processes listen on which TCP ports.

use std::collections::{HashMap, HashSet};

use super::proc_fs::{ProcFs, namespace_inode};

/// Bytes of one namespace's socket table that are read: some 400,000 sockets.
const TABLE_LIMIT: usize = 64 << 20;
/// File descriptors of one process that are looked at.
const MOST_DESCRIPTORS: usize = 1 << 20;
/// `TCP_LISTEN` (include/net/tcp_states.h), as the table writes it.
const LISTEN: &str = "0A";

/// The processes among `pids` that hold a listening TCP socket on a port that `wanted` accepts, in whatever network
/// namespace.
///
/// Cost: one `/proc/PID/net/tcp` and `tcp6` for each network namespace, and, only where such a socket exists, the
/// descriptors of every process.
pub(super) fn listening(proc: &ProcFs, pids: &[u32], wanted: impl Fn(u16) -> bool) -> HashSet<u32> {
    let mut namespaces: HashMap<u64, u32> = HashMap::new();
    let mut sockets: HashSet<u64> = HashSet::new();
    for &pid in pids {
        let Some(namespace) = proc
            .link(pid, "ns/net")
            .ok()
            .and_then(|link| namespace_inode(&link))
        else {
            continue;
        };
        if namespaces.contains_key(&namespace) {
            continue;
        }
        let tables: Vec<Vec<u8>> = ["net/tcp", "net/tcp6"]
            .iter()
            .filter_map(|file| proc.read(pid, file, TABLE_LIMIT).ok())
            .collect();
        // One that ended meanwhile does not speak for its namespace.
        if !tables.is_empty() {
            namespaces.insert(namespace, pid);
        }
        for table in tables {
            sockets.extend(listeners(&String::from_utf8_lossy(&table), &wanted));
        }
    }
    if sockets.is_empty() {
        return HashSet::new();
    }
    pids.iter()
        .copied()
        .filter(|pid| holds(proc, *pid, &sockets))
        .collect()
}

fn holds(proc: &ProcFs, pid: u32, sockets: &HashSet<u64>) -> bool {
    let Ok(descriptors) = std::fs::read_dir(proc.path(pid, "fd")) else {
        return false;
    };
    descriptors
        .take(MOST_DESCRIPTORS)
        .filter_map(Result::ok)
        .any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|target| {
                let inode = target.to_str().and_then(|target| {
                    target
                        .strip_prefix("socket:[")?
                        .strip_suffix(']')?
                        .parse()
                        .ok()
                });
                inode.is_some_and(|inode| sockets.contains(&inode))
            })
        })
}

/// Inodes of listening sockets in the text of `/proc/net/tcp` (net/ipv4/tcp_ipv4.c, `tcp4_seq_show`).
fn listeners(table: &str, wanted: impl Fn(u16) -> bool) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
            let port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
            if *fields.get(3)? != LISTEN || !wanted(port) {
                return None;
            }
            fields.get(9)?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_listening_sockets_on_a_wanted_port_are_found() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 111 1\n\
            1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 222 1\n\
            2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 333 1\n\
            garbage\n 3: zz 0A\n";
        assert_eq!(listeners(table, |port| port == 8080), [111]);
    }

    #[test]
    fn our_own_listener_is_found() {
        let proc = ProcFs::default();
        let pid = std::process::id();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            assert_eq!(
                listening(&proc, &[pid], |own| own == port),
                HashSet::from([pid])
            );
            drop(listener);
            assert_eq!(listening(&proc, &[pid], |own| own == port), HashSet::new());
        }
    }
}
