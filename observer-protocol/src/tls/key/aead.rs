//! AES-GCM, AES-CCM and ChaCha20-Poly1305 (RFC 8446 section 5.2; RFC 5288, 6655, 7905).
//!
//! A whole record is opened by the cipher with its tag. Any part of a record is read by the counter mode below it, which has
//! the same key.

use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{
    AesGcm,
    aead::{
        AeadInPlace, KeyInit,
        consts::{U8, U12, U16},
    },
};
use ccm::Ccm;
use chacha20::ChaCha20;
use chacha20poly1305::ChaCha20Poly1305;
use ctr::{
    Ctr32BE,
    cipher::{InnerIvInit as _, KeyIvInit as _, StreamCipher, StreamCipherSeek},
};
use zeroize::Zeroizing;

use super::Plain;
use crate::tls::{
    hello::Version,
    record::{ContentType, Record},
    suite::Protection,
};

/// The keys of one direction. AES' round keys are made anew for each record: kept, they would be a kilobyte a direction.
pub(crate) struct Aead {
    protection: Protection,
    key: Zeroizing<[u8; 32]>,
    /// TLS 1.3's and ChaCha20's vector; or a salt of four bytes.
    iv: Zeroizing<[u8; 12]>,
    version: Version,
    /// Bytes of the nonce that stand in front of each record: 8 or none.
    explicit: usize,
    /// Bytes of the tag.
    tag: usize,
}

/// Bytes of the key; nothing for CBC.
pub(super) const fn key_length(protection: Protection) -> Option<usize> {
    Some(match protection {
        Protection::Aes128Gcm | Protection::Aes128Ccm | Protection::Aes128Ccm8 => 16,
        Protection::Aes256Gcm | Protection::Aes256Ccm | Protection::Aes256Ccm8 => 32,
        Protection::ChaCha20Poly1305 => 32,
        Protection::Aes128Cbc(_) | Protection::Aes256Cbc(_) => return None,
    })
}

/// Bytes of the nonce that TLS 1.2 takes from the key block.
pub(super) const fn fixed_iv(protection: Protection) -> usize {
    match protection {
        Protection::ChaCha20Poly1305 => 12,
        _ => 4,
    }
}

impl Aead {
    /// Nothing where the key's length is not the cipher's.
    pub(super) fn new(
        protection: Protection,
        key: &[u8],
        iv: Zeroizing<[u8; 12]>,
        version: Version,
    ) -> Option<Self> {
        let mut kept = Zeroizing::new([0; 32]);
        if key.len() != key_length(protection)? {
            return None;
        }
        kept[..key.len()].copy_from_slice(key);
        let counted = version == Version::TLS_13 || protection == Protection::ChaCha20Poly1305;
        Some(Self {
            protection,
            key: kept,
            iv,
            version,
            explicit: if counted { 0 } else { 8 },
            tag: match protection {
                Protection::Aes128Ccm8 | Protection::Aes256Ccm8 => 8,
                _ => 16,
            },
        })
    }

