//! Two threads send the halves of an answer's body at once: the second comes to wait for its turn at the socket while the
//! first one's bytes are not in memory yet.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::gettid;

use crate::Connection;

/// Bytes of each half: as many as fit into the socket's buffer at once.
const HALF: usize = 2000;
const PAGE: usize = 4096;

/// `include/uapi/linux/userfaultfd.h`
mod request {
    pub(super) const API: u64 = 0xc018_aa3f;
    pub(super) const REGISTER: u64 = 0xc020_aa00;
    pub(super) const COPY: u64 = 0xc028_aa03;
    pub(super) const VERSION: u64 = 0xaa;
    pub(super) const MISSING: u64 = 1;
}

/// Answers so.
pub(crate) struct Together(pub(crate) TcpStream);

impl Connection for Together {
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let length = self.0.read(&mut bytes)?;
        buffer.extend(&bytes[..length]);
        Ok(length)
    }

    fn send(&mut self, _answer: &[u8]) -> io::Result<()> {
        let length = 2 * HALF;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        self.0.write_all(head.as_bytes())?;
        let page = Absent::new()?;
        let address = page.at as usize;
        let stream = &self.0;
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                // SAFETY: write(2) of a mapping that outlives the scope.
                unsafe { libc::write(stream.as_raw_fd(), address as *const _, HALF) }
            });
            // It is in the middle of its send.
            page.wait()?;
            let (tell, told) = channel();
            let second = scope.spawn(move || {
                let _ = tell.send(gettid());
                let mut stream = stream;
                stream.write_all(&[b'2'; HALF])
            });
            let tid = told.recv().map_err(io::Error::other)?.as_raw_nonzero();
            let stat = format!("/proc/self/task/{tid}/stat");
            while !fs::read_to_string(&stat)?.contains(") D ") && !second.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            page.fill()?;
            let sent = first.join().map_err(|_| io::Error::other("the first"))?;
            assert_eq!(sent, HALF as isize);
            second.join().map_err(|_| io::Error::other("the second"))?
        })
    }
}

/// Why the kernel can't keep a page back.
pub(crate) fn supported() -> io::Result<()> {
    Absent::new().map(drop)
}

/// A page that is not there before it is filled: whoever reads it waits.
struct Absent {
    faults: OwnedFd,
    at: *mut libc::c_void,
}

impl Absent {
    fn new() -> io::Result<Self> {
        // SAFETY: userfaultfd(2) returns a new descriptor or an error.
        let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        if faults < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new, and nobody else's.
        let faults = unsafe { OwnedFd::from_raw_fd(i32::try_from(faults).unwrap()) };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let at = unsafe { mmap_anonymous(null_mut(), PAGE, protection, MapFlags::PRIVATE)? };
        let absent = Self { faults, at };
        absent.ask(request::API, &mut [request::VERSION, 0, 0])?;
        let range = [at as u64, PAGE as u64, request::MISSING, 0];
        absent.ask(request::REGISTER, &mut { range })?;
        Ok(absent)
    }

    fn ask<const N: usize>(&self, request: u64, words: &mut [u64; N]) -> io::Result<()> {
        // SAFETY: the request's struct has these words.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request, words.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until somebody waits for it.
    fn wait(&self) -> io::Result<()> {
        let mut message = [0; 32];
        rustix::io::read(&self.faults, &mut message)?;
        Ok(())
    }

    fn fill(&self) -> io::Result<()> {
        let bytes = [b'1'; PAGE];
        let words = [self.at as u64, bytes.as_ptr() as u64, PAGE as u64, 0, 0];
        self.ask(request::COPY, &mut { words })
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        let _ = unsafe { munmap(self.at, PAGE) };
    }
}
