//! Read-only globals that the daemon sets before load. The map behind them is frozen, so the verifier folds every
//! value into a constant and removes the branches that it rules out.

use observer_abi::{control::Settings, offsets::Offsets};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = ZERO_OFFSETS;
#[unsafe(no_mangle)]
static SETTINGS: Settings = ZERO_SETTINGS;

// SAFETY: both are integers only.
const ZERO_OFFSETS: Offsets = unsafe { core::mem::zeroed() };
// SAFETY: as above.
const ZERO_SETTINGS: Settings = unsafe { core::mem::zeroed() };

/// One field of a global, read so that the compiler cannot assume the value it was compiled with.
macro_rules! global {
    ($global:ident . $field:ident) => {
        // SAFETY: a field of a static.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::globals::$global.$field) }
    };
}

macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::globals::offsets().$field() as usize
    };
}
pub(crate) use offset;

/// Access to [`Offsets`] by name.
#[derive(Clone, Copy)]
pub(crate) struct OffsetTable;

#[inline(always)]
pub(crate) fn offsets() -> OffsetTable {
    OffsetTable
}

#[inline(always)]
pub(crate) fn settings() -> SettingsTable {
    SettingsTable
}

/// Access to [`Settings`] by name.
#[derive(Clone, Copy)]
pub(crate) struct SettingsTable;

macro_rules! accessors {
    ($table:ident, $global:ident, $($field:ident),+ $(,)?) => {
        impl $table {
            $(#[inline(always)]
            #[allow(dead_code)]
            pub(crate) fn $field(self) -> u32 {
                global!($global.$field)
            })+
        }
    };
}

accessors!(
    SettingsTable, SETTINGS,
    selected_only, observer_tgid, ring_mask, wake_bytes, may_probe_read, send_start_hook, request_budget, response_budget,
    typed_task, task_registers, kernel_workers, unix_sock_helper, inject, tcp_option, spares, tls_records, receive_arguments,
    ring_requests, at_call_end, links, dns, tls, lose_one_in,
);

accessors!(
    OffsetTable, OFFSETS,
    sock_family, sock_state, sock_daddr, sock_rcv_saddr, sock_dport, sock_num, sock_v6_daddr, sock_v6_rcv_saddr,
    sock_net, sock_protocol, sock_type, sock_socket, sock_sndbuf, sock_wmem_queued, sock_err, net_inum, socket_file,
    file_inode, file_flags, file_ep, inode_ino, tcp_write_seq, tcp_copied_seq, tcp_snd_una, tcp_rcv_nxt,
    tcp_bytes_acked, tcp_bytes_received, unix_peer, msg_iter, iter_type, iter_type_size, iter_iovec, iter_ubuf,
    iter_offset, iter_count, iter_iov, iter_ubuf_pointer, iter_segments, msg_iocb, kiocb_complete, io_rw_address,
    io_rw_length, task_group_leader, task_start_boottime, task_tgid, task_pid, task_real_parent, task_comm, task_flags,
    socket_sk,
    task_mm, mm_owner, task_files, files_count, files_table, table_size, table_files, file_private, inode_mode,
    task_thread_pointer,
    sock_protocol_above, sock_prot, proto_sendmsg, proto_recvmsg, ulp_name, msg_name, msg_control, msg_control_length,
    request_file, request_operation, request_flags, request_fd, request_ring, request_prepared, request_work,
    prepared_message, prepared_iterator, ring_files, ring_file_count, node_file, task_worker, worker_work,
    task_signal, signal_live,
);
