//! Servers as children.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::until;

/// A running server with all its workers: they are a process group of their own, killed when this drops.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a program and returns when it accepts connections on a port of 127.0.0.1.
    ///
    /// # Panics
    /// When it can't be started, ends, or does not listen in time. What it writes to stderr is shown by the runner.
    pub fn start(command: &mut Command, port: u16) -> Self {
        Self::start_when(command, port, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
    }

    /// Starts a program and returns when it is ready; the port is 0 for one that listens on none.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_when(command: &mut Command, port: u16, ready: impl Fn() -> bool) -> Self {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let mut server = Self { child, port };
        until(&format!("{command:?} listens"), || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("{command:?} ended with {status}");
            }
            ready().then_some(())
        });
        server
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that was started; its workers have other ids.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
