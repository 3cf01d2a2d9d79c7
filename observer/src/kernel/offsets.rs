//! The one table of kernel offsets and argument counts, looked up in the running kernel's BTF.

use std::path::Path;

use btf_rs::{Btf, Type};
use observer_abi::offsets::Offsets;

/// The running kernel's BTF (`CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why the table could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    /// The kernel has no BTF, or it cannot be read.
    #[error(
        "cannot read the kernel's type information at {path}: {reason}; a kernel with CONFIG_DEBUG_INFO_BTF=y is needed"
    )]
    NoBtf {
        /// Where it was looked for.
        path: String,
        /// What the reader said.
        reason: String,
    },
    /// A struct or field that the programs need is not there.
    #[error(
        "this kernel's type information has no `{0}`: this kernel is not supported yet, please report it"
    )]
    Missing(String),
}

/// The kernel's types, parsed once.
pub struct KernelTypes {
    btf: Btf,
}

impl KernelTypes {
    /// Reads `/sys/kernel/btf/vmlinux`.
    pub fn of_running_kernel() -> Result<Self, OffsetError> {
        Self::from_path(Path::new(VMLINUX))
    }

    /// Reads a BTF file.
    pub fn from_path(path: &Path) -> Result<Self, OffsetError> {
        let btf = Btf::from_file(path).map_err(|error| OffsetError::NoBtf {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { btf })
    }

    /// The types of a module of this kernel's, which include its own.
    pub fn of_module(&self, module: &str) -> Result<Self, OffsetError> {
        let path = Path::new("/sys/kernel/btf").join(module);
        let btf = Btf::from_split_file(&path, &self.btf);
        let btf = btf.map_err(|error| OffsetError::NoBtf {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { btf })
    }

    /// Byte offset of a field, given as `struct.member.member…`; members of anonymous structs and unions count as the
    /// outer one's.
    pub fn offset(&self, path: &str) -> Result<u32, OffsetError> {
        let missing = || OffsetError::Missing(path.to_owned());
        let mut parts = path.split('.');
        let name = parts.next().ok_or_else(missing)?;
        let types = self
            .btf
            .resolve_types_by_name(name)
            .map_err(|_| missing())?;
        let mut current = types
            .into_iter()
            .find(|candidate| matches!(candidate, Type::Struct(found) if !found.members.is_empty()))
            .ok_or_else(missing)?;
        let mut bits = 0;
        for part in parts {
            let (at, member) = self.member(&current, part).ok_or_else(missing)?;
            bits += at;
            current = member;
        }
        Ok(bits / 8)
    }

    fn member(&self, within: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(composite) | Type::Union(composite)) = within else {
            return None;
        };
        for member in &composite.members {
            let found = self.btf.resolve_name(member).unwrap_or_default();
            if found == name {
                return Some((
                    member.bit_offset(),
                    self.strip(self.btf.resolve_chained_type(member).ok()?),
                ));
            }
            if found.is_empty() {
                let inner = self.strip(self.btf.resolve_chained_type(member).ok()?);
                if let Some((at, found)) = self.member(&inner, name) {
                    return Some((member.bit_offset() + at, found));
                }
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut found: Type) -> Type {
        loop {
            let next = match &found {
                Type::Typedef(inner) => self.btf.resolve_chained_type(inner),
                Type::Const(inner) => self.btf.resolve_chained_type(inner),
                Type::Volatile(inner) => self.btf.resolve_chained_type(inner),
                _ => return found,
            };
            match next {
                Ok(next) => found = next,
                Err(_) => return found,
            }
        }
    }

    /// Size of a field in bytes, for fields whose width changed between versions.
    fn size(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let name = parts.next()?;
        let types = self.btf.resolve_types_by_name(name).ok()?;
        let mut current = types
            .into_iter()
            .find(|candidate| matches!(candidate, Type::Struct(_)))?;
        for part in parts {
            current = self.member(&current, part)?.1;
        }
        match current {
            Type::Int(int) => Some(int.size() as u32),
            Type::Enum(found) => Some(found.size() as u32),
            _ => None,
        }
    }

    /// Whether a kernel function, with type information, exists.
    pub fn has_function(&self, name: &str) -> bool {
        self.arguments(name).is_some()
    }

    /// Arguments of a kernel function.
    pub fn arguments(&self, name: &str) -> Option<u32> {
        self.btf
            .resolve_types_by_name(name)
            .ok()?
            .into_iter()
            .find_map(|found| match found {
                Type::Func(function) => match self.btf.resolve_chained_type(&function).ok()? {
                    Type::FuncProto(prototype) => Some(prototype.parameters.len() as u32),
                    _ => None,
                },
                _ => None,
            })
    }

    /// Number of a kernel function's type.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let ids = self.btf.resolve_ids_by_name(name).ok()?;
        ids.into_iter()
            .find(|id| matches!(self.btf.resolve_type_by_id(*id), Ok(Type::Func(_))))
    }

    /// Whether a raw tracepoint exists: the kernel keeps `btf_trace_NAME` for each.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.btf
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .is_ok_and(|types| !types.is_empty())
    }

    /// Whether programs can call a helper, by its name in `enum bpf_func_id` without the prefix.
    pub fn has_helper(&self, name: &str) -> bool {
        self.enumerator("bpf_func_id", &format!("BPF_FUNC_{name}"))
            .is_some()
    }

    /// Whether kernel TLS takes a record from TCP when a process reads it (`struct tls_strparser`, 6.0), not before.
    pub fn takes_tls_records(&self) -> bool {
        self.offset("tls_strparser.anchor").is_ok()
    }

    /// Whether an enumerator exists, of whatever enum, an anonymous one included.
    pub fn has_constant(&self, name: &str) -> bool {
        let types = (1..).map_while(|id| self.btf.resolve_type_by_id(id).ok());
        types
            .filter_map(|found| match found {
                Type::Enum(found) => Some(found),
                _ => None,
            })
            .any(|found| {
                found.members.iter().any(|member| {
                    self.btf
                        .resolve_name(member)
                        .is_ok_and(|found| found == name)
                })
            })
    }

    /// Value of an enumerator.
    fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        self.btf
            .resolve_types_by_name(of)
            .ok()?
            .into_iter()
            .find_map(|found| match found {
                Type::Enum(found) => found
                    .members
                    .iter()
                    .find(|member| {
                        self.btf
                            .resolve_name(*member)
                            .is_ok_and(|found| found == name)
                    })
                    .map(|member| member.val()),
                _ => None,
            })
    }