    /// The nonce of a record, whose first bytes may hold a part of it.
    fn nonce(&self, number: u64, record: &Record<'_>) -> Option<[u8; 12]> {
        let mut nonce = *self.iv;
        if self.explicit == 0 {
            for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
                *byte ^= number;
            }
        } else {
            nonce[4..].copy_from_slice(record.first.get(..8)?);
        }
        Some(nonce)
    }

    /// Bytes that are encrypted; nothing where the record is too short.
    fn encrypted(&self, record: &Record<'_>) -> Option<usize> {
        record.length.checked_sub(self.explicit + self.tag)
    }

    pub(super) fn open(&self, number: u64, record: &Record<'_>) -> Option<Plain> {
        let length = self.encrypted(record)?;
        let nonce = self.nonce(number, record)?;
        let mut content = record.first[self.explicit..][..length].to_vec();
        let tag = &record.first[self.explicit + length..];
        let [high, low] = (record.length as u16).to_be_bytes();
        let header = [record.content_type.number(), 3, 3, high, low];
        let mut associated = [0; 13];
        let associated = if self.version == Version::TLS_13 {
            &header[..]
        } else {
            associated[..8].copy_from_slice(&number.to_be_bytes());
            associated[8] = record.content_type.number();
            associated[9..11].copy_from_slice(&record.version.to_be_bytes());
            associated[11..].copy_from_slice(&(length as u16).to_be_bytes());
            &associated[..]
        };
        macro_rules! with {
            ($cipher:expr) => {
                $cipher.decrypt_in_place_detached(
                    &nonce.into(),
                    associated,
                    &mut content,
                    tag.into(),
                )
            };
        }
        let (key, short) = (&*self.key, self.short());
        match self.protection {
            Protection::Aes128Gcm => with!(AesGcm::<_, U12>::from(Aes128Enc::new(short.into()))),
            Protection::Aes256Gcm => with!(AesGcm::<_, U12>::from(Aes256Enc::new(key.into()))),
            Protection::ChaCha20Poly1305 => with!(ChaCha20Poly1305::new(key.into())),
            Protection::Aes128Ccm => with!(Ccm::<Aes128Enc, U16, U12>::new(short.into())),
            Protection::Aes256Ccm => with!(Ccm::<Aes256Enc, U16, U12>::new(key.into())),
            Protection::Aes128Ccm8 => with!(Ccm::<Aes128Enc, U8, U12>::new(short.into())),
            Protection::Aes256Ccm8 => with!(Ccm::<Aes256Enc, U8, U12>::new(key.into())),
            Protection::Aes128Cbc(_) | Protection::Aes256Cbc(_) => return None,
        }
        .ok()?;
        let mut plain = Plain::whole(record.content_type, content);
        if self.version == Version::TLS_13 {
            let end = plain.first.iter().rposition(|&byte| byte != 0);
            plain.content_type = end.and_then(|end| ContentType::of(plain.first[end]));
            plain.length = end.unwrap_or(0);
            plain.last_at = plain.length;
            plain.first.truncate(plain.length);
        }
        Some(plain)
    }

    /// Whether the record may be the `number`th under this key, by one byte of it: most other keys make that one none that a record ends
    /// with. Ten times cheaper than [`open`](Self::open). Of older versions than TLS 1.3 nothing is known.
    pub(super) fn may_open(&self, number: u64, record: &Record<'_>) -> bool {
        if self.version != Version::TLS_13 {
            return true;
        }
        let Some(at) = self
            .encrypted(record)
            .and_then(|length| length.checked_sub(1))
        else {
            return false;
        };
        let (Some(nonce), Some(&byte)) = (self.nonce(number, record), record.first.get(at)) else {
            return true;
        };
        let mut last = [byte];
        self.apply(&nonce, at, &mut last);
        // The content's type, or padding.
        last[0] == 0 || ContentType::of(last[0]).is_some()
    }

    pub(super) fn part(&self, number: u64, record: &Record<'_>) -> Option<Plain> {
        let encrypted = self.encrypted(record)?;
        let Some(nonce) = self.nonce(number, record) else {
            // Nothing can be read without it, and the length is known.
            return Some(Plain {
                content_type: Some(record.content_type),
                length: encrypted,
                first: Vec::new(),
                last_at: encrypted,
                last: Vec::new(),
                exact: true,
                proven: false,
            });
        };
        let first = record.first.get(self.explicit..).unwrap_or_default();
        let mut first = first[..first.len().min(encrypted)].to_vec();
        self.apply(&nonce, 0, &mut first);
        // Of the last bytes, those that are encrypted.
        let from = record.length - record.last.len();
        let before = self.explicit.saturating_sub(from);
        let last_at = from.saturating_sub(self.explicit).min(encrypted);
        let last = record.last.get(before..).unwrap_or_default();
        let mut last = last[..last.len().min(encrypted - last_at)].to_vec();
        self.apply(&nonce, last_at, &mut last);
        let mut plain = Plain {
            content_type: Some(record.content_type),
            length: encrypted,
            first,
            last_at,
            last,
            exact: true,
            proven: false,
        };
        if self.version == Version::TLS_13 {
            plain.end_at_type();
        }
        plain.without_overlap();
        Some(plain)
    }

    /// AES-128's key.
    fn short(&self) -> &[u8; 16] {
        &self.key.as_chunks().0[0]
    }

    /// Counter mode over bytes that stand at `at` in what is encrypted.
    fn apply(&self, nonce: &[u8; 12], at: usize, bytes: &mut [u8]) {
        // Records are shorter than any counter.
        let at = at as u64;
        macro_rules! with {
            ($aes:expr, $block:expr) => {
                from(
                    Ctr32BE::from_core(ctr::CtrCore::inner_iv_init($aes, &$block.into())),
                    at,
                    bytes,
                )
            };
        }
        // GCM's counter is 2 at the first block (NIST SP 800-38D), CCM's is 1, in the last three bytes (RFC 3610).
        let mut gcm = [0; 16];
        gcm[..12].copy_from_slice(nonce);
        gcm[15] = 2;
        let mut ccm = [0; 16];
        ccm[0] = 2;
        ccm[1..13].copy_from_slice(nonce);
        ccm[15] = 1;
        let (key, short) = (&*self.key, self.short());
        match self.protection {
            Protection::Aes128Gcm => with!(Aes128Enc::new(short.into()), gcm),
            Protection::Aes256Gcm => with!(Aes256Enc::new(key.into()), gcm),
            Protection::Aes128Ccm | Protection::Aes128Ccm8 => {
                with!(Aes128Enc::new(short.into()), ccm)
            }
            Protection::Aes256Ccm | Protection::Aes256Ccm8 => {
                with!(Aes256Enc::new(key.into()), ccm)
            }
            // Its first block makes the tag's key.
            Protection::ChaCha20Poly1305 => {
                from(ChaCha20::new(key.into(), nonce.into()), at + 64, bytes)
            }
            Protection::Aes128Cbc(_) | Protection::Aes256Cbc(_) => {}
        }
    }
}

/// A key stream from `at` on.
fn from<C: StreamCipher + StreamCipherSeek>(mut cipher: C, at: u64, bytes: &mut [u8]) {
    // No record reaches the end of a key stream.
    if cipher.try_seek(at).is_ok() {
        cipher.apply_keystream(bytes);
    }
}
