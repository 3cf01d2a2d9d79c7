//! AES-CBC with a MAC inside (RFC 5246 section 6.2.3.2) or outside (RFC 7366).

use aes::{Aes128Dec, Aes256Dec};
use cbc::{
    Decryptor,
    cipher::{BlockDecryptMut as _, KeyIvInit as _},
};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use super::Plain;
use crate::tls::{record::Record, suite::Mac};

const BLOCK: usize = 16;

/// The keys of one direction.
pub(crate) struct Cbc {
    key: Zeroizing<[u8; 32]>,
    /// Bytes of the key: 16 or 32.
    key_length: usize,
    mac: Mac,
    mac_key: Zeroizing<[u8; 48]>,
    encrypt_then_mac: bool,
}

impl Cbc {
    /// Nothing where a key's length is not the suite's.
    pub(super) fn new(
        mac: Mac,
        mac_key: &[u8],
        key: &[u8],
        encrypt_then_mac: bool,
    ) -> Option<Self> {
        let mut kept = Zeroizing::new([0; 48]);
        kept.get_mut(..mac.length())?
            .copy_from_slice(mac_key.get(..mac.length())?);
        let mut cipher_key = Zeroizing::new([0; 32]);
        if !matches!(key.len(), 16 | 32) {
            return None;
        }
        cipher_key[..key.len()].copy_from_slice(key);
        Some(Self {
            key: cipher_key,
            key_length: key.len(),
            mac,
            mac_key: kept,
            encrypt_then_mac,
        })
    }

    /// Bytes of the vector and of what is encrypted, without a MAC outside; nothing where the record cannot be one.
    fn encrypted(&self, record: &Record<'_>) -> Option<usize> {
        let outside = if self.encrypt_then_mac {
            self.mac.length()
        } else {
            0
        };
        let length = record.length.checked_sub(outside)?;
        (length >= 2 * BLOCK && length % BLOCK == 0).then_some(length)
    }

    /// The MAC over `content` is `code`.
    fn is_right(&self, number: u64, record: &Record<'_>, content: &[u8], code: &[u8]) -> bool {
        macro_rules! with {
            ($hash:ty) => {{
                let Ok(mut mac) =
                    <Hmac<$hash> as hmac::Mac>::new_from_slice(&self.mac_key[..self.mac.length()])
                else {
                    return false;
                };
                mac.update(&number.to_be_bytes());
                mac.update(&[record.content_type.number()]);
                mac.update(&record.version.to_be_bytes());
                mac.update(&(content.len() as u16).to_be_bytes());
                mac.update(content);
                mac.verify_slice(code).is_ok()
            }};
        }
        match self.mac {
            Mac::Sha1 => with!(Sha1),
            Mac::Sha256 => with!(Sha256),
            Mac::Sha384 => with!(Sha384),
        }
    }

    /// Decrypts whole blocks that follow the block `before`.
    fn decrypt(&self, before: &[u8; BLOCK], blocks: &mut [u8]) {
        macro_rules! with {
            ($aes:ty) => {{
                let key = &self.key[..self.key_length];
                let Ok(mut decryptor) = Decryptor::<$aes>::new_from_slices(key, before) else {
                    return;
                };
                for block in blocks.chunks_exact_mut(BLOCK) {
                    decryptor.decrypt_block_mut(block.into());
                }
            }};
        }
        match self.key_length {
            16 => with!(Aes128Dec),
            _ => with!(Aes256Dec),
        }
    }

    pub(super) fn open(&self, number: u64, record: &Record<'_>) -> Option<Plain> {
        let length = self.encrypted(record)?;
        let (encrypted, outside) = record.first.split_at_checked(length)?;
        if self.encrypt_then_mac && !self.is_right(number, record, encrypted, outside) {
            return None;
        }
        let (before, blocks) = encrypted.split_first_chunk::<BLOCK>()?;
        let mut content = blocks.to_vec();
        self.decrypt(before, &mut content);
        let padding = *content.last()?;
        let end = content.len().checked_sub(usize::from(padding) + 1)?;
        // Each byte of the padding says how many there are.
        if content[end..].iter().any(|&byte| byte != padding) {
            return None;
        }
        content.truncate(end);
        if !self.encrypt_then_mac {
            let end = end.checked_sub(self.mac.length())?;
            let (inside, code) = content.split_at(end);
            if !self.is_right(number, record, inside, code) {
                return None;
            }
            content.truncate(end);
        }
        Some(Plain::whole(record.content_type, content))
    }

    /// The first blocks, and the padding's length where the last two blocks are there. No last bytes are read: MAC and padding
    /// are most of them.
    pub(super) fn part(&self, record: &Record<'_>) -> Option<Plain> {
        let blocks = self.encrypted(record)? - BLOCK;
        let mut first = Vec::new();
        if let Some((before, rest)) = record.first.split_first_chunk::<BLOCK>() {
            let whole = rest.len().min(blocks) / BLOCK * BLOCK;
            first.extend_from_slice(&rest[..whole]);
            self.decrypt(before, &mut first);
        }
        let inside = if self.encrypt_then_mac {
            0
        } else {
            self.mac.length()
        };
        // One byte says how long the padding is; that much is always there.
        let mut length = blocks.checked_sub(inside + 1)?;
        let padding = if first.len() == blocks {
            first.last().copied()
        } else if !self.encrypt_then_mac
            && let Some((rest, last)) = record.last.split_last_chunk::<BLOCK>()
            && let Some((_, before)) = rest.split_last_chunk::<BLOCK>()
        {
            let mut last = *last;
            self.decrypt(before, &mut last);
            last.last().copied()
        } else {
            None
        };
        let exact = padding.is_some();
        if let Some(padding) = padding {
            length = length.checked_sub(usize::from(padding))?;
        } else {
            // What may be padding already is not said.
            first.truncate(length.saturating_sub(255));
        }
        first.truncate(length);
        Some(Plain {
            content_type: Some(record.content_type),
            length,
            last_at: length,
            first,
            last: Vec::new(),
            exact,
            proven: false,
        })
    }
}
