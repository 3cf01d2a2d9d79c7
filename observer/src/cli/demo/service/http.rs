//! HTTP/1.1 over blocking sockets: as much as the demo's services say to each other.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Longest head line and body that is read, bytes.
const MOST: u64 = 64 * 1024;
/// How long a client waits for an answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Response {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

/// What a service does with a request. One handler for each connection.
pub(super) trait Handler: Send + 'static {
    fn answer(&mut self, request: &Request) -> Response;
}

/// Accepts for ever, a thread for each connection.
pub(super) fn serve<H: Handler>(listener: &TcpListener, handler: impl Fn() -> H) {
    for stream in listener.incoming() {
        let handler = handler();
        let begun = stream.and_then(|stream| {
            thread::Builder::new().spawn(move || {
                // A connection that breaks concerns no other.
                let _ = connection(stream, handler);
            })
        });
        if begun.is_err() {
            // Out of file descriptors or threads: some will be free again.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn connection(stream: TcpStream, mut handler: impl Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some((first, body)) = read_message(&mut stream)? {
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(malformed());
        };
        drop(body);
        let response = handler.answer(&Request {
            method: method.into(),
            target: target.into(),
        });
        let (status, length) = (response.status, response.body.len());
        let reason = match status {
            200 => "OK",
            201 => "Created",
            404 => "Not Found",
            _ => "Error",
        };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream
            .get_mut()
            .write_all((head + &response.body).as_bytes())?;
    }
    Ok(())
}

/// First line and body of a message; `None` where the connection ended between two.
fn read_message(stream: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let Some(first) = read_line(stream)? else {
        return Ok(None);
    };
    let mut length = 0;
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value
                .trim()
                .parse()
                .ok()
                .filter(|length| *length <= MOST)
                .ok_or_else(malformed)?;
        }
    }
    let mut body = String::new();
    stream.take(length).read_to_string(&mut body)?;
    if body.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((first, body)))
}

fn read_line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    stream.take(MOST).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(Some(line.to_owned())),
        None if line.is_empty() => Ok(None),
        None => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not HTTP")
}

/// A client with one connection, kept alive.
pub(super) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) fn send(&mut self, method: &str, target: &str, body: &str) -> io::Result<Response> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LONGEST_SILENCE))?;
                BufReader::new(stream)
            }
        };
        let (host, length) = (self.address, body.len());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.get_mut().write_all((head + body).as_bytes())?;
        let (first, body) = read_message(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(malformed)?;
        self.connection = Some(stream);
        Ok(Response { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_by_one() {
        let mut wire: &[u8] =
            b"GET / HTTP/1.1\r\nA: b\r\ncontent-length: 2\r\n\r\nhiGET /x HTTP/1.1\r\n\r\n";
        assert_eq!(
            read_message(&mut wire).unwrap(),
            Some(("GET / HTTP/1.1".into(), "hi".into()))
        );
        assert_eq!(
            read_message(&mut wire).unwrap(),
            Some(("GET /x HTTP/1.1".into(), String::new()))
        );
        assert_eq!(read_message(&mut wire).unwrap(), None);
    }

    #[test]
    fn what_is_cut_or_too_large_is_an_error() {
        for wire in [
            "GET /",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhi",
            "A\r\nContent-Length: 99999999\r\n\r\n",
        ] {
            assert!(read_message(&mut wire.as_bytes()).is_err(), "{wire}");
        }
    }
}
