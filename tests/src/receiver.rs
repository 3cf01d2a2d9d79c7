//! A real OTLP receiver: the Python package oteltap.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver as Lines, channel},
};

use crate::{Environment, free_port, until};

/// A running oteltap; killed when dropped.
pub struct Receiver {
    child: Child,
    port: u16,
    lines: Lines<String>,
}

impl Receiver {
    /// Starts one on a port of its own; returns when it listens.
    pub fn start(environment: &Environment) -> Self {
        let port = free_port();
        let mut child = Command::new(environment.python("oteltap"))
            .arg(format!("--port={port}"))
            .stdout(Stdio::piped())
            .env("PYTHONUNBUFFERED", "1")
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
        });
        until("the OTLP receiver listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        Self { child, port, lines }
    }

    /// Where it takes OTLP/HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that it wrote since the last call, once that contains every one of these texts.
    ///
    /// # Panics
    /// When it does not within twenty seconds.
    pub fn received(&self, texts: &[&str]) -> String {
        let mut all = String::new();
        let what = format!("the OTLP receiver wrote {texts:?}");
        until(&what, || {
            for line in self.lines.try_iter() {
                all = std::mem::take(&mut all) + &line + "\n";
            }
            texts.iter().all(|text| all.contains(text)).then_some(())
        });
        all
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
