//! Connections with more than one request of a ring in flight.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue::Flags, types::Fd, types::Fixed};

use super::Connection;
use super::ring::{BUFFER, SENT, completed, push, result};

/// What a buffer holds that nobody received anything into: who reads it reads the wrong one.
const WRONG: &[u8] = b"GET /wrong HTTP/1.1\r\nHost: wrong\r\n\r\n";

/// Two receives at once, into a buffer each.
pub(super) struct Pair {
    ring: IoUring,
    memory: Box<[u8]>,
    stream: TcpStream,
    begun: bool,
}

impl Pair {
    pub(super) fn new(ring: IoUring, memory: Box<[u8]>, stream: TcpStream) -> Self {
        Self {
            ring,
            memory,
            stream,
            begun: false,
        }
    }

    fn begin(&mut self, which: usize) -> io::Result<()> {
        let buffer = &mut self.memory[which * BUFFER..][..BUFFER];
        buffer[..WRONG.len()].copy_from_slice(WRONG);
        let receive = opcode::Recv::new(
            Fd(self.stream.as_raw_fd()),
            buffer.as_mut_ptr(),
            BUFFER as u32,
        );
        push(&mut self.ring, &receive.build().user_data(which as u64))
    }
}

impl Connection for Pair {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if !self.begun {
            self.begun = true;
            self.begin(0)?;
            self.begin(1)?;
        }
        let done = completed(&mut self.ring)?;
        let (which, length) = (done.user_data() as usize, result(&done)?);
        buffer.extend(&self.memory[which * BUFFER..][..length]);
        self.begin(which)?;
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let send = opcode::Send::new(
            Fd(self.stream.as_raw_fd()),
            bytes.as_ptr(),
            bytes.len() as u32,
        );
        push(&mut self.ring, &send.build().user_data(SENT))?;
        sent(&mut self.ring, bytes.len())
    }
}

/// A file of the ring's own table, and each answer in a chain with the next receive.
pub(super) struct Chain {
    ring: IoUring,
    memory: Box<[u8]>,
    /// Open as long as the connection.
    _stream: TcpStream,
    /// A receive is in flight.
    begun: bool,
}

impl Chain {
    pub(super) fn new(ring: IoUring, memory: Box<[u8]>, stream: TcpStream) -> io::Result<Self> {
        // The first place stays empty, so that a place that is taken for a descriptor, or for the first, shows.
        ring.submitter().register_files(&[-1, stream.as_raw_fd()])?;
        Ok(Self {
            ring,
            memory,
            _stream: stream,
            begun: false,
        })
    }

    fn begin(&mut self) -> io::Result<()> {
        let receive = opcode::Recv::new(Fixed(1), self.memory.as_mut_ptr(), BUFFER as u32);
        push(&mut self.ring, &receive.build())
    }
}

impl Connection for Chain {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if !self.begun {
            self.begin()?;
        }
        self.begun = false;
        let length = result(&completed(&mut self.ring)?)?;
        buffer.extend(&self.memory[..length]);
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let send = opcode::Send::new(Fixed(1), bytes.as_ptr(), bytes.len() as u32).build();
        push(&mut self.ring, &send.user_data(SENT).flags(Flags::IO_LINK))?;
        self.begin()?;
        self.begun = true;
        sent(&mut self.ring, bytes.len())
    }
}

/// Waits for the end of a send. Receives end after it: the client waits for the answer.
fn sent(ring: &mut IoUring, all: usize) -> io::Result<()> {
    let done = completed(ring)?;
    match result(&done)? {
        length if done.user_data() == SENT && length == all => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
