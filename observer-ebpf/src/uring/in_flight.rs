//! io_uring: which requests of which sockets are in flight. What moves through a ring is in no system call's arguments,
//! and the kernel's message does not name the request (any more, 7.0), so requests are noted when they appear.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | tp_btf `io_uring_submit_req` | `(struct io_kiocb *req)`: prepared, not yet issued, its file not yet looked up | 6.3 |
//! | tp_btf `io_uring_task_add` | `(struct io_kiocb *req, int mask)`: it waited, and is to go on | 5.19 |
//! | tp_btf `io_uring_complete` | `(struct io_ring_ctx *ctx, void *req, …)`: no request where more completions follow | 5.19 |
//!
//! A request is issued only after one of the first two, so what moves a socket's bytes for a ring is in the socket's set,
//! or the set says that it is not whole.
//!
//! Cost: a few loads for each request of whatever ring; nothing for processes without one. Limits: the request is read by
//! address, which lockdown forbids; two threads that submit for one socket at the same instant may lose one of the notes,
//! whose bytes are counted then, not read.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::LruHashMap,
    programs::BtfTracePointContext,
};

use crate::{
    kernel::{
        descriptor,
        globals::{offset, settings},
        read::{KernelRead, Probe},
    },
    tier::spare::spared,
    uring::request::{self, FIXED_FILE},
};

/// Kernel: io_uring's requests in flight, by sock address.
#[map]
pub(crate) static RING_REQUESTS: LruHashMap<u64, Requests> = LruHashMap::with_max_entries(4096, 0);

/// BPF_NOEXIST of `bpf_map_update_elem`.
const NOEXIST: u64 = 1;
/// Requests that a socket may have in flight; more are only counted.
pub(crate) const PLACES: usize = 4;

/// A socket's requests in flight.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Requests {
    /// The socket's file: another one means another socket at the same address.
    file: u64,
    /// How many found no place. As long as there is one, nothing is certain.
    pub(crate) without_place: u64,
    pub(crate) places: [Place; PLACES],
}

/// One of them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Its `struct io_kiocb`; 0 where the place is free.
    pub(crate) request: u64,
    /// What its iterator has left, see [`request::left`].
    pub(crate) left: u64,
}

// A request that is about to be issued for the first time.
spared! {
    #[btf_tracepoint(function = "io_uring_submit_req")]
    ring_submitted, ring_submitted_spare, BtfTracePointContext, RING_SUBMITTED,
    // SAFETY: read by address, by the task whose descriptors it names.
    |ctx, _spare| unsafe { submitted(ctx.arg(0)) }
}

#[inline(always)]
unsafe fn submitted(request: *const u8) {
    // SAFETY: as promised.
    unsafe {
        if request::concerns(request) {
            if let Some(file) = named_file(request) {
                note(request, file, false);
            }
        }
    }
}

// A request whose socket became ready. Those that were there before observer are met here.
spared! {
    #[btf_tracepoint(function = "io_uring_task_add")]
    ring_woken, ring_woken_spare, BtfTracePointContext, RING_WOKEN,
    // SAFETY: read by address.
    |ctx, _spare| unsafe { woken(ctx.arg(0)) }
}

#[inline(always)]
unsafe fn woken(request: *const u8) {
    // SAFETY: as promised; it has its file since it was first issued.
    unsafe {
        if request::concerns(request) {
            let file: *const u8 = Probe::read(request, offset!(request_file));
            if descriptor::is_socket(file) {
                note(request, file, true);
            }
        }
    }
}

// A request that is over: the process does not see it yet, so it cannot have reused anything.
spared! {
    #[btf_tracepoint(function = "io_uring_complete")]
    ring_completed, ring_completed_spare, BtfTracePointContext, RING_COMPLETED,
    // SAFETY: read by address.
    |ctx, _spare| unsafe { completed(ctx.arg(1)) }
}

#[inline(always)]
unsafe fn completed(request: *const u8) {
    // SAFETY: as promised.
    unsafe {
        if !request.is_null() && request::concerns(request) {
            let file: *const u8 = Probe::read(request, offset!(request_file));
            forget(request as u64, sock_of(file));
        }
    }
}

/// The socket's file that a request names by a descriptor, or by its place in the ring's own table.
#[inline(always)]
unsafe fn named_file(request: *const u8) -> Option<*const u8> {
    // SAFETY: read by address; a null gives zero.
    unsafe {
        let descriptor: u32 = Probe::read(request, offset!(request_fd));
        if request::flags(request) & FIXED_FILE == 0 {
            return descriptor::socket_file(descriptor::files(), u64::from(descriptor));
        }
        let file = request::fixed_file(request, descriptor);
        if descriptor::is_socket(file) { Some(file) } else { None }
    }
}

#[inline(always)]
unsafe fn sock_of(file: *const u8) -> u64 {
    // SAFETY: read by address.
    unsafe {
        let socket: *const u8 = Probe::read(file, offset!(file_private));
        Probe::read(socket, offset!(socket_sk))
    }
}

/// Puts a request of a socket into its set, unless it is there. One that waited and is not there had no place when it was
/// submitted, or is from before observer.
#[inline(always)]
unsafe fn note(request: *const u8, file: *const u8, waited: bool) {
    // SAFETY: read by address; a live map value.
    unsafe {
        let sock = sock_of(file);
        let none = Place { request: 0, left: 0 };
        let Some(set) = RING_REQUESTS.get_ptr_mut(sock) else {
            let mut set = Requests { file: file as u64, without_place: 0, places: [none; PLACES] };
            set.places[0] = Place { request: request as u64, left: request::left(request) };
            let _ = RING_REQUESTS.insert(sock, &set, NOEXIST);
            return;
        };
        if (*set).file != file as u64 {
            (*set).file = file as u64;
            (*set).without_place = 0;
            (*set).places = [none; PLACES];
        }
        let mut free = PLACES;
        let mut index = 0;
        while index < PLACES {
            let place = &raw mut (*set).places[index];
            if (*place).request == request as u64 {
                (*place).left = request::left(request);
                return;
            }
            if (*place).request == 0 {
                free = index;
            }
            index += 1;
        }
        let without_place = (*set).without_place;
        if free >= PLACES {
            if !waited || without_place == 0 {
                (*set).without_place = without_place + 1;
            }
            return;
        }
        if waited && without_place != 0 {
            (*set).without_place = without_place - 1;
        }
        (*set).places[free].left = request::left(request);
        (*set).places[free].request = request as u64;
    }
}

/// Takes a request out of its socket's set.
#[inline(always)]
unsafe fn forget(request: u64, sock: u64) {
    let Some(set) = RING_REQUESTS.get_ptr_mut(sock) else { return };
    // SAFETY: a live map value.
    unsafe {
        let mut index = 0;
        while index < PLACES {
            if (*set).places[index].request == request {
                (*set).places[index].request = 0;
                return;
            }
            index += 1;
        }
        if (*set).without_place != 0 {
            (*set).without_place -= 1;
        }
    }
}

/// Whether requests are noted at all, or those with registered buffers.
#[inline(always)]
pub(crate) fn is_followed(extent: u32) -> bool {
    settings().ring_requests() >= extent && settings().may_probe_read() != 0
}
