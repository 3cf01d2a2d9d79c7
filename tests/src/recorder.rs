//! A server that keeps what it receives, byte for byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// From the request line to the empty line.
    pub head: Vec<u8>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Received {
    /// The trace and span ids of a `traceparent` line that stands directly behind the request line in the form in which
    /// observer writes it, and the head without it; none where there is no such line.
    pub fn injected(&self) -> Option<(String, String, Vec<u8>)> {
        let line = self.head.iter().position(|byte| *byte == b'\n')? + 1;
        let rest = &self.head[line..];
        let end = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let ids = std::str::from_utf8(&rest[..end])
            .ok()?
            .strip_prefix("traceparent: 00-")?
            .strip_suffix("-01\r\n")?;
        let (trace, span) = ids.split_once('-')?;
        (trace.len() == 32 && span.len() == 16).then(|| {
            let head = [&self.head[..line], &rest[end..]].concat();
            (trace.to_owned(), span.to_owned(), head)
        })
    }
}

/// Answers every request with `204 No Content`, in threads of the test's own process.
pub struct Recorder {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Recorder {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(connection, &kept));
            }
        });
        Self { port, received }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What came since the last time.
    ///
    /// # Panics
    /// When a thread that served panicked.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn serve(mut connection: TcpStream, kept: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    while let Some(received) = request(&mut reader) {
        kept.lock().unwrap().push(received);
        if connection
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .is_err()
        {
            return;
        }
    }
}

/// One request; none when the connection ends, or what comes is none.
fn request(reader: &mut impl BufRead) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let mut body = Vec::new();
    if field("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = field("content-length:") {
        body.resize(length.trim().parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    }
    Some(Received { head, body })
}
