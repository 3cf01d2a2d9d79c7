//! Addresses and authorities, as the general conventions write them.

use std::{net::IpAddr, sync::Arc};

use super::super::attributes::Attributes;
use crate::{
    identity::{Address, Role},
    process::Text,
    protocol::exchange::Common,
};

/// Host and port of a server, as a request names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Domain name or IP address, without the brackets of IPv6.
    pub host: &'a str,
    /// Port, where it was written.
    pub port: Option<u16>,
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`. `None` where it is none of these.
pub fn split_authority(written: &str) -> Option<Authority<'_>> {
    let (host, port) = if let Some(rest) = written.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match written.split_once(':') {
            Some((_, port)) if port.contains(':') => (written, None),
            Some((host, port)) => (host, Some(port)),
            None => (written, None),
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    let clean = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' | b',')
    };
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(clean))
        .then_some(Authority { host, port })
}

/// An address as the conventions write it: IP address or Unix path, and the port of the former.
pub fn socket(address: &Address) -> (Option<Text>, Option<u16>) {
    match address {
        Address::Inet(address) => (Some(ip(address.ip())), Some(address.port())),
        Address::Unix(path) => ((!path.is_empty()).then(|| Arc::clone(path).into()), None),
        Address::Unknown => (None, None),
    }
}

fn ip(address: IpAddr) -> Text {
    address.to_string().into()
}

/// The end of a connection that answers.
pub fn server_end(common: &Common) -> &Address {
    match common.role {
        Role::Client => &common.peer,
        Role::Server => &common.local,
    }
}

impl Attributes {
    /// The connection's other end: `network.peer.*`, and of a server's exchange `client.*`, too.
    pub fn peer(&mut self, common: &Common) {
        let (peer, port) = socket(&common.peer);
        if let Some(peer) = peer {
            if common.role == Role::Server {
                self.text("client.address", peer.clone());
                self.int("client.port", port);
            }
            self.text("network.peer.address", peer);
            self.int("network.peer.port", port);
        }
    }

    /// `network.transport` of a connection.
    pub fn transport(&mut self, common: &Common) {
        match common.local {
            Address::Inet(_) => self.text("network.transport", "tcp"),
            Address::Unix(_) => self.text("network.transport", "unix"),
            Address::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_or_refused() {
        let table = [
            ("h", Some(("h", None))),
            ("h:80", Some(("h", Some(80)))),
            ("h:", Some(("h", None))),
            ("[::1]:8080", Some(("::1", Some(8080)))),
            ("[::1]", Some(("::1", None))),
            ("::1", Some(("::1", None))),
            ("h:99999", None),
            ("h:x", None),
            ("a b", None),
            ("a/b", None),
            ("[::1", None),
            (":80", None),
        ];
        for (written, expected) in table {
            assert_eq!(
                split_authority(written).map(|a| (a.host, a.port)),
                expected,
                "{written}"
            );
        }
    }
}
