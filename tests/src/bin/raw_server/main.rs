//! An HTTP server that makes exactly the system calls that it is told to: raw_server PORT|check WAY
//!
//! WAY: `plain` (read, write), `peek` (every request looked at with MSG_PEEK first), `cold` (answers lie in pages that the
//! process never touched), `together` (two threads send halves of the body at once), and through io_uring: `ring` (recv,
//! send), `multishot` (one recv for all that comes), `fixed` (registered buffers), `poll` (the kernel's own thread
//! submits), `array` (readv), `worker` (the kernel's worker threads do it), `pair` (two receives at once), `chain` (files of
//! the ring's table; each send in a chain with the next receive). It ends with status 3 where the kernel can't do that, at once with `check`. Every request is answered with three bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's server: it panics, it has nobody to return an error to"
)]

mod flight;
mod ring;
mod together;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::ptr::null_mut;
use std::slice;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{RecvFlags, recv};

/// The kernel can't do what was asked for.
const CANNOT: u8 = 3;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// Reads from and writes to one connection.
trait Connection {
    /// Reads some bytes, none at the end.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Writes them all.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().expect("a port");
    let way = arguments.next().expect("a way");
    let supported = match way.as_str() {
        "plain" | "peek" | "cold" => Ok(()),
        "together" => together::supported(),
        _ => ring::supported(&way),
    };
    if let Err(error) = supported {
        eprintln!("{error}");
        return ExitCode::from(CANNOT);
    }
    if port == "check" {
        return ExitCode::SUCCESS;
    }
    let port = port.parse().expect("a port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        // Head and answer are one write each, but both ends wait for each other.
        stream.set_nodelay(true).unwrap();
        let way = way.clone();
        std::thread::spawn(move || match way.as_str() {
            "plain" | "peek" => serve(&mut Calls {
                peeks: way == "peek",
                stream,
            }),
            "cold" => serve(&mut Cold(stream)),
            "together" => serve(&mut together::Together(stream)),
            _ => serve(ring::open(&way, stream).unwrap().as_mut()),
        });
    }
    ExitCode::SUCCESS
}

/// Answers until the other end closes. Requests have no bodies.
fn serve(connection: &mut dyn Connection) {
    let mut pending = Vec::new();
    while connection.receive(&mut pending).is_ok_and(|read| read > 0) {
        while let Some(end) = pending.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            pending.drain(..end + 4);
            if connection.send(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// System calls.
struct Calls {
    stream: TcpStream,
    peeks: bool,
}

impl Connection for Calls {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = [0; 64 << 10];
        if self.peeks {
            for _ in 0..3 {
                recv(&self.stream, &mut bytes, RecvFlags::PEEK)?;
            }
        }
        let length = self.stream.read(&mut bytes)?;
        buffer.extend(&bytes[..length]);
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}

/// Sends from a file that is mapped into memory anew each time, so that its page is not there before the kernel asks for it.
struct Cold(TcpStream);

impl Connection for Cold {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let length = self.0.read(&mut bytes)?;
        buffer.extend(&bytes[..length]);
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::from(memfd_create("answer", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        let (protection, flags) = (ProtFlags::READ, MapFlags::PRIVATE);
        // SAFETY: a mapping of our own at an address that the kernel chooses, as long as the file; nobody writes to it.
        unsafe {
            let mapped = mmap(null_mut(), bytes.len(), protection, flags, &file, 0)?;
            let sent = self
                .0
                .write_all(slice::from_raw_parts(mapped.cast(), bytes.len()));
            munmap(mapped, bytes.len())?;
            sent
        }
    }
}
