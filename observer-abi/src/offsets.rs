//! Where things are in the running kernel: one table, filled by the daemon from the kernel's BTF.

use crate::plain;

/// Byte offsets into kernel structs. A nested name follows the path from the struct that is named first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Offsets {
    /// `sock.__sk_common.skc_family`
    pub sock_family: u32,
    /// `sock.__sk_common.skc_state`
    pub sock_state: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sock_daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sock_rcv_saddr: u32,
    /// `sock.__sk_common.skc_dport`
    pub sock_dport: u32,
    /// `sock.__sk_common.skc_num`
    pub sock_num: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sock_v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub sock_v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sock_net: u32,
    /// `sock.sk_protocol`
    pub sock_protocol: u32,
    /// `sock.sk_type`
    pub sock_type: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `sock.sk_sndbuf`
    pub sock_sndbuf: u32,
    /// `sock.sk_wmem_queued`
    pub sock_wmem_queued: u32,
    /// `sock.sk_err`
    pub sock_err: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.f_flags`
    pub file_flags: u32,
    /// `file.f_ep`
    pub file_ep: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `unix_sock.peer`
    pub unix_peer: u32,
    /// `msghdr.msg_iter`
    pub msg_iter: u32,
    /// `iov_iter.iter_type` (a byte since 5.14; 5.10 has the flags word `type`)
    pub iter_type: u32,
    /// Bytes of the type field: 1, or 4 where it is a flags word.
    pub iter_type_size: u32,
    /// Value of the type field for an iovec array.
    pub iter_iovec: u32,
    /// Value of the type field for a single user buffer; `u32::MAX` where there is none.
    pub iter_ubuf: u32,
    /// `iov_iter.iov_offset`
    pub iter_offset: u32,
    /// `iov_iter.count`
    pub iter_count: u32,
    /// `iov_iter.__iov` or `iov_iter.iov`
    pub iter_iov: u32,
    /// `iov_iter.ubuf`; `u32::MAX` where there is none.
    pub iter_ubuf_pointer: u32,
    /// `iov_iter.nr_segs`
    pub iter_segments: u32,
    /// `msghdr.msg_iocb` (until 7.x); `u32::MAX` where there is none.
    pub msg_iocb: u32,
    /// `kiocb.ki_complete`; `u32::MAX` where there is none.
    pub kiocb_complete: u32,
    /// `io_rw.addr` (io_uring; a `struct kiocb` is its start); `u32::MAX` where there is none.
    pub io_rw_address: u32,
    /// `io_rw.len`; `u32::MAX` where there is none.
    pub io_rw_length: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`
    pub task_start_boottime: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.owner`; `u32::MAX` where there is none (CONFIG_MEMCG).
    pub mm_owner: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.count`
    pub files_count: u32,
    /// `files_struct.fdt`
    pub files_table: u32,
    /// `fdtable.max_fds`
    pub table_size: u32,
    /// `fdtable.fd`
    pub table_files: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `task_struct.thread.fsbase`: the thread pointer (x86-64).
    pub task_thread_pointer: u32,
    /// `inet_connection_sock.icsk_ulp_ops`: not null where a protocol of the kernel's own (TLS) lies above.
    pub sock_protocol_above: u32,
    /// `sock.__sk_common.skc_prot`
    pub sock_prot: u32,
    /// `proto.sendmsg`
    pub proto_sendmsg: u32,
    /// `proto.recvmsg`
    pub proto_recvmsg: u32,
    /// `tcp_ulp_ops.name`
    pub ulp_name: u32,
    /// `msghdr.msg_name`
    pub msg_name: u32,
    /// `msghdr.msg_control`
    pub msg_control: u32,
    /// `msghdr.msg_controllen`
    pub msg_control_length: u32,
    /// `io_kiocb.file` (io_uring's request); this and the following are `u32::MAX` where there is none.
    pub request_file: u32,
    /// `io_kiocb.opcode`
    pub request_operation: u32,
    /// `io_kiocb.flags`
    pub request_flags: u32,
    /// `io_kiocb.cqe.fd`: the descriptor, until the request is over.
    pub request_fd: u32,
    /// `io_kiocb.ctx`
    pub request_ring: u32,
    /// `io_kiocb.async_data`: its message or iterator, made when it is prepared (6.10).
    pub request_prepared: u32,
    /// `io_kiocb.work`
    pub request_work: u32,
    /// `io_async_msghdr.msg`
    pub prepared_message: u32,
    /// `io_async_rw.iter` (6.10)
    pub prepared_iterator: u32,
    /// `io_ring_ctx.file_table.data.nodes` (6.13), or `io_ring_ctx.file_table.files`
    pub ring_files: u32,
    /// How many they are: `io_ring_ctx.file_table.data.nr`, or `io_ring_ctx.nr_user_files`
    pub ring_file_count: u32,
    /// `io_rsrc_node.file_ptr`; `u32::MAX` where the table holds such pointers itself.
    pub node_file: u32,
    /// `task_struct.worker_private`
    pub task_worker: u32,
    /// `io_worker.cur_work`
    pub worker_work: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.live`: threads of the process that have not ended.
    pub signal_live: u32,
}
plain!(Offsets, 84 * 4);
