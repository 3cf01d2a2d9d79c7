//! The kernel programs of observer.
//!
//! In: the kernel's hooks, and what the daemon sets before load and in maps. Out: records in rings, counters.
//! A tier's adapter (`tier`) finds the sock, the direction, the byte range and the buffer of one call, and hands them to
//! `core`, which is the same for every tier. Around it: `life` follows connections and processes, `detect` tells protocols apart, `uring` finds the
//! buffers of io_uring's requests, `work` tells which request a thread works for, `carry` takes contexts from one
//! service to the next, `tls` does so where nobody can read, `datagram` tells of DNS. `kernel` is how all of them read kernel memory.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod carry;
mod core;
mod datagram;
mod detect;
mod kernel;
mod life;
mod tier;
mod tls;
mod uring;
mod work;

#[panic_handler]
fn panic(_info: &::core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
