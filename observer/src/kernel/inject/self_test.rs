//! Whether this kernel's socket maps leave a connection as it was. On many they do not: FIONREAD says 0 with bytes
//! waiting (6.6.128 on, 6.12.75 on, 6.18), upon which nginx and Java stop reading.
//!
//! On loopback, with the programs attached: the client's end of each connection joins the map.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    thread,
    time::Duration,
};

use observer_abi::control::INJECTED_LINE;
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    pipe::{SpliceFlags, pipe, splice},
};

/// How long anything on loopback may take.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A body that does not fit into socket buffers at once, bytes.
const LARGE: usize = 3 << 20;
/// Bytes that wait when FIONREAD is asked.
const WAITING: usize = 1000;

type Outcome = Result<(), String>;
type Check = fn() -> io::Result<Outcome>;

/// Every check.
///
/// # Errors
/// The first that fails.
pub(super) fn run() -> Outcome {
    let checks: [(&str, Check); 7] = [
        ("a request with its line", injected),
        ("bytes waiting", waiting),
        ("epoll", woken),
        ("large bodies", large),
        ("a blocking receive", undisturbed),
        ("splice and sendfile", spliced),
        ("half-close", half_closed),
    ];
    for (name, check) in checks {
        match check() {
            Ok(Ok(())) => {}
            Ok(Err(found)) => return Err(found),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(())
}

/// A connection: the client's end, which is in the map, and the server's.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(LONGEST_WAIT))?;
        end.set_write_timeout(Some(LONGEST_WAIT))?;
    }
    Ok((client, server))
}

const REQUEST_LINE: &str = "POST /observer-self-test HTTP/1.1\r\n";

fn request(body: usize) -> Vec<u8> {
    let mut text =
        format!("{REQUEST_LINE}Host: localhost\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    text.extend(pattern(body));
    text
}

/// Bytes that do not repeat where buffers end.
fn pattern(length: usize) -> Vec<u8> {
    let block: [u8; 251] = std::array::from_fn(|index| index as u8);
    let mut bytes = block.repeat(length / block.len() + 1);
    bytes.truncate(length);
    bytes
}

/// Whether `received` is the request with one line more.
fn compare(sent: &[u8], received: &[u8]) -> Outcome {
    let at = REQUEST_LINE.len();
    let end = at + INJECTED_LINE as usize;
    if received.len() == sent.len() {
        return Err("no line was inserted into a request".to_owned());
    }
    let line = received.get(at..end).unwrap_or_default();
    if !line.starts_with(b"traceparent: 00-")
        || !line.ends_with(b"-01\r\n")
        || received.get(..at) != sent.get(..at)
        || received.get(end..) != sent.get(at..)
    {
        return Err("a request arrived altered".to_owned());
    }
    Ok(())
}

fn read(from: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn injected() -> io::Result<Outcome> {
    let (mut client, mut server) = connection()?;
    for body in [0, 10, 5000] {
        let sent = request(body);
        client.write_all(&sent)?;
        client.flush()?;
        // What is not injected would be missing: the answer comes after that much only.
        let mut received = vec![0; sent.len()];
        server.read_exact(&mut received)?;
        if received[REQUEST_LINE.len()..].starts_with(b"traceparent") {
            received.extend(read(&mut server, INJECTED_LINE as usize)?);
        }
        if let Err(found) = compare(&sent, &received) {
            return Ok(Err(found));
        }
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        read(&mut client, 27)?;
    }
    Ok(Ok(()))
}

fn waiting() -> io::Result<Outcome> {
    let (mut client, mut server) = connection()?;
    client.write_all(&request(0))?;
    server.write_all(&vec![b'a'; WAITING])?;
    client.peek(&mut [0; 1])?;
    let told = rustix::io::ioctl_fionread(&client)?;
    let first = client.read(&mut vec![0; WAITING / 2])?;
    let left = rustix::io::ioctl_fionread(&client)?;
    Ok(if told != WAITING as u64 {
        Err(format!("FIONREAD says {told} with {WAITING} bytes waiting"))
    } else if left != (WAITING - first) as u64 {
        Err(format!(
            "FIONREAD says {left} with {} bytes waiting",
            WAITING - first
        ))
    } else {
        Ok(())
    })
}

fn woken() -> io::Result<Outcome> {
    for edge in [EventFlags::empty(), EventFlags::ET] {
        let (mut client, mut server) = connection()?;
        client.set_nonblocking(true)?;
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let wanted = EventFlags::IN | EventFlags::RDHUP | edge;
        epoll::add(&set, &client, EventData::new_u64(0), wanted)?;
        client.write_all(&request(0))?;
        for round in 0..3 {
            let late = {
                let mut server = server.try_clone()?;
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(5));
                    server.write_all(&[b'a'; WAITING])
                })
            };
            let events = wait(&set)?;
            late.join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
            if !events.contains(EventFlags::IN) {
                return Ok(Err(format!("epoll does not tell of bytes (round {round})")));
            }
            let mut left = WAITING;
            while left > 0 {
                match client.read(&mut [0; 700]) {
                    Ok(0) => return Ok(Err("a receive ends too early".to_owned())),
                    Ok(count) => left -= count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        wait(&set)?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        server.shutdown(Shutdown::Both)?;
        server.flush()?;
        if !wait(&set)?.contains(EventFlags::RDHUP) {
            return Ok(Err("epoll does not tell of the other side's end".to_owned()));
        }
    }
    Ok(Ok(()))
}

/// The next events; an error when none comes.
fn wait(set: impl AsFd) -> io::Result<EventFlags> {
    let mut events = Vec::with_capacity(1);
    let patience = rustix::time::Timespec {
        tv_sec: LONGEST_WAIT.as_secs() as i64,
        tv_nsec: 0,
    };
    epoll::wait(
        set,
        rustix::buffer::spare_capacity(&mut events),
        Some(&patience),
    )?;
    let event: Option<&epoll::Event> = events.first();
    event.map(|event| event.flags).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            "no event, though the socket can be read",
        )
    })
}

