//! Keys of one direction: what opens its records, whole with their tag or in part without.
//!
//! Comes in: a secret, and records. Goes out: plaintext. Owns: the keys, which are wiped when they are dropped.

mod aead;
mod cbc;

use super::{
    hello::{ServerHello, Version},
    record::{ContentType, Record, Side},
    schedule::{KeyBlock, expand_label},
    secret::Secret,
    suite::{Protection, Suite},
};
use aead::Aead;
use cbc::Cbc;
use zeroize::Zeroizing;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// What it carries: in TLS 1.3 from inside; nothing where that was neither captured nor is a type of TLS.
    pub content_type: Option<ContentType>,
    /// The first bytes of the content.
    pub first: Vec<u8>,
    /// Where in the content `last` begins.
    pub last_at: usize,
    /// The last bytes of the content that were captured, behind `first`.
    pub last: Vec<u8>,
    /// Bytes of the content, at most: padding of unknown length is counted where `exact` is not set.
    pub length: usize,
    /// `length` is the content's length.
    pub exact: bool,
    /// The record was whole and its tag is right.
    pub proven: bool,
}

impl Plain {
    /// All of a record whose tag is right.
    fn whole(content_type: ContentType, content: Vec<u8>) -> Self {
        Self {
            content_type: Some(content_type),
            length: content.len(),
            last_at: content.len(),
            first: content,
            last: Vec::new(),
            exact: true,
            proven: true,
        }
    }

    /// TLS 1.3's content ends before its type, the last byte that is not zero (RFC 8446 section 5.4). Where that was not
    /// captured, neither type nor length are known.
    fn end_at_type(&mut self) {
        let ends_with_last = self.last_at + self.last.len() == self.length;
        let in_last = self.last.iter().rposition(|&byte| byte != 0);
        let end = if ends_with_last && let Some(end) = in_last {
            Some((self.last_at + end, self.last[end]))
        } else if self.first.len()
            >= if ends_with_last {
                self.last_at
            } else {
                self.length
            }
        {
            // All that is not captured twice is zeros.
            let until = self.first.len();
            let end = self.first[..until].iter().rposition(|&byte| byte != 0);
            Some(end.map_or((0, 0), |end| (end, self.first[end])))
        } else {
            None
        };
        match end {
            Some((end, content_type)) => {
                self.content_type = ContentType::of(content_type);
                self.length = end;
            }
            None => {
                self.content_type = None;
                self.exact = false;
                // The type is one byte, wherever it stands.
                self.length = self.length.saturating_sub(1);
            }
        }
    }

    /// Cuts both parts to the content, and `last` to what is behind `first`.
    fn without_overlap(&mut self) {
        self.first.truncate(self.length);
        let room = self.length.saturating_sub(self.last_at);
        self.last.truncate(room);
        let twice = self
            .first
            .len()
            .saturating_sub(self.last_at)
            .min(self.last.len());
        self.last.drain(..twice);
        self.last_at += twice;
        if self.last.is_empty() {
            self.last_at = self.length;
        }
    }
}

/// Both sides' randoms and what the server chose of TLS 1.2.
pub(crate) struct Agreed<'a> {
    pub(crate) suite: &'static Suite,
    pub(crate) client_random: &'a [u8; 32],
    pub(crate) server: &'a ServerHello,
}

/// The keys of one direction.
pub(crate) enum Key {
    Aead(Box<Aead>),
    Cbc(Box<Cbc>),
}

impl Key {
    /// TLS 1.3's keys of a traffic secret; nothing where the secret's length is not the suite's or the suite is none of TLS 1.3's.
    pub(crate) fn of_traffic_secret(suite: &'static Suite, secret: &Secret) -> Option<Self> {
        if !suite.is_of_13() || secret.bytes().len() != suite.hash.length() {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..aead::key_length(suite.protection)?];
        expand_label(suite.hash, secret.bytes(), "key", key);
        let mut iv = Zeroizing::new([0; 12]);
        expand_label(suite.hash, secret.bytes(), "iv", &mut iv[..]);
        let aead = Aead::new(suite.protection, key, iv, Version::TLS_13)?;
        Some(Self::Aead(Box::new(aead)))
    }

    /// TLS 1.2's keys of a master secret, for what `side` sends; nothing where the secret or the suite is none of TLS 1.2's.
    pub(crate) fn of_master_secret(
        agreed: &Agreed<'_>,
        master: &Secret,
        side: Side,
    ) -> Option<Self> {
        let suite = agreed.suite;
        if suite.is_of_13() || master.bytes().len() != 48 {
            return None;
        }
        let block = KeyBlock::new(
            suite.hash,
            master,
            agreed.client_random,
            &agreed.server.random,
        );
        let server = side == Side::Server;
        let (mac, size) = match suite.protection {
            Protection::Aes128Cbc(mac) => (mac, 16),
            Protection::Aes256Cbc(mac) => (mac, 32),
            protection => {
                let (key, at) = block.part(0, aead::key_length(protection)?, server);
                let fixed = aead::fixed_iv(protection);
                let mut iv = Zeroizing::new([0; 12]);
                iv[..fixed].copy_from_slice(block.part(at, fixed, server).0);
                let aead = Aead::new(protection, key, iv, Version::TLS_12)?;
                return Some(Self::Aead(Box::new(aead)));
            }
        };
        let (mac_key, at) = block.part(0, mac.length(), server);
        let (key, _) = block.part(at, size, server);
        let cbc = Cbc::new(mac, mac_key, key, agreed.server.encrypt_then_mac)?;
        Some(Self::Cbc(Box::new(cbc)))
    }

    /// Opens a whole record if it is the `number`th under this key; nothing where it is not, or is not whole.
    pub(crate) fn open(&self, number: u64, record: &Record<'_>) -> Option<Plain> {
        if !record.is_whole() {
            return None;
        }
        match self {
            Self::Aead(key) => key.open(number, record),
            Self::Cbc(key) => key.open(number, record),
        }
    }

    /// Whether it is worth [opening](Self::open), by a look that costs little.
    pub(crate) fn may_open(&self, number: u64, record: &Record<'_>) -> bool {
        match self {
            Self::Aead(key) => key.may_open(number, record),
            Self::Cbc(_) => true,
        }
    }

    /// Reads what was captured of the `number`th record, of which no tag proves that it is; nothing where the record is too
    /// short for its tag.
    pub(crate) fn part(&self, number: u64, record: &Record<'_>) -> Option<Plain> {
        match self {
            Self::Aead(key) => key.part(number, record),
            Self::Cbc(key) => key.part(record),
        }
    }
}
