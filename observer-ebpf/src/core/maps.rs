//! The maps. Sizes are placeholders: the daemon sets them from the host before load.
//!
//! Every map value has one writing side, named here.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash},
};
use observer_abi::{
    connection::Connection,
    context::{Handoff, HandoffKey, Loop, RequestReference, Thread, Unit, UnitKey},
    control::{ConnectionControl, ControlBlock, InjectionControl, MAX_RINGS},
    loss,
    option::OptionConnection,
    process::{Policy, Runtime},
    record::{ConnectionClosed, LinkFound, RunOpened},
};

use crate::{
    core::{
        capture::Call,
        retry::{Faulted, PLACES},
    },
    tier::{
        kprobe::{Entered, Receive},
        spare::{self, program},
    },
    uring::in_flight::Requests,
};

/// Kernel: connections by sock address.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(16384, 0);
/// Daemon: capture modes by sock address.
#[map]
pub(crate) static CONN_CONTROL: LruHashMap<u64, ConnectionControl> = LruHashMap::with_max_entries(16384, 0);
/// Daemon: how many modes it has set there, by ring: a connection looks only where that has changed.
#[map]
pub(crate) static MODES_SET: Array<u32> = Array::with_max_entries(MAX_RINGS as u32, 0);
/// Kernel: what threads are working on, by thread id.
#[map]
pub(crate) static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(8192, 0);
/// Kernel: Node's event loops, by thread id.
#[map]
pub(crate) static LOOPS: LruHashMap<u32, Loop> = LruHashMap::with_max_entries(4096, 0);
/// Kernel: contexts on their way from client to server on this host.
#[map]
pub(crate) static HANDOFF: LruHashMap<HandoffKey, Handoff> = LruHashMap::with_max_entries(16384, 0);
/// Daemon, and the kernel at fork: which processes are captured.
#[map]
pub(crate) static POLICY: HashMap<u32, Policy> = HashMap::with_max_entries(16384, 0);
/// Kernel, `kprobe` tier: calls that were entered, by thread id.
#[map]
pub(crate) static CALLS: LruHashMap<u32, Entered> = LruHashMap::with_max_entries(8192, 0);
/// Kernel, `kprobe` tier: TCP receives that were entered, by thread id.
#[map]
pub(crate) static RECEIVES: LruHashMap<u32, Receive> = LruHashMap::with_max_entries(8192, 0);
/// Daemon, and the kernel at fork and exec: processes whose runtime tells more than their threads do.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> = HashMap::with_max_entries(8192, 0);
/// Kernel: what goroutines, Python contexts and waiting work are for.
#[map]
pub(crate) static UNITS: LruHashMap<UnitKey, Unit> = LruHashMap::with_max_entries(32768, 0);
/// Kernel: what TCP's own `recvmsg` and `sendmsg` are, so that others (kernel TLS) show; and `tls_sw_sendmsg`.
#[map]
pub(crate) static PLAIN_CALLS: Array<[u64; 3]> = Array::with_max_entries(1, 0);
/// Kernel: what sockets of event loops are for that are connecting, or broke before the process closed them.
#[map]
pub(crate) static CONNECTING: LruHashMap<u64, RequestReference> = LruHashMap::with_max_entries(4096, 0);
/// Kernel: what Node had resumed last when it connected or wrote, by sock address.
#[map]
pub(crate) static LIKELY: LruHashMap<u64, RequestReference> = LruHashMap::with_max_entries(4096, 0);
/// Kernel: connections that trace context travels on in TCP options, by sock address.
#[map]
pub(crate) static OPTION_CONNECTIONS: LruHashMap<u64, OptionConnection> = LruHashMap::with_max_entries(16384, 0);
/// Kernel: connections about to be accepted whose SYN and SYN-ACK carried the capability, by the first sequence
/// numbers of both directions: the answer's in the upper half.
#[map]
pub(crate) static OPTION_HANDSHAKES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(4096, 0);
/// Daemon: the networks whose hosts options are exchanged with; IPv4 as v4-mapped IPv6.
#[map]
pub(crate) static OPTION_PEERS: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1024, 0);
/// Daemon: switches.
#[map]
pub(crate) static CONTROL_BLOCK: Array<ControlBlock> = Array::with_max_entries(1, 0);
/// Kernel: io_uring's requests in flight, by sock address.
#[map]
pub(crate) static RING_REQUESTS: LruHashMap<u64, Requests> = LruHashMap::with_max_entries(4096, 0);
/// Kernel: sends that are to be read at their end.
#[map]
pub(crate) static FAULTED: Array<Faulted> = Array::with_max_entries(PLACES, 0);
/// Daemon: 1 where the reader of this ring sleeps until it is woken.
#[map]
pub(crate) static SLEEPING: Array<u32> = Array::with_max_entries(MAX_RINGS as u32, 0);
/// Kernel: counters per CPU, indexed by `loss::Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNTERS, 0);

