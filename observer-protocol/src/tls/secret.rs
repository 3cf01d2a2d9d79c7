//! Secrets as libraries tell them: wiped when they are dropped, never printed.

use zeroize::Zeroizing;

/// The longest secret: TLS 1.2's master secret, and SHA-384's traffic secrets.
const LONGEST: usize = 48;

/// How far the stack is wiped, bytes: deeper than what derives keys goes.
const BELOW: usize = 64 * 1024;

/// A traffic secret of TLS 1.3 (32 or 48 bytes) or a master secret of TLS 1.2 (48). It is wiped when it is dropped; it can be
/// neither cloned nor printed. Its bytes stay where they are when it is moved, so that no copy is left behind.
pub struct Secret {
    bytes: Box<Zeroizing<[u8; LONGEST]>>,
    length: usize,
}

impl Secret {
    /// A copy of `bytes`; nothing where they are not 32 or 48. The caller wipes what it copied from.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if !matches!(bytes.len(), 32 | 48) {
            return None;
        }
        let mut secret = Self {
            bytes: Box::new(Zeroizing::new([0; LONGEST])),
            length: bytes.len(),
        };
        secret.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(secret)
    }

    /// The secret itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Another copy, for another connection or direction.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = Self {
            bytes: Box::new(Zeroizing::new([0; LONGEST])),
            length: self.length,
        };
        copy.bytes.copy_from_slice(self.bytes.as_slice());
        copy
    }

    /// Both are the same. Not in constant time: both were told by the same host's libraries.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

/// Wipes what calls that have returned left on this thread's stack, below the caller: code that derives keys moves secrets
/// about, and where a value was moved from keeps it. To be called now and then by a thread that has secrets.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = Zeroizing::new([0_u8; BELOW]);
    std::hint::black_box(&mut *below);
}

/// What a library said a secret is for: the labels of the NSS key log format (SSLKEYLOGFILE; RFC 9850).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `CLIENT_RANDOM`: TLS 1.2's master secret.
    Master,
    /// `CLIENT_EARLY_TRAFFIC_SECRET`: 0-RTT.
    ClientEarly,
    /// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`.
    ClientHandshake,
    /// `SERVER_HANDSHAKE_TRAFFIC_SECRET`.
    ServerHandshake,
    /// `CLIENT_TRAFFIC_SECRET_N`, any N.
    ClientTraffic,
    /// `SERVER_TRAFFIC_SECRET_N`, any N.
    ServerTraffic,
}

impl Label {
    /// Reads a label of the key log; nothing for those that open no record (exporter secrets).
    pub fn read(label: &[u8]) -> Option<Self> {
        Some(match label {
            b"CLIENT_RANDOM" => Self::Master,
            b"CLIENT_EARLY_TRAFFIC_SECRET" => Self::ClientEarly,
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Self::ClientHandshake,
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Self::ServerHandshake,
            _ => {
                let (traffic, number) = label
                    .strip_prefix(b"CLIENT_TRAFFIC_SECRET_")
                    .map(|number| (Self::ClientTraffic, number))
                    .or_else(|| {
                        label
                            .strip_prefix(b"SERVER_TRAFFIC_SECRET_")
                            .map(|number| (Self::ServerTraffic, number))
                    })?;
                // OpenSSL writes the letter N for generations after the first.
                let counted = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
                return (counted || number == b"N").then_some(traffic);
            }
        })
    }
}
