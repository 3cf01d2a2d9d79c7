//! Capture tiers, and which of them this kernel allows.

use std::fmt;

use super::{offsets::KernelTypes, preemption, ring};

/// A way to see the bytes. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// fentry/fexit on the protocols' own functions.
    Fentry,
    /// Raw tracepoints that hand over the sock.
    Socket,
    /// The fentry functions through kprobes.
    Kprobe,
    /// The exit of every system call.
    Syscall,
}

impl Tier {
    /// Every tier, best first.
    pub const ALL: [Self; 4] = [Self::Fentry, Self::Socket, Self::Kprobe, Self::Syscall];

    /// Those that may be taken unasked, best first. Not `syscall`, which makes every process slower.
    pub const AUTOMATIC: [Self; 3] = [Self::Fentry, Self::Socket, Self::Kprobe];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Socket => "socket",
            Self::Kprobe => "kprobe",
            Self::Syscall => "syscall",
        }
    }

    /// Its programs in the object: name, hook.
    pub(crate) const fn programs(self) -> &'static [(&'static str, Hook)] {
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
}

impl Tier {
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
    const fn datagram_programs(self) -> &'static [(&'static str, Hook)] {
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

    /// What is loaded and attached for it on this kernel, and nothing else; `dns`: for DNS, too.
    ///
    /// # Errors
    /// The hook that this kernel does not have.
    pub(crate) fn plan(
        self,
        types: &KernelTypes,
        dns: bool,
    ) -> Result<Vec<(&'static str, Hook)>, MissingHook> {
        let on_datagrams = if dns { self.datagram_programs() } else { &[] };
        let plan: Vec<_> = self
            .programs()
            .iter()
            .chain(on_datagrams)
            .chain(SHARED_PROGRAMS)
            .copied()
            .filter(|(_, hook)| !hook.is_left_out(types))
            .collect();
        match plan.iter().find(|(_, hook)| !hook.exists(types)) {
            Some((_, hook)) => Err(MissingHook(hook.name())),
            None => Ok(plan),
        }
    }
}

