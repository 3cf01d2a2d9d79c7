//! What one side sends: its key, and how many records it sent under it.

use super::{
    key::{Key, Plain},
    messages::Messages,
    record::Record,
    secret::Secret,
};

/// The shortest record that is encrypted: header, a byte, a tag of eight bytes.
const SHORTEST: u64 = 14;

/// How many numbers are tried on one record.
const SEARCH: u64 = 2048;

/// How many whole records may be searched for in vain before the direction is given up.
const SEARCHES: u32 = 8;

/// How far a side's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is encrypted.
    Clear,
    /// TLS 1.3's client: data before the handshake's end, or the handshake's keys already.
    Early,
    /// TLS 1.3: the handshake's keys.
    Handshake,
    /// TLS 1.3: the application's keys. TLS 1.2: encrypted.
    Application,
}

/// What one side sends.
pub(super) struct Direction {
    pub(super) stage: Stage,
    pub(super) key: Option<Key>,
    /// TLS 1.3: what `key` was made of, for the next generation.
    pub(super) secret: Option<Secret>,
    /// TLS 1.2: the key after the next change, since the other side's proved its secret.
    pub(super) prepared: Option<Key>,
    pub(super) messages: Messages,
    /// Number of the next record under `key`,
    pub(super) number: u64,
    /// if none was lost; at most so many were.
    pub(super) slack: u64,
    /// Records before this number are under `key` for certain, since that one was proven to be.
    pub(super) certain: u64,
    /// Which record was tried last, as at least which number, and with which secrets.
    pub(super) tried: (u64, u64, u64),
    /// Which record was last looked for under the present key in vain, and from which number on.
    pub(super) looked: Option<(u64, u64)>,
    /// Bytes that the application said.
    pub(super) position: u64,
    searches: u32,
}

impl Direction {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Clear,
            key: None,
            secret: None,
            prepared: None,
            messages: Messages::default(),
            number: 0,
            slack: 0,
            certain: 0,
            tried: (0, 0, 0),
            looked: None,
            position: 0,
            searches: 0,
        }
    }

    /// The next record has another key, which is not known.
    pub(super) fn next_key(&mut self, stage: Stage) {
        self.stage = stage;
        self.key = None;
        self.secret = None;
        self.messages = Messages::default();
        self.number = 0;
        self.slack = 0;
        self.certain = 0;
        self.tried = (0, 0, 0);
        self.looked = None;
    }

    /// A record that comes later is the `number`th under the present key, and `ahead` others stand before it that were not
    /// taken yet: these are under this key, too. Says how many were lost before these.
    pub(super) fn certain(&mut self, number: u64, ahead: u64, next: u64) -> u64 {
        let lost = number.saturating_sub(ahead).saturating_sub(next);
        if lost > 0 {
            self.messages.lose();
        }
        self.number = number.saturating_sub(ahead);
        self.slack = 0;
        self.certain = number;
        lost
    }

    /// A key that opened the record of that number.
    pub(super) fn proven(&mut self, key: Key, secret: Option<Secret>, number: u64) {
        if self.slack > 0 {
            self.messages = Messages::default();
            if number > 0 {
                self.messages.lose();
            }
        }
        self.key = Some(key);
        self.secret = secret;
        self.number = number + 1;
        self.slack = 0;
        self.searches = 0;
    }

    /// Records that were lost within so many bytes.
    pub(super) fn lost(&mut self, bytes: u64) {
        self.messages.lose();
        self.slack = self.slack.saturating_add(bytes / SHORTEST + 1);
        self.position = self.position.saturating_add(bytes);
    }

    /// A record that stays closed.
    pub(super) fn pass(&mut self, record: &Record<'_>) {
        self.messages.lose();
        self.slack = self.slack.saturating_add(1);
        self.position = self.position.saturating_add(record.length as u64);
    }

    /// Opens a whole record with the present key; says its content and how many were lost before it.
    pub(super) fn open(&mut self, record: &Record<'_>) -> Option<(Plain, u64)> {
        let from = self.number;
        let (plain, number) = self
            .key
            .as_ref()
            .and_then(|key| self.search(key, from, record))?;
        let lost = number - from;
        self.number = number.saturating_add(1);
        self.slack = 0;
        self.searches = 0;
        Some((plain, lost))
    }

    /// Looks for the record's number under a key, from `from` on, within what may have been lost.
    pub(super) fn search(&self, key: &Key, from: u64, record: &Record<'_>) -> Option<(Plain, u64)> {
        (from..=from.saturating_add(self.slack.min(SEARCH)))
            .find_map(|number| Some((key.open(number, record)?, number)))
    }

    /// The same with a key that is one of many: most are none that fits.
    pub(super) fn try_key(
        &self,
        key: &Key,
        from: u64,
        record: &Record<'_>,
    ) -> Option<(Plain, u64)> {
        (from..=from.saturating_add(self.slack.min(SEARCH)))
            .filter(|number| key.may_open(*number, record))
            .find_map(|number| Some((key.open(number, record)?, number)))
    }

    /// A whole record was searched for in vain; says whether others are worth it.
    pub(super) fn searched_in_vain(&mut self) {
        self.searches = self.searches.saturating_add(1);
    }

    /// Too much was lost: no record is searched for any more.
    pub(super) const fn is_given_up(&self) -> bool {
        self.searches >= SEARCHES
    }
}
