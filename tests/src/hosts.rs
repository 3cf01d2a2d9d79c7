//! Two hosts: network namespaces that a cable joins.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Environment, Server};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Its address is [`Host::address`].
    Client,
    /// As above.
    Server,
}

impl Host {
    /// Its IPv4 address.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Client => Ipv4Addr::new(10, 77, 0, 1),
            Self::Server => Ipv4Addr::new(10, 77, 0, 2),
        }
    }

    /// Its IPv6 address.
    pub const fn address_6(self) -> Ipv6Addr {
        match self {
            Self::Client => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
            Self::Server => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2),
        }
    }
}

/// The pair; both namespaces are removed when it drops.
pub struct Hosts {
    name: String,
}

impl Hosts {
    /// Makes them, with addresses in 10.77.0.0/24 and fd77::/64, and one neighbour of the client that never answers.
    ///
    /// # Panics
    /// When iproute2 is missing or the kernel refuses.
    #[allow(clippy::new_without_default, reason = "making hosts is no default")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let hosts = Self {
            name: format!("observer-{}-{number}", std::process::id()),
        };
        let (client, server) = (hosts.name(Host::Client), hosts.name(Host::Server));
        ip(&format!("netns add {client}"));
        ip(&format!("netns add {server}"));
        ip(&format!(
            "link add cable netns {client} type veth peer name cable netns {server}"
        ));
        for host in [Host::Client, Host::Server] {
            let name = hosts.name(host);
            let (address, address_6) = (host.address(), host.address_6());
            ip(&format!("-n {name} addr add {address}/24 dev cable"));
            ip(&format!(
                "-n {name} addr add {address_6}/64 dev cable nodad"
            ));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set cable up"));
        }
        let silent = Self::SILENT;
        ip(&format!(
            "-n {client} neigh add {silent} lladdr 02:00:00:00:00:09 dev cable"
        ));
        hosts
    }

    /// An address behind the cable whose host takes packets and never answers.
    pub const SILENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

    fn name(&self, host: Host) -> String {
        let end = match host {
            Host::Client => "c",
            Host::Server => "s",
        };
        format!("{}{end}", self.name)
    }

    /// A command that runs a program there, under the id of the process that is started.
    pub fn command(&self, host: Host, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host), program]);
        command
    }

    /// Runs something on a thread there.
    ///
    /// # Panics
    /// When it does.
    pub fn run<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        let place = File::open(format!("/run/netns/{}", self.name(host))).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(place.as_fd(), network).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Python's standard library on the server, a thread a connection, on every address.
    pub fn stdlib(&self) -> Server {
        let port = 8080;
        let mut command = self.command(Host::Server, "python3");
        command
            .arg(Environment::programs().join("stdlib_server.py"))
            .args([&port.to_string(), "ipv6"]);
        let address = IpAddr::from(Host::Server.address());
        let ready = || self.run(Host::Server, || TcpStream::connect((address, port)).is_ok());
        Server::start_when(&mut command, port, ready)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [Host::Client, Host::Server] {
            let name = self.name(host);
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