/// The kernel has not what a tier attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel has no {0}")]
pub(crate) struct MissingHook(&'static str);

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Programs that every tier needs.
pub(crate) const SHARED_PROGRAMS: &[(&str, Hook)] = &[
    ("state_changed", Hook::Tracepoint("inet_sock_set_state")),
    ("state_destroyed", Hook::Tracepoint("tcp_destroy_sock")),
    ("process_exec", Hook::Tracepoint("sched_process_exec")),
    ("process_fork", Hook::Tracepoint("sched_process_fork")),
    ("process_exit", Hook::Tracepoint("sched_process_exit")),
];

/// Programs that have a spare, and its name: all that see data, connections or processes through trampolines and raw
/// tracepoints. (A kprobe's programs cannot be preempted.)
const SPARES: &[(&str, &str)] = &[
    ("fentry_tcp_sending", "fentry_tcp_sending_spare"),
    ("fentry_tcp_sent", "fentry_tcp_sent_spare"),
    ("fentry_tcp_received_4", "fentry_tcp_received_4_spare"),
    ("fentry_tcp_received_5", "fentry_tcp_received_5_spare"),
    ("fentry_tcp_received_6", "fentry_tcp_received_6_spare"),
    ("fentry_unix_sent", "fentry_unix_sent_spare"),
    ("fentry_unix_received", "fentry_unix_received_spare"),
    ("fentry_udp_sent", "fentry_udp_sent_spare"),
    ("fentry_udp_received_4", "fentry_udp_received_4_spare"),
    ("fentry_udp_received_5", "fentry_udp_received_5_spare"),
    ("fentry_udp_received_6", "fentry_udp_received_6_spare"),
    ("fentry_udp6_sent", "fentry_udp6_sent_spare"),
    ("fentry_udp6_received_4", "fentry_udp6_received_4_spare"),
    ("fentry_udp6_received_5", "fentry_udp6_received_5_spare"),
    ("fentry_udp6_received_6", "fentry_udp6_received_6_spare"),
    ("fentry_tls_sending", "fentry_tls_sending_spare"),
    ("fentry_tls_sent", "fentry_tls_sent_spare"),
    ("fentry_tls_received", "fentry_tls_received_spare"),
    ("socket_tcp_sending", "socket_tcp_sending_spare"),
    ("socket_sent", "socket_sent_spare"),
    ("socket_received", "socket_received_spare"),
    ("kprobe_tcp_received", "kprobe_tcp_received_spare"),
    ("syscall_entered", "syscall_entered_spare"),
    ("syscall_left", "syscall_left_spare"),
    ("ring_submitted", "ring_submitted_spare"),
    ("ring_woken", "ring_woken_spare"),
    ("ring_completed", "ring_completed_spare"),
    ("state_changed", "state_changed_spare"),
    ("state_destroyed", "state_destroyed_spare"),
    ("process_exec", "process_exec_spare"),
    ("process_fork", "process_fork_spare"),
    ("process_exit", "process_exit_spare"),
];

/// A plan and the spares of its programs, in the order in which they are to be attached: so that each spare runs behind
/// its program. A tracepoint's programs run in that order, a trampoline's in the opposite one (`hlist_add_head` in
/// `__bpf_trampoline_link_prog`).
pub(crate) fn with_spares(plan: Vec<(&'static str, Hook)>) -> Vec<(&'static str, Hook)> {
    let spare = |(name, hook): &(&'static str, Hook)| {
        let (_, spare) = SPARES.iter().find(|(program, _)| program == name)?;
        Some((*spare, *hook))
    };
    let spares = plan.iter().filter_map(spare);
    let (mut ordered, behind): (Vec<_>, Vec<_>) =
        spares.partition(|(_, hook)| hook.is_trampoline());
    ordered.extend(plan);
    ordered.extend(behind);
    ordered
}

/// What a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Raw tracepoint with typed arguments.
    Tracepoint(&'static str),
    /// The same, left out where the kernel has none.
    TracepointIfThere(&'static str),
    /// Function entry.
    Enter(&'static str),
    /// Entry of a function with this many arguments; left out where the kernel's has another number, or none such.
    EnterIf(&'static str, u32),
    /// Function exit.
    Exit(&'static str),
    /// Exit of a function with this many arguments; left out where the kernel's has another number, or none such.
    ExitIf(&'static str, u32),
    /// Function entry by kprobe.
    Probe(&'static str),
    /// The same for a function with this many arguments, else left out.
    ProbeIf(&'static str, u32),
    /// Function entry by kprobe, left out where the kernel has no such function.
    ProbeIfThere(&'static str),
    /// Function exit by kretprobe.
    ProbeReturn(&'static str),
    /// The same for a function with this many arguments, else left out.
    ProbeReturnIf(&'static str, u32),
    /// Function entry by kprobe where another function, of the same type, has this many arguments; else left out.
    ProbeLike(&'static str, &'static str, u32),
    /// The same for its exit.
    ProbeReturnLike(&'static str, &'static str, u32),
}

impl Hook {
    /// The hook's name in the kernel.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name)
            | Self::TracepointIfThere(name)
            | Self::Enter(name)
            | Self::EnterIf(name, _)
            | Self::Exit(name)
            | Self::ExitIf(name, _)
            | Self::Probe(name)
            | Self::ProbeIf(name, _)
            | Self::ProbeIfThere(name)
            | Self::ProbeReturn(name)
            | Self::ProbeReturnIf(name, _)
            | Self::ProbeLike(name, ..)
            | Self::ProbeReturnLike(name, ..) => name,
        }
    }

    /// Whether programs are called by a trampoline, the last attached first.
    const fn is_trampoline(self) -> bool {
        matches!(
            self,
            Self::Enter(_) | Self::EnterIf(..) | Self::Exit(_) | Self::ExitIf(..)
        )
    }

    /// Whether this kernel's version of the function is another one's business.
    pub(crate) fn is_left_out(self, types: &KernelTypes) -> bool {
        match self {
            Self::TracepointIfThere(name) => !types.has_tracepoint(name),
            Self::ProbeIfThere(name) => !types.has_function(name),
            Self::EnterIf(name, arguments)
            | Self::ExitIf(name, arguments)
            | Self::ProbeIf(name, arguments)
            | Self::ProbeReturnIf(name, arguments)
            | Self::ProbeLike(_, name, arguments)
            | Self::ProbeReturnLike(_, name, arguments) => types.arguments(name) != Some(arguments),
            _ => false,
        }
    }

    /// Whether the kernel's type information has it.
    pub(crate) fn exists(self, types: &KernelTypes) -> bool {
        match self {
            Self::Tracepoint(name) | Self::TracepointIfThere(name) => types.has_tracepoint(name),
            _ => types.has_function(self.name()),
        }
    }
}

/// What the kernel is and allows, asked once.
#[derive(Clone, Debug)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// `/sys/kernel/security/lockdown`: `none`, `integrity`, `confidentiality`, or `None` when not told.
    pub lockdown: Option<String>,
    /// `tcp_sendmsg_locked` hands over the data before it is sent (6.16).
    pub send_start_tracepoint: bool,
    /// The `socket` tier's two tracepoints exist (6.3).
    pub socket_tracepoints: bool,
    /// `bpf_get_current_task_btf` exists (5.11).
    pub typed_task: bool,
    /// `bpf_task_pt_regs` exists (5.15).
    pub task_registers: bool,
    /// io_uring works in kernel threads, not in threads of the process (before 5.12).
    pub kernel_workers: bool,
    /// Many uprobes may share a link (6.6).
    pub many_uprobes: bool,
    /// Processes may use io_uring.
    pub rings: bool,
    /// Tasks may lose their CPU in the middle of kernel code.
    pub preemptible: bool,
}

impl Features {
    /// Asks the running kernel.
    pub fn probe(types: &KernelTypes) -> Self {
        let system = rustix::system::uname();
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown")
            .ok()
            .and_then(|modes| {
                modes
                    .split_whitespace()
                    .find_map(|mode| Some(mode.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
            });
        Self {
            release: system.release().to_string_lossy().into_owned(),
            machine: system.machine().to_string_lossy().into_owned(),
            lockdown,
            send_start_tracepoint: types.has_tracepoint("tcp_sendmsg_locked"),
            socket_tracepoints: types.has_tracepoint("sock_send_length")
                && types.has_tracepoint("sock_recv_length"),
            typed_task: types.has_helper("get_current_task_btf"),
            task_registers: types.has_helper("task_pt_regs"),
            kernel_workers: !types.has_function("create_io_thread"),
            many_uprobes: types.has_function("bpf_uprobe_multi_link_attach"),
            rings: ring::are_allowed(),
            preemptible: preemption::is_possible(
                &system.version().to_string_lossy(),
                &system.release().to_string_lossy(),
            ),
        }
    }

    /// Whether programs may call `bpf_probe_read_kernel`.
    pub fn may_probe_read(&self) -> bool {
        self.lockdown.as_deref() != Some("confidentiality")
    }
}

#[cfg(test)]
#[path = "layouts_tests.rs"]
mod layouts;
