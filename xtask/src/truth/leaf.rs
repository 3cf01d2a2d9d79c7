//! The last service of every chain: it answers after the time that the path asks for, and calls nobody.
//!
//! A process of its own (`cargo xtask truth-leaf`), since observer must see it as it sees any service.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::path;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The port on 127.0.0.1
    port: u16,
}

/// Answers until it is killed, a thread a connection.
///
/// # Errors
/// When it can't listen.
pub(crate) fn run(options: &Options) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .with_context(|| format!("listening on port {}", options.port))?;
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answers requests without a body until the other end closes or asks to close.
fn serve(stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        let mut close = false;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            close |= line.trim_end().eq_ignore_ascii_case("connection: close");
        }
        std::thread::sleep(Duration::from_millis(path::delay(&path)));
        let connection = if close { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{connection}\r\nok\n");
        writer.write_all(answer.as_bytes()).ok()?;
        if close {
            return None;
        }
    }
}
