//! One connection through a ring of its own.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types::Fd};

use super::Connection;
use super::flight::{Chain, Pair};

pub(super) const BUFFER: usize = 4096;
/// Buffers that the kernel picks from, and their group.
const PICKED: u16 = 8;
const GROUP: u16 = 1;

/// Whether the kernel can do what a way needs; the error says what it lacks.
pub(super) fn supported(way: &str) -> io::Result<()> {
    let ring = build(way)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed: &[u8] = match way {
        "fixed" => &[opcode::ReadFixed::CODE, opcode::WriteFixed::CODE],
        // Multishot receives came with this operation (6.0).
        "multishot" => &[opcode::RecvMulti::CODE, opcode::SendZc::CODE],
        _ => &[opcode::Recv::CODE, opcode::Send::CODE],
    };
    match needed.iter().find(|code| !probe.is_supported(**code)) {
        None => Ok(()),
        Some(_) => Err(io::Error::other(format!("io_uring has no {way} here"))),
    }
}

/// Takes a connection over.
pub(super) fn open(way: &str, stream: TcpStream) -> io::Result<Box<dyn Connection>> {
    let mut ring = build(way)?;
    let mut memory = vec![0_u8; BUFFER * usize::from(PICKED)].into_boxed_slice();
    match way {
        "fixed" => {
            let buffer = libc_iovec(&mut memory[..BUFFER]);
            // SAFETY: the memory lives as long as the ring: both are in the connection.
            unsafe { ring.submitter().register_buffers(&[buffer])? };
        }
        "multishot" => {
            let give =
                opcode::ProvideBuffers::new(memory.as_mut_ptr(), BUFFER as i32, PICKED, GROUP, 0);
            push(&mut ring, &give.build())?;
            completed(&mut ring)?;
        }
        "pair" => return Ok(Box::new(Pair::new(ring, memory, stream))),
        "chain" => return Ok(Box::new(Chain::new(ring, memory, stream)?)),
        _ => {}
    }
    let (first, rest) = memory.split_at_mut(16);
    let (second, third) = rest.split_at_mut(24);
    let array = Box::new([
        libc_iovec(first),
        libc_iovec(second),
        libc_iovec(&mut third[..BUFFER]),
    ]);
    Ok(Box::new(Ring {
        way: way.to_owned(),
        ring,
        array,
        memory,
        stream,
        armed: false,
    }))
}

fn build(way: &str) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    if way == "poll" {
        builder.setup_sqpoll(1000);
    }
    builder.build(16)
}

struct Ring {
    way: String,
    ring: IoUring,
    /// The same memory in pieces, as arrays name it.
    array: Box<[libc::iovec; 3]>,
    memory: Box<[u8]>,
    stream: TcpStream,
    /// A multishot receive is under way.
    armed: bool,
}

impl Connection for Ring {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.way == "multishot" {
            return self.receive_multishot(buffer);
        }
        let (fd, memory) = (Fd(self.stream.as_raw_fd()), self.memory.as_mut_ptr());
        let entry = match self.way.as_str() {
            "fixed" => opcode::ReadFixed::new(fd, memory, BUFFER as u32, 0).build(),
            "array" => opcode::Readv::new(fd, self.array.as_ptr().cast(), 3).build(),
            "worker" => opcode::Recv::new(fd, memory, BUFFER as u32)
                .build()
                .flags(squeue::Flags::ASYNC),
            _ => opcode::Recv::new(fd, memory, BUFFER as u32).build(),
        };
        push(&mut self.ring, &entry)?;
        let length = result(&completed(&mut self.ring)?)?;
        buffer.extend(&self.memory[..length]);
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fd = Fd(self.stream.as_raw_fd());
        let entry = if self.way == "fixed" {
            self.memory[..bytes.len()].copy_from_slice(bytes);
            opcode::WriteFixed::new(fd, self.memory.as_ptr(), bytes.len() as u32, 0).build()
        } else if self.way == "worker" {
            opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32)
                .build()
                .flags(squeue::Flags::ASYNC)
        } else {
            opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).build()
        };
        // A small answer fits the socket's buffer.
        push(&mut self.ring, &entry.user_data(SENT))?;
        loop {
            let done = completed(&mut self.ring)?;
            if done.user_data() == SENT {
                return match result(&done)? {
                    all if all == bytes.len() => Ok(()),
                    _ => Err(io::ErrorKind::WriteZero.into()),
                };
            }
            // The client sends its next request when it has this answer, so nothing else completes but its end.
            self.armed = false;
        }
    }
}

/// Marks the completion of a send.
pub(super) const SENT: u64 = 3;

impl Ring {
    fn receive_multishot(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if !self.armed {
            let fd = Fd(self.stream.as_raw_fd());
            push(&mut self.ring, &opcode::RecvMulti::new(fd, GROUP).build())?;
            self.armed = true;
        }
        let done = completed(&mut self.ring)?;
        self.armed = cqueue::more(done.flags());
        let length = result(&done)?;
        let Some(picked) = cqueue::buffer_select(done.flags()) else {
            return Ok(0);
        };
        let start = usize::from(picked) * BUFFER;
        buffer.extend(&self.memory[start..start + length]);
        // SAFETY (of the pointer): the picked buffer lies in `memory`, which lives as long as the ring.
        let back = self.memory[start..].as_mut_ptr();
        let give = opcode::ProvideBuffers::new(back, BUFFER as i32, 1, GROUP, picked);
        push(&mut self.ring, &give.build().user_data(GIVEN))?;
        while completed(&mut self.ring)?.user_data() != GIVEN {}
        Ok(length)
    }
}

/// Marks the completion of giving a buffer back.
const GIVEN: u64 = 4;

pub(super) fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: every buffer lives until its operation has completed: callers wait for it, or hold it with the ring.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)
}

/// Submits, and waits for one completion.
pub(super) fn completed(ring: &mut IoUring) -> io::Result<cqueue::Entry> {
    loop {
        if let Some(done) = ring.completion().next() {
            return Ok(done);
        }
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

pub(super) fn result(done: &cqueue::Entry) -> io::Result<usize> {
    usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()))
}

fn libc_iovec(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}
