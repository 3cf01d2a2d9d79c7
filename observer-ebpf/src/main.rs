//! The kernel programs of observer.
//!
//! `socket`, `fentry`, `kprobe` and `syscall` are tier adapters: they find the sock, the direction, the byte range and the buffer of one
//! call, and hand them to `capture`, which is the same for every tier. `state` follows TCP connections, `process`
//! follows processes.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod buffer;
mod capture;
mod connecting;
mod connection;
mod context;
mod dns;
mod event_loop;
mod fentry;
mod globals;
mod inject;
mod iterator;
mod kprobe;
mod ktls;
mod ktls_hooks;
mod go;
mod head;
mod link;
mod maps;
mod node;
mod opaque;
mod option;
mod output;
mod process;
mod python;
mod read;
mod retry;
mod registers;
mod request;
mod ring;
mod ruby;
mod sock;
mod socket;
mod spare;
mod state;
mod syscall;
mod task;
mod tokio;
mod unit;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
