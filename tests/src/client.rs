//! A small HTTP/1.1 client that hides nothing: what is written is what stands here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use crate::patience;

/// One response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, decoded where it was chunked.
    pub body: Vec<u8>,
    /// From before the request's first byte was written until the response's last byte was read.
    pub milliseconds: f64,
}

/// One connection that is kept alive.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a port on 127.0.0.1; reads give up when [`patience`] is over.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
    }

    /// Takes a connection to wherever; reads give up when [`patience`] is over.
    ///
    /// # Errors
    /// When it has ended.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience()))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The connection itself, to write anything to.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends a request without a body and reads the response.
    ///
    /// # Errors
    /// When the connection ends early or the response is no HTTP.
    pub fn request(&mut self, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.exchange(method, &[head.as_bytes()])
    }

    /// Sends a POST with a body, head and body in two writes.
    ///
    /// # Errors
    /// When the connection ends early or the response is no HTTP.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        self.exchange("POST", &[head.as_bytes(), body])
    }

    /// Writes the pieces, one call each, and reads one response.
    ///
    /// # Errors
    /// When the connection ends early or the response is no HTTP.
    pub fn exchange(&mut self, method: &str, pieces: &[&[u8]]) -> io::Result<Answer> {
        let began = Instant::now();
        for piece in pieces {
            self.stream.get_mut().write_all(piece)?;
        }
        let (status, body) = self.read_response(method)?;
        Ok(Answer {
            status,
            body,
            milliseconds: began.elapsed().as_secs_f64() * 1e3,
        })
    }

    /// Reads one response to a request with this method.
    ///
    /// # Errors
    /// When the connection ends early or the response is no HTTP.
    pub fn read_response(&mut self, method: &str) -> io::Result<(u16, Vec<u8>)> {
        let status = self.line()?;
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| broken(&status))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => length = value.trim().parse().ok(),
                Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Ok((status, body));
        }
        if chunked {
            while self.chunk(&mut body)? {}
        } else if let Some(length) = length {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        } else {
            self.stream.read_to_end(&mut body)?;
        }
        Ok((status, body))
    }

    /// Appends one chunk; false after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| broken(&line))?;
        if size == 0 {
            // Trailers, up to an empty line.
            while !self.line()?.is_empty() {}
            return Ok(false);
        }
        let start = body.len();
        body.resize(start + size, 0);
        self.stream.read_exact(&mut body[start..])?;
        self.line()?;
        Ok(true)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// When nobody listens, the connection ends early, or the response is no HTTP.
pub fn get(port: u16, path: &str) -> io::Result<Answer> {
    Client::connect(port)?.request("GET", path, "Connection: close\r\n")
}

fn broken(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {line:?}"))
}