fn large() -> io::Result<Outcome> {
    let (mut client, server) = connection()?;
    let sent = request(LARGE);
    let expected = sent.len() + INJECTED_LINE as usize;
    let back = pattern(LARGE);
    let answering = {
        let mut server = server.try_clone()?;
        let answer = back.clone();
        thread::spawn(move || -> io::Result<Vec<u8>> {
            let received = read(&mut server, expected)?;
            server.write_all(&answer)?;
            Ok(received)
        })
    };
    client.write_all(&sent)?;
    let answer = read(&mut client, LARGE);
    let received = answering
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))??;
    if let Err(found) = compare(&sent, &received) {
        return Ok(Err(found));
    }
    Ok(if answer? == back {
        Ok(())
    } else {
        Err("a large answer arrived altered".to_owned())
    })
}

/// A blocking receive waits on, whatever else wakes the thread: here, that the send buffer gets room. (`tcp_bpf_recvmsg`
/// waits once and then says EAGAIN, to a signal too.)
fn undisturbed() -> io::Result<Outcome> {
    const ANSWER: &[u8] = b"an answer";
    let (mut client, mut server) = connection()?;
    let message = request(LARGE);
    client.set_nonblocking(true)?;
    let mut sent = 0;
    loop {
        // More than the buffers hold, so that the kernel remembers that somebody waits for room.
        match client.write(message.get(sent..).unwrap_or(&message)) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    client.set_nonblocking(false)?;
    let answering = thread::spawn(move || -> io::Result<()> {
        thread::sleep(Duration::from_millis(50));
        read(&mut server, sent + INJECTED_LINE as usize)?;
        thread::sleep(Duration::from_millis(50));
        server.write_all(ANSWER)
    });
    let received = client.read(&mut [0; ANSWER.len()]);
    answering
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))??;
    Ok(match received {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err("a blocking receive ends with EAGAIN before anything came".to_owned())
        }
        other => other.map(|_| Ok(()))?,
    })
}

fn spliced() -> io::Result<Outcome> {
    const BYTES: usize = 48 << 10;
    let (mut client, mut server) = connection()?;
    let (out, into) = pipe()?;
    let head = format!("{REQUEST_LINE}Host: localhost\r\nContent-Length: {BYTES}\r\n\r\n");
    client.write_all(head.as_bytes())?;
    let body = pattern(BYTES);
    io::Write::write_all(&mut std::fs::File::from(into.try_clone()?), &body)?;
    let mut moved = 0;
    while moved < BYTES {
        moved += splice(
            &out,
            None,
            &client,
            None,
            BYTES - moved,
            SpliceFlags::empty(),
        )?;
    }
    let mut sent = head.into_bytes();
    sent.extend(&body);
    let received = read(&mut server, sent.len() + INJECTED_LINE as usize)?;
    if let Err(found) = compare(&sent, &received) {
        return Ok(Err(found));
    }
    server.write_all(&body)?;
    let mut moved = 0;
    while moved < BYTES {
        match splice(
            &client,
            None,
            &into,
            None,
            BYTES - moved,
            SpliceFlags::empty(),
        )? {
            0 => return Ok(Err("splice from a socket ends too early".to_owned())),
            count => moved += count,
        }
    }
    let mut back = vec![0; BYTES];
    std::fs::File::from(out).read_exact(&mut back)?;
    Ok(if back == body {
        Ok(())
    } else {
        Err("spliced bytes arrived altered".to_owned())
    })
}

fn half_closed() -> io::Result<Outcome> {
    let (mut client, mut server) = connection()?;
    let sent = request(100);
    client.write_all(&sent)?;
    client.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    server.read_to_end(&mut received)?;
    if let Err(found) = compare(&sent, &received) {
        return Ok(Err(found));
    }
    server.write_all(b"an answer after the end")?;
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    // The descriptor lives until here.
    let _ = client.as_raw_fd();
    Ok(if answer == b"an answer after the end" {
        Ok(())
    } else {
        Err("an answer after a half-close did not arrive".to_owned())
    })
}
