//! What the daemon tells the kernel.

use crate::plain;

/// What the kernel ships of a connection.
pub mod shape {
    /// Protocol not known yet: as [`HEAD`].
    pub const PROBE: u8 = 0;
    /// The first bytes of each run, enough for a message's head.
    pub const HEAD: u8 = 1;
    /// Of each frame what its [`Layout`](crate::frames::Layout) says; all where the protocol has none.
    pub const FRAMES: u8 = 2;
    /// Everything.
    pub const FULL: u8 = 3;
    /// Nothing: bulk data and protocols that observer does not read.
    pub const IGNORE: u8 = 4;
    /// Nothing, but whose bytes they are is followed: TLS. Set by the kernel only; the daemon says so of connections whose
    /// [`RECORDS`] it no longer reads.
    pub const OPAQUE: u8 = 5;
    /// The first bytes of each run, as [`HEAD`], and behind them the last [`TAIL`](crate::record::TAIL) of each call, so the run's
    /// last, too.
    pub const HEAD_TAIL: u8 = 6;
    /// TLS records: of each its header, and what [`Layout`](crate::frames::Layout) and budget say. Set by the kernel only; whose
    /// bytes they are is followed as in [`OPAQUE`]. Of what is inside the daemon says this, or [`OPAQUE`]: anything else that it
    /// said is from before TLS began.
    pub const RECORDS: u8 = 7;
}

/// What the daemon says of a connection's role: [`ConnectionControl::role`].
pub mod told_role {
    /// Nothing.
    pub const KEEP: u8 = 0;
    /// It is a client's end.
    pub const CLIENT: u8 = 1;
    /// It is a server's end.
    pub const SERVER: u8 = 2;
    /// What its bytes told is wrong: it has none, and no bytes tell one any more.
    pub const REVOKE: u8 = 3;
}

/// What the daemon knows of a connection, keyed by sock address. Written by the daemon only; the kernel takes it over
/// while the generation matches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionControl {
    /// Generation that this is meant for.
    pub generation: u64,
    /// What is to be shipped, one of [`shape`].
    pub shape: u8,
    /// The protocol's number; 0 leaves it as it is.
    pub protocol: u8,
    /// One of [`told_role`].
    pub role: u8,
    /// Explicit padding.
    pub reserved: [u8; 5],
}
plain!(ConnectionControl, 16);

/// Process-wide state that the daemon may change while the programs run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlBlock {
    /// Raised whenever the policy map changed: connections ask it anew.
    pub policy_epoch: u32,
    /// 0 while nothing is to be captured (start-up, draining).
    pub enabled: u32,
    /// 1 once there was no room to say of a process that it is not captured: then none is of which nothing is said.
    pub unknown_denied: u32,
}
plain!(ControlBlock, 12);

/// Read-only settings, set before the programs are loaded; the verifier folds them into constants.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Only processes in the policy map are captured.
    pub selected_only: u32,
    /// Process id of observer in the initial pid namespace; 0 when unknown.
    pub observer_tgid: u32,
    /// Shards less one: rings in use, a power of two less one, at most `MAX_RINGS - 1`.
    pub ring_mask: u32,
    /// A ring fuller than this many bytes wakes its reader.
    pub wake_bytes: u32,
    /// `bpf_probe_read_kernel` is allowed (it is not under lockdown=confidentiality).
    pub may_probe_read: u32,
    /// `tcp_sendmsg_locked` hands over the data before it is sent, so `sock_send_length` only completes long sends.
    pub send_start_hook: u32,
    /// Bytes that a run may ship, per direction, in shape `probe` and `head`.
    pub request_budget: u32,
    /// The same for the direction that answers.
    pub response_budget: u32,
    /// `bpf_get_current_task_btf` exists (5.11).
    pub typed_task: u32,
    /// `bpf_task_pt_regs` exists (5.15).
    pub task_registers: u32,
    /// io_uring works in kernel threads (before 5.12), not in threads of the process.
    pub kernel_workers: u32,
    /// `bpf_skc_to_unix_sock` is there (5.16).
    pub unix_sock_helper: u32,
    /// Headers may be injected: connections may be in the socket map.
    pub inject: u32,
    /// Contexts travel in TCP options, to and from the peers in the map `OPTION_PEERS`.
    pub tcp_option: u32,
    /// Programs have spares, since kernel code can be preempted.
    pub spares: u32,
    /// Kernel TLS takes a record from TCP when a process reads it, not before (6.0): where its bytes begin is known.
    pub tls_records: u32,
    /// Arguments of `proto.recvmsg`.
    pub receive_arguments: u32,
    /// io_uring's requests are noted: 1 those with registered buffers, 2 all that move a socket's bytes.
    pub ring_requests: u32,
    /// Data is told when its system call is over, and has its result in the saved registers (the `syscall` tier).
    pub at_call_end: u32,
    /// Calls of Node without a parent are told which request they may have been made for.
    pub links: u32,
    /// Datagrams to and from name servers are told.
    pub dns: u32,
    /// The records of TLS connections are shipped.
    pub tls: u32,
    /// For tests: of so many records one is lost as if its ring had no room. 0 in use.
    pub lose_one_in: u32,
}
plain!(Settings, 92);

/// What [`InjectionControl`] says.
pub mod injection {
    /// No connection joins the socket map.
    pub const OFF: u32 = 0;
    /// Only connections of observer's own: the self-test.
    pub const SELF_TEST: u32 = 1;
    /// Those that captured processes make.
    pub const ON: u32 = 2;
}

/// Whose connections get headers injected. Written by the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct InjectionControl {
    /// One of [`injection`].
    pub mode: u32,
    /// Explicit padding.
    pub reserved: u32,
}
plain!(InjectionControl, 8);

/// Scratches: programs that need one. Spares have as many.
pub const SCRATCHES: u32 = 8;

/// Scratches, where headers are injected: those of the other programs and of their spares, and three.
pub const SCRATCHES_TO_INJECT: u32 = 2 * SCRATCHES + 3;

/// Bytes of an injected line: `traceparent: 00-<32 hex digits>-<16 hex digits>-01` and its end.
pub const INJECTED_LINE: u32 = 70;

/// Rings that the object declares; unused ones are shrunk to a page.
pub const MAX_RINGS: usize = 4;