    /// Fills the table.
    pub fn offsets(&self) -> Result<Offsets, OffsetError> {
        let either = |one: &str, two: &str| self.offset(one).or_else(|_| self.offset(two));
        let maybe = |paths: &[&str]| {
            let found = paths.iter().find_map(|path| self.offset(path).ok());
            found.unwrap_or(u32::MAX)
        };
        let iter_type = either("iov_iter.iter_type", "iov_iter.type")?;
        let wide = self.size("iov_iter.iter_type").is_none();
        Ok(Offsets {
            sock_family: self.offset("sock.__sk_common.skc_family")?,
            sock_state: self.offset("sock.__sk_common.skc_state")?,
            sock_daddr: self.offset("sock.__sk_common.skc_daddr")?,
            sock_rcv_saddr: self.offset("sock.__sk_common.skc_rcv_saddr")?,
            sock_dport: self.offset("sock.__sk_common.skc_dport")?,
            sock_num: self.offset("sock.__sk_common.skc_num")?,
            sock_v6_daddr: self.offset("sock.__sk_common.skc_v6_daddr")?,
            sock_v6_rcv_saddr: self.offset("sock.__sk_common.skc_v6_rcv_saddr")?,
            sock_net: self.offset("sock.__sk_common.skc_net")?,
            sock_protocol: self.offset("sock.sk_protocol")?,
            sock_type: self.offset("sock.sk_type")?,
            sock_socket: self.offset("sock.sk_socket")?,
            sock_sndbuf: self.offset("sock.sk_sndbuf")?,
            sock_wmem_queued: self.offset("sock.sk_wmem_queued")?,
            sock_err: self.offset("sock.sk_err")?,
            net_inum: self.offset("net.ns.inum")?,
            socket_file: self.offset("socket.file")?,
            file_inode: self.offset("file.f_inode")?,
            file_flags: self.offset("file.f_flags")?,
            file_ep: either("file.f_ep", "file.f_ep_links")?,
            inode_ino: self.offset("inode.i_ino")?,
            tcp_write_seq: self.offset("tcp_sock.write_seq")?,
            tcp_copied_seq: self.offset("tcp_sock.copied_seq")?,
            tcp_snd_una: self.offset("tcp_sock.snd_una")?,
            tcp_rcv_nxt: self.offset("tcp_sock.rcv_nxt")?,
            tcp_bytes_acked: self.offset("tcp_sock.bytes_acked")?,
            tcp_bytes_received: self.offset("tcp_sock.bytes_received")?,
            unix_peer: self.offset("unix_sock.peer")?,
            msg_iter: self.offset("msghdr.msg_iter")?,
            iter_type,
            iter_type_size: if wide { 4 } else { 1 },
            iter_iovec: self.enumerator("iter_type", "ITER_IOVEC").unwrap_or(4),
            iter_ubuf: self
                .enumerator("iter_type", "ITER_UBUF")
                .unwrap_or(u32::MAX),
            iter_offset: self.offset("iov_iter.iov_offset")?,
            iter_count: self.offset("iov_iter.count")?,
            iter_iov: either("iov_iter.__iov", "iov_iter.iov")?,
            iter_ubuf_pointer: self.offset("iov_iter.ubuf").unwrap_or(u32::MAX),
            iter_segments: self.offset("iov_iter.nr_segs")?,
            msg_iocb: self.offset("msghdr.msg_iocb").unwrap_or(u32::MAX),
            kiocb_complete: self.offset("kiocb.ki_complete").unwrap_or(u32::MAX),
            io_rw_address: self.offset("io_rw.addr").unwrap_or(u32::MAX),
            io_rw_length: self.offset("io_rw.len").unwrap_or(u32::MAX),
            task_group_leader: self.offset("task_struct.group_leader")?,
            task_start_boottime: either(
                "task_struct.start_boottime",
                "task_struct.real_start_time",
            )?,
            task_tgid: self.offset("task_struct.tgid")?,
            task_pid: self.offset("task_struct.pid")?,
            task_real_parent: self.offset("task_struct.real_parent")?,
            task_comm: self.offset("task_struct.comm")?,
            task_flags: self.offset("task_struct.flags")?,
            socket_sk: self.offset("socket.sk")?,
            task_mm: self.offset("task_struct.mm")?,
            mm_owner: self.offset("mm_struct.owner").unwrap_or(u32::MAX),
            task_files: self.offset("task_struct.files")?,
            files_count: self.offset("files_struct.count")?,
            files_table: self.offset("files_struct.fdt")?,
            table_size: self.offset("fdtable.max_fds")?,
            table_files: self.offset("fdtable.fd")?,
            file_private: self.offset("file.private_data")?,
            inode_mode: self.offset("inode.i_mode")?,
            task_thread_pointer: self.offset("task_struct.thread.fsbase")?,
            sock_protocol_above: self.offset("inet_connection_sock.icsk_ulp_ops")?,
            sock_prot: self.offset("sock.__sk_common.skc_prot")?,
            proto_sendmsg: self.offset("proto.sendmsg")?,
            proto_recvmsg: self.offset("proto.recvmsg")?,
            ulp_name: self.offset("tcp_ulp_ops.name")?,
            msg_name: self.offset("msghdr.msg_name")?,
            msg_control: self.offset("msghdr.msg_control")?,
            msg_control_length: self.offset("msghdr.msg_controllen")?,
            request_file: maybe(&["io_kiocb.file"]),
            request_operation: maybe(&["io_kiocb.opcode"]),
            request_flags: maybe(&["io_kiocb.flags"]),
            request_fd: maybe(&["io_kiocb.cqe.fd"]),
            request_ring: maybe(&["io_kiocb.ctx"]),
            request_prepared: maybe(&["io_kiocb.async_data"]),
            request_work: maybe(&["io_kiocb.work"]),
            prepared_message: maybe(&["io_async_msghdr.msg"]),
            prepared_iterator: maybe(&["io_async_rw.iter"]),
            ring_files: maybe(&[
                "io_ring_ctx.file_table.data.nodes",
                "io_ring_ctx.file_table.files",
            ]),
            ring_file_count: maybe(&[
                "io_ring_ctx.file_table.data.nr",
                "io_ring_ctx.nr_user_files",
            ]),
            node_file: if self.offset("io_ring_ctx.file_table.data.nodes").is_ok() {
                self.offset("io_rsrc_node.file_ptr")?
            } else {
                u32::MAX
            },
            task_worker: maybe(&["task_struct.worker_private"]),
            worker_work: maybe(&["io_worker.cur_work"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_offset() {
        let types = KernelTypes::of_running_kernel().expect("BTF");
        let offsets = types.offsets().expect("every field");
        assert_ne!(offsets.tcp_write_seq, offsets.tcp_copied_seq);
        assert_eq!(
            offsets.sock_daddr, 0,
            "skc_daddr is the first field of every kernel so far"
        );
    }

    #[test]
    fn a_missing_field_is_named() {
        let types = KernelTypes::of_running_kernel().expect("BTF");
        let error = types
            .offset("tcp_sock.no_such_field")
            .expect_err("not there");
        assert!(
            error.to_string().contains("tcp_sock.no_such_field"),
            "{error}"
        );
        assert!(types.offset("no_such_struct.x").is_err());
    }

    #[test]
    fn garbage_is_no_btf() {
        let path = std::env::temp_dir().join(format!("observer-btf-{}", std::process::id()));
        std::fs::write(&path, [0xa5; 64]).expect("write");
        assert!(matches!(
            KernelTypes::from_path(&path),
            Err(OffsetError::NoBtf { .. })
        ));
        std::fs::remove_file(&path).expect("remove");
    }
}
