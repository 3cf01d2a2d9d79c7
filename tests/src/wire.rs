//! What TCP segments look like on the cable.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::{Host, Hosts};

/// One TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sent by the side that connected: its port is not the server's.
    pub from_client: bool,
    /// A SYN, or a SYN-ACK.
    pub syn: bool,
    /// Sequence number.
    pub sequence: u32,
    /// Options, as (kind, what follows the length).
    pub options: Vec<(u8, Vec<u8>)>,
    /// Bytes of payload.
    pub payload: usize,
}

impl Segment {
    /// Content of the options of kind 253.
    pub fn experiments(&self) -> Vec<&[u8]> {
        let found = self.options.iter().filter(|(kind, _)| *kind == 253);
        found.map(|(_, content)| content.as_slice()).collect()
    }
}

/// Listens to what the server host sends and receives.
pub struct Wire {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Segment>>,
}

impl Wire {
    /// Begins to listen for segments from or to this port.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn listen(hosts: &Hosts, port: u16) -> Self {
        let socket = hosts.run(Host::Server, || packet_socket().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (mut segments, mut frame) = (Vec::new(), vec![0; 1 << 17]);
                loop {
                    // SAFETY: the buffer is as long as is said.
                    let length = unsafe {
                        libc::recv(
                            socket.as_raw_fd(),
                            frame.as_mut_ptr().cast(),
                            frame.len(),
                            0,
                        )
                    };
                    match usize::try_from(length) {
                        Ok(length) => segments.extend(parse(&frame[..length], port)),
                        // Nothing for a while: everything that was sent before the end has come.
                        Err(_) if stop.load(Ordering::Relaxed) => return segments,
                        Err(_) => {}
                    }
                }
            }
        });
        Self { stop, thread }
    }

    /// Everything that was seen, in order.
    ///
    /// # Panics
    /// When the listener did.
    pub fn segments(self) -> Vec<Segment> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A socket that is given every frame, and gives up a read after 50 ms (packet(7)). It keeps 64 MiB for a slow reader.
fn packet_socket() -> io::Result<OwnedFd> {
    let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
    let patience = libc::timeval {
        tv_sec: 0,
        tv_usec: 50_000,
    };
    // SAFETY: a plain system call; the descriptor is new.
    let socket = unsafe {
        let socket = libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            everything,
        );
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(socket)
    };
    set(&socket, libc::SO_RCVTIMEO, &patience)?;
    set(&socket, libc::SO_RCVBUFFORCE, &(64_i32 << 20))?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let at = std::ptr::from_ref(value).cast();
    // SAFETY: the value is as long as is said.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, at, length) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn parse(frame: &[u8], port: u16) -> Option<Segment> {
    let ip = frame.get(14..)?;
    let tcp = match (frame[12], frame[13]) {
        (0x08, 0x00) if ip[9] == 6 => {
            let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            ip.get(usize::from(ip[0] & 15) * 4..total)?
        }
        (0x86, 0xdd) if ip[6] == 6 => {
            let payload = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            ip.get(40..40 + payload)?
        }
        _ => return None,
    };
    let number = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    if number(0) != port && number(2) != port {
        return None;
    }
    let header = usize::from(tcp[12] >> 4) * 4;
    let (mut options, mut rest) = (Vec::new(), tcp.get(20..header)?);
    while let Some(kind) = rest.first() {
        match *kind {
            0 => break,
            1 => rest = &rest[1..],
            kind => {
                let length = usize::from(*rest.get(1)?);
                options.push((kind, rest.get(2..length)?.to_vec()));
                rest = &rest[length..];
            }
        }
    }
    Some(Segment {
        from_client: number(2) == port,
        syn: tcp[13] & 2 != 0,
        sequence: u32::from_be_bytes(tcp[4..8].try_into().ok()?),
        options,
        payload: tcp.len() - header,
    })
}
