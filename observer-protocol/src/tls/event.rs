//! What a connection says about itself.

use super::{
    alert::Alert,
    hello::{ClientHello, ServerHello},
    key::Plain,
    record::Side,
};

/// What was understood of a record, in the order of its direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the client offers. A second one follows a [retry](ServerHello::retry), or a renegotiation (TLS 1.2).
    ClientHello(Box<ClientHello>),
    /// What the server chose.
    ServerHello(Box<ServerHello>),
    /// TLS 1.3: the application protocol that the server chose, and whether it takes early data.
    EncryptedExtensions {
        /// ALPN's name.
        protocol: Option<Vec<u8>>,
        /// Data that came before the handshake's end is taken.
        early_data: bool,
    },
    /// A side showed a certificate.
    Certificate {
        /// Whose it is.
        from: Side,
        /// When it ends, in seconds since 1970, as far as that was captured.
        not_after: Option<u64>,
    },
    /// The server gave a ticket for a resumption.
    Ticket,
    /// A side is done with its handshake.
    Finished {
        /// Which.
        from: Side,
    },
    /// A side changed its key (TLS 1.3).
    KeyUpdate {
        /// Which.
        from: Side,
    },
    /// A handshake began inside the connection (TLS 1.2).
    Renegotiation,
    /// A secret was proven to be a side's: it opened a record, tag and all.
    Bound {
        /// Whose key it is.
        from: Side,
    },
    /// Records were lost, and the next one's number was found by its tag.
    Found {
        /// Whose.
        from: Side,
        /// How many records before it were not seen.
        lost: u64,
    },
    /// What the application says.
    Data {
        /// Who.
        from: Side,
        /// Where in all that the application says the content begins. Behind a loss it is too high: what was lost is counted
        /// with what surrounds it.
        position: u64,
        /// Position of the record's header in the stream of its direction.
        at: u64,
        /// Sent before the handshake's end (0-RTT): it may be a replay.
        early: bool,
        /// The content.
        plain: Plain,
    },
    /// A record stays closed. (Said by a [`Reading`](super::Reading).)
    Unopened {
        /// Whose.
        from: Side,
        /// Position of the record's header in the stream of its direction.
        at: u64,
        /// Bytes behind the header.
        length: usize,
        /// Why.
        reason: Reason,
    },
    /// A side warns or ends the connection.
    Alert {
        /// Who.
        from: Side,
        /// What it says.
        alert: Alert,
        /// The connection failed.
        fatal: bool,
    },
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was understood.
    Taken,
    /// No secret opens it yet, or it is not whole and nothing proves its key or number. The caller keeps it and what follows in
    /// its direction, and offers it again when the other side said something or a secret was told; or gives it up with
    /// [`pass`](super::Connection::pass). A [`Reading`](super::Reading) does.
    Waits,
    /// It stays closed, and was counted.
    Unopened(Reason),
}

/// Why a record stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The hellos were not seen.
    NoHandshake,
    /// The suite of that number is not read here.
    Suite(u16),
    /// The version is not read here.
    Version(u16),
    /// No secret opened it.
    NoKey,
    /// It is not whole, and nothing proves its key or its number.
    Unproven,
    /// Its number was not found after a loss.
    Lost,
    /// TLS 1.3: what it carries was not captured.
    ContentType,
    /// It is none that its sender could have made.
    Malformed,
}
