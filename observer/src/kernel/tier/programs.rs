//! The programs of each tier, and where they attach: one table a concern.

use super::Tier;
use crate::kernel::hook::Hook;

/// Programs that every tier needs.
pub(super) const SHARED_PROGRAMS: &[(&str, Hook)] = &[
    ("state_changed", Hook::Tracepoint("inet_sock_set_state")),
    ("state_destroyed", Hook::Tracepoint("tcp_destroy_sock")),
    ("process_exec", Hook::Tracepoint("sched_process_exec")),
    ("process_fork", Hook::Tracepoint("sched_process_fork")),
    ("process_exit", Hook::Tracepoint("sched_process_exit")),
];

impl Tier {
    /// Its programs in the object: name, hook.
    pub(super) const fn programs(self) -> &'static [(&'static str, Hook)] {
        match self {
            Self::Fentry => &[
                ("fentry_tcp_sending", Hook::Enter("tcp_sendmsg")),
                ("fentry_tcp_sent", Hook::Exit("tcp_sendmsg")),
                ("fentry_tcp_page_sent", Hook::ExitIf("tcp_sendpage", 5)),
                ("fentry_tcp_received_4", Hook::ExitIf("tcp_recvmsg", 4)),
                ("fentry_tcp_received_5", Hook::ExitIf("tcp_recvmsg", 5)),
                ("fentry_tcp_received_6", Hook::ExitIf("tcp_recvmsg", 6)),
                ("fentry_unix_sent", Hook::Exit("unix_stream_sendmsg")),
                ("fentry_unix_received", Hook::Exit("unix_stream_recvmsg")),
                ("fentry_accepted_2", Hook::ExitIf("inet_csk_accept", 2)),
                ("fentry_accepted_4", Hook::ExitIf("inet_csk_accept", 4)),
            ],
            Self::Socket => &[
                (
                    "socket_tcp_sending",
                    Hook::TracepointIfThere("tcp_sendmsg_locked"),
                ),
                ("socket_sent", Hook::Tracepoint("sock_send_length")),
                ("socket_received", Hook::Tracepoint("sock_recv_length")),
            ],
            Self::Kprobe => &[
                ("kprobe_tcp_sending", Hook::Probe("tcp_sendmsg")),
                ("kprobe_tcp_sent", Hook::ProbeReturn("tcp_sendmsg")),
                ("kprobe_tcp_page_sending", Hook::ProbeIf("tcp_sendpage", 5)),
                (
                    "kprobe_tcp_page_sent",
                    Hook::ProbeReturnIf("tcp_sendpage", 5),
                ),
                ("kprobe_tcp_receiving_3", Hook::ProbeIf("tcp_recvmsg", 4)),
                ("kprobe_tcp_receiving_3", Hook::ProbeIf("tcp_recvmsg", 5)),
                ("kprobe_tcp_receiving_4", Hook::ProbeIf("tcp_recvmsg", 6)),
                (
                    "kprobe_tcp_received",
                    Hook::Tracepoint("tcp_rcv_space_adjust"),
                ),
                ("kprobe_tcp_splicing", Hook::Probe("tcp_splice_read")),
                ("kprobe_unix_sending", Hook::Probe("unix_stream_sendmsg")),
                ("kprobe_unix_sent", Hook::ProbeReturn("unix_stream_sendmsg")),
                ("kprobe_unix_receiving", Hook::Probe("unix_stream_recvmsg")),
                (
                    "kprobe_unix_received",
                    Hook::ProbeReturn("unix_stream_recvmsg"),
                ),
                ("kprobe_accepted", Hook::ProbeReturn("inet_csk_accept")),
            ],
            Self::Syscall => &[
                ("syscall_entered", Hook::Tracepoint("sys_enter")),
                ("syscall_left", Hook::Tracepoint("sys_exit")),
            ],
        }
    }

    /// Its programs on functions of the module `tls`, which may come later. The other tiers see kernel TLS by their own
    /// hooks.
    pub(crate) const fn tls_programs(self) -> &'static [(&'static str, Hook)] {
        match self {
            Self::Fentry => &[
                ("fentry_tls_sending", Hook::Enter("tls_sw_sendmsg")),
                ("fentry_tls_sent", Hook::Exit("tls_sw_sendmsg")),
                ("fentry_tls_page_sent", Hook::ExitIf("tls_sw_sendpage", 5)),
                ("fentry_tls_received", Hook::Exit("tls_sw_recvmsg")),
            ],
            Self::Kprobe => &[
                ("kprobe_tls_sending", Hook::Probe("tls_sw_sendmsg")),
                ("kprobe_tls_sent", Hook::ProbeReturn("tls_sw_sendmsg")),
                (
                    "kprobe_tls_page_sending",
                    Hook::ProbeLike("tls_sw_sendpage", "tcp_sendpage", 5),
                ),
                (
                    "kprobe_tls_page_sent",
                    Hook::ProbeReturnLike("tls_sw_sendpage", "tcp_sendpage", 5),
                ),
                (
                    "kprobe_tls_receiving_3",
                    Hook::ProbeLike("tls_sw_recvmsg", "tcp_recvmsg", 4),
                ),
                (
                    "kprobe_tls_receiving_3",
                    Hook::ProbeLike("tls_sw_recvmsg", "tcp_recvmsg", 5),
                ),
                (
                    "kprobe_tls_receiving_4",
                    Hook::ProbeLike("tls_sw_recvmsg", "tcp_recvmsg", 6),
                ),
                ("kprobe_tls_received", Hook::ProbeReturn("tls_sw_recvmsg")),
            ],
            Self::Socket | Self::Syscall => &[],
        }
    }

    /// Its programs for DNS, on functions that a kernel may lack. The other tiers see datagrams by their own hooks.
    pub(super) const fn datagram_programs(self) -> &'static [(&'static str, Hook)] {
        match self {
            Self::Fentry => &[
                ("fentry_udp_sent", Hook::ExitIf("udp_sendmsg", 3)),
                ("fentry_udp_received_4", Hook::ExitIf("udp_recvmsg", 4)),
                ("fentry_udp_received_5", Hook::ExitIf("udp_recvmsg", 5)),
                ("fentry_udp_received_6", Hook::ExitIf("udp_recvmsg", 6)),
                ("fentry_udp_destroyed", Hook::EnterIf("udp_destroy_sock", 1)),
                ("fentry_udp6_sent", Hook::ExitIf("udpv6_sendmsg", 3)),
                ("fentry_udp6_received_4", Hook::ExitIf("udpv6_recvmsg", 4)),
                ("fentry_udp6_received_5", Hook::ExitIf("udpv6_recvmsg", 5)),
                ("fentry_udp6_received_6", Hook::ExitIf("udpv6_recvmsg", 6)),
                (
                    "fentry_udp6_destroyed",
                    Hook::EnterIf("udpv6_destroy_sock", 1),
                ),
            ],
            Self::Kprobe => &[
                ("kprobe_udp_sending", Hook::ProbeIf("udp_sendmsg", 3)),
                ("kprobe_udp_sent", Hook::ProbeReturnIf("udp_sendmsg", 3)),
                ("kprobe_udp_sending", Hook::ProbeIf("udpv6_sendmsg", 3)),
                ("kprobe_udp_sent", Hook::ProbeReturnIf("udpv6_sendmsg", 3)),
                ("kprobe_udp_receiving", Hook::ProbeIfThere("udp_recvmsg")),
                ("kprobe_udp_receiving", Hook::ProbeIfThere("udpv6_recvmsg")),
                ("kprobe_udp_consumed", Hook::ProbeIf("skb_consume_udp", 3)),
                ("kprobe_udp_destroyed", Hook::ProbeIf("udp_destroy_sock", 1)),
                (
                    "kprobe_udp_destroyed",
                    Hook::ProbeIf("udpv6_destroy_sock", 1),
                ),
            ],
            Self::Socket | Self::Syscall => &[],
        }
    }
}
