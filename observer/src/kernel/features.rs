//! What the running kernel is and what it allows.

use super::{preemption, types::KernelTypes};

/// What the kernel is and allows, asked once.
#[derive(Clone, Debug, Default)]
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
    /// Programs of every kind may make entries of maps that have none beforehand (`bpf_mem_alloc`, 6.1).
    pub allocates: bool,
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
            allocates: types.has_function("bpf_mem_alloc_init"),
            rings: are_rings_allowed(),
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

/// Whether processes may make rings of io_uring. (`kernel.io_uring_disabled`, 6.6: 2 refuses them to all. Who allows them
/// later restarts observer.)
fn are_rings_allowed() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .map_or(true, |value| value.trim() != "2")
}
