//! Spares: the programs that work where their first one was preempted.

use crate::kernel::hook::Hook;

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
