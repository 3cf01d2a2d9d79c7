//! How far a connection's handshake is, and what it agrees on.

use std::sync::Arc;

use observer_protocol::tls::{Alert, Connection, Event, Side};

use crate::{exchange::Call, protocol::tls::Tls};

/// A handshake that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    /// The call that moved the first byte of the client's hello.
    pub(crate) begun: Call,
    /// When the later of both sides was done, or the alert moved; `None` where the connection ended before.
    pub(crate) ended_ns: Option<u64>,
    /// The alert that ended it.
    pub(crate) alert: Option<Alert>,
}

/// A handshake, from its first hello on.
#[derive(Default)]
pub(super) struct Progress {
    begun: Option<Call>,
    finished: [Option<u64>; 2],
    over: bool,
    server_name: Option<Arc<str>>,
    protocol: Option<Vec<u8>>,
    not_after: Option<u64>,
    facts: Option<Arc<Tls>>,
}

impl Progress {
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.protocol.as_deref()
    }

    /// Takes what the connection says of its handshake; that it is over, with the last of that.
    pub(super) fn event(&mut self, event: &Event, begun: Call, ended: Call) -> Option<Handshake> {
        match event {
            Event::ClientHello(hello) => {
                self.begun.get_or_insert(begun);
                if let Some(name) = &hello.server_name {
                    self.server_name = Some(name.as_str().into());
                }
            }
            Event::ServerHello(hello) => self.protocol.clone_from(&hello.protocol),
            Event::EncryptedExtensions { protocol, .. } => self.protocol.clone_from(protocol),
            Event::Certificate {
                from: Side::Server,
                not_after,
            } => self.not_after = *not_after,
            Event::Finished { from } => {
                self.finished[*from as usize].get_or_insert(ended.time_ns);
                let [Some(client), Some(server)] = self.finished else {
                    return None;
                };
                if std::mem::replace(&mut self.over, true) {
                    return None;
                }
                return Some(Handshake {
                    begun: self.begun?,
                    ended_ns: Some(client.max(server)),
                    alert: None,
                });
            }
            _ => {}
        }
        None
    }

    /// Nobody can tell any more when and how it ended.
    pub(super) const fn give_up(&mut self) {
        self.over = true;
    }

    /// An alert ended it.
    pub(super) const fn failed(&mut self, alert: Alert, time_ns: u64) -> Option<Handshake> {
        self.over = true;
        let Some(begun) = self.begun else {
            return None;
        };
        Some(Handshake {
            begun,
            ended_ns: Some(time_ns),
            alert: Some(alert),
        })
    }

    /// The connection ended; nothing where the handshake had.
    pub(super) fn cut_off(&mut self) -> Option<Handshake> {
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        Some(Handshake {
            begun: self.begun?,
            ended_ns: None,
            alert: None,
        })
    }

    /// What was agreed on, as far as it was seen. What comes after the handshake changes nothing of that.
    pub(super) fn facts(&mut self, connection: &Connection) -> Arc<Tls> {
        if let Some(facts) = self.facts.as_ref().filter(|_| self.over) {
            return Arc::clone(facts);
        }
        let protocol = self
            .protocol
            .as_deref()
            .and_then(|name| std::str::from_utf8(name).ok());
        let facts = Arc::new(Tls {
            version: connection.version().and_then(|version| version.name()),
            cipher: connection.suite().map(|suite| suite.name),
            protocol: protocol.map(Into::into),
            server_name: self.server_name.clone(),
            not_after: self.not_after,
            alert: None,
        });
        self.facts = Some(Arc::clone(&facts));
        facts
    }
}