/// Daemon: whose connections get headers injected.
#[map]
pub(crate) static INJECTION_CONTROL: Array<InjectionControl> = Array::with_max_entries(1, 0);
/// Kernel: sockets that connect for a captured process and may join the socket map.
#[map]
pub(crate) static JOINING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);
/// Kernel (the daemon takes out): client sockets whose sends the injecting program sees, by sock address.
#[map]
pub(crate) static INJECTED: SockHash<u64> = SockHash::with_max_entries(16384, 0);
/// Kernel: sock addresses that should leave that map.
#[map]
pub(crate) static LEAVING: RingBuf = RingBuf::with_byte_size(64 << 10, 0);
/// Kernel: which of the injecting program's scratches are taken, by counting.
#[map]
pub(crate) static SCRATCH_TAKEN: PerCpuArray<[u64; slot::MESSAGES as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Records, one ring a shard.
#[map]
pub(crate) static RECORDS_0: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
#[map]
pub(crate) static RECORDS_1: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub(crate) static RECORDS_2: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub(crate) static RECORDS_3: RingBuf = RingBuf::with_byte_size(4096, 0);
/// Process events.
#[map]
pub(crate) static PROCESS_EVENTS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Room for one record, and what is known of the call that it is about. The payload part is twice its limit, so that
/// `offset + length` of any two bounded numbers stays inside and the verifier can see it.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) opened: RunOpened,
    pub(crate) payload: [u8; 2 * observer_abi::record::MAX_PAYLOAD],
    /// The call.
    pub(crate) call: Call,
    /// Its buffer, see `buffer::Source`.
    pub(crate) source: [u64; 4],
    /// An address and a length, on their way through memory.
    pub(crate) found: [u64; 2],
    /// What a call may have been made for.
    pub(crate) link: LinkFound,
}

/// Scratches, one a program: another task's or softirq work may interrupt a program, and the kernel only keeps the same
/// program from running twice on a CPU. Those of spares lie behind (`spare::slot_of`).
pub(crate) mod slot {
    pub(crate) const SENDING: u32 = 0;
    pub(crate) const SENT: u32 = 1;
    pub(crate) const RECEIVED: u32 = 2;
    pub(crate) const UNIX_SENT: u32 = 3;
    pub(crate) const UNIX_RECEIVED: u32 = 4;
    pub(crate) const TLS_SENDING: u32 = 5;
    pub(crate) const TLS_RECEIVED: u32 = 6;
    /// Of all programs on datagrams and their spares: whose it is they settle among themselves (`dns`).
    pub(crate) const DATAGRAM: u32 = 7;
    /// How many there are.
    pub(crate) const COUNT: u32 = observer_abi::control::SCRATCHES;
    /// Behind the spares', the first of the injecting program's: any task may interrupt it, so it takes what is free.
    pub(crate) const MESSAGE: u32 = 2 * COUNT;
    /// How many those are.
    pub(crate) const MESSAGES: u32 = observer_abi::control::SCRATCHES_TO_INJECT - MESSAGE;
}

#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// The scratch of a program; see [`slot`].
#[inline(always)]
pub(crate) fn scratch(slot: u32) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(slot)
}

/// Kernel: whom a first program has served and its spare has not looked at since, by `spare::program` and the low bits of
/// `spare::owner`.
#[map]
pub(crate) static SERVED: Array<u32> = Array::with_max_entries(program::COUNT * spare::PLACES, 0);

/// For the programs of `tcp_state` and their spares: a connection entry to be inserted or a closing record, in softirq.
#[map]
pub(crate) static SCRATCH_STATE: PerCpuArray<ConnectionClosed> = PerCpuArray::with_max_entries(4, 0);
/// For `connection::create` in system call context, one a program as in [`slot`].
#[map]
pub(crate) static SCRATCH_CREATE: PerCpuArray<Connection> = PerCpuArray::with_max_entries(slot::COUNT, 0);
