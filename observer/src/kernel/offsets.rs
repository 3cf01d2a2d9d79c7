//! The one table of the kernel's offsets that the programs need, filled from its type information.

use observer_abi::offsets::Offsets;

use super::types::{KernelTypes, TypesError};

/// Fills the table.
///
/// # Errors
/// The name of the first field that this kernel does not have.
pub fn offsets(types: &KernelTypes) -> Result<Offsets, TypesError> {
    let either = |one: &str, two: &str| types.offset(one).or_else(|_| types.offset(two));
    let maybe = |paths: &[&str]| {
        let found = paths.iter().find_map(|path| types.offset(path).ok());
        found.unwrap_or(u32::MAX)
    };
    let iter_type = either("iov_iter.iter_type", "iov_iter.type")?;
    let wide = types.size("iov_iter.iter_type").is_none();
    Ok(Offsets {
        sock_family: types.offset("sock.__sk_common.skc_family")?,
        sock_state: types.offset("sock.__sk_common.skc_state")?,
        sock_daddr: types.offset("sock.__sk_common.skc_daddr")?,
        sock_rcv_saddr: types.offset("sock.__sk_common.skc_rcv_saddr")?,
        sock_dport: types.offset("sock.__sk_common.skc_dport")?,
        sock_num: types.offset("sock.__sk_common.skc_num")?,
        sock_v6_daddr: types.offset("sock.__sk_common.skc_v6_daddr")?,
        sock_v6_rcv_saddr: types.offset("sock.__sk_common.skc_v6_rcv_saddr")?,
        sock_net: types.offset("sock.__sk_common.skc_net")?,
        sock_protocol: types.offset("sock.sk_protocol")?,
        sock_type: types.offset("sock.sk_type")?,
        sock_socket: types.offset("sock.sk_socket")?,
        sock_sndbuf: types.offset("sock.sk_sndbuf")?,
        sock_wmem_queued: types.offset("sock.sk_wmem_queued")?,
        sock_err: types.offset("sock.sk_err")?,
        net_inum: types.offset("net.ns.inum")?,
        socket_file: types.offset("socket.file")?,
        file_inode: types.offset("file.f_inode")?,
        file_flags: types.offset("file.f_flags")?,
        file_ep: either("file.f_ep", "file.f_ep_links")?,
        inode_ino: types.offset("inode.i_ino")?,
        tcp_write_seq: types.offset("tcp_sock.write_seq")?,
        tcp_copied_seq: types.offset("tcp_sock.copied_seq")?,
        tcp_snd_una: types.offset("tcp_sock.snd_una")?,
        tcp_rcv_nxt: types.offset("tcp_sock.rcv_nxt")?,
        tcp_bytes_acked: types.offset("tcp_sock.bytes_acked")?,
        tcp_bytes_received: types.offset("tcp_sock.bytes_received")?,
        unix_peer: types.offset("unix_sock.peer")?,
        msg_iter: types.offset("msghdr.msg_iter")?,
        iter_type,
        iter_type_size: if wide { 4 } else { 1 },
        iter_iovec: types.enumerator("iter_type", "ITER_IOVEC").unwrap_or(4),
        iter_ubuf: types
            .enumerator("iter_type", "ITER_UBUF")
            .unwrap_or(u32::MAX),
        iter_offset: types.offset("iov_iter.iov_offset")?,
        iter_count: types.offset("iov_iter.count")?,
        iter_iov: either("iov_iter.__iov", "iov_iter.iov")?,
        iter_ubuf_pointer: types.offset("iov_iter.ubuf").unwrap_or(u32::MAX),
        iter_segments: types.offset("iov_iter.nr_segs")?,
        msg_iocb: types.offset("msghdr.msg_iocb").unwrap_or(u32::MAX),
        kiocb_complete: types.offset("kiocb.ki_complete").unwrap_or(u32::MAX),
        io_rw_address: types.offset("io_rw.addr").unwrap_or(u32::MAX),
        io_rw_length: types.offset("io_rw.len").unwrap_or(u32::MAX),
        task_group_leader: types.offset("task_struct.group_leader")?,
        task_start_boottime: either("task_struct.start_boottime", "task_struct.real_start_time")?,
        task_tgid: types.offset("task_struct.tgid")?,
        task_pid: types.offset("task_struct.pid")?,
        task_real_parent: types.offset("task_struct.real_parent")?,
        task_comm: types.offset("task_struct.comm")?,
        task_flags: types.offset("task_struct.flags")?,
        socket_sk: types.offset("socket.sk")?,
        task_mm: types.offset("task_struct.mm")?,
        mm_owner: types.offset("mm_struct.owner").unwrap_or(u32::MAX),
        task_files: types.offset("task_struct.files")?,
        files_count: types.offset("files_struct.count")?,
        files_table: types.offset("files_struct.fdt")?,
        table_size: types.offset("fdtable.max_fds")?,
        table_files: types.offset("fdtable.fd")?,
        file_private: types.offset("file.private_data")?,
        inode_mode: types.offset("inode.i_mode")?,
        task_thread_pointer: types.offset("task_struct.thread.fsbase")?,
        sock_protocol_above: types.offset("inet_connection_sock.icsk_ulp_ops")?,
        sock_prot: types.offset("sock.__sk_common.skc_prot")?,
        proto_sendmsg: types.offset("proto.sendmsg")?,
        proto_recvmsg: types.offset("proto.recvmsg")?,
        ulp_name: types.offset("tcp_ulp_ops.name")?,
        msg_name: types.offset("msghdr.msg_name")?,
        msg_control: types.offset("msghdr.msg_control")?,
        msg_control_length: types.offset("msghdr.msg_controllen")?,
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
        node_file: if types.offset("io_ring_ctx.file_table.data.nodes").is_ok() {
            types.offset("io_rsrc_node.file_ptr")?
        } else {
            u32::MAX
        },
        task_worker: maybe(&["task_struct.worker_private"]),
        worker_work: maybe(&["io_worker.cur_work"]),
        task_signal: types.offset("task_struct.signal")?,
        signal_live: types.offset("signal_struct.live")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_offset() {
        let types = KernelTypes::of_running_kernel().expect("BTF");
        let offsets = offsets(&types).expect("every field");
        assert_ne!(offsets.tcp_write_seq, offsets.tcp_copied_seq);
        assert_eq!(
            offsets.sock_daddr, 0,
            "skc_daddr is the first field of every kernel so far"
        );
    }
}
