//! From a secret to keys: TLS 1.3's traffic keys (RFC 8446 section 7.3), TLS 1.2's key block (RFC 5246 section 6.3).

use hmac::{Hmac, Mac as _};
use sha2::{Sha256, Sha384};
use zeroize::{Zeroize as _, Zeroizing};

use super::{secret::Secret, suite::Hash};

/// The longest that is derived in one go: two MAC keys of SHA-384, two AES-256 keys, two vectors of sixteen bytes are 192.
const LONGEST: usize = 192;

/// HMAC of the parts put together, into `out` as many bytes as the hash has.
fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]], out: &mut [u8; 48]) {
    macro_rules! with {
        ($hash:ty) => {{
            // HMAC takes keys of any length.
            let Ok(mut mac) = Hmac::<$hash>::new_from_slice(key) else {
                return;
            };
            parts.iter().for_each(|part| mac.update(part));
            let mut code = mac.finalize().into_bytes();
            out[..code.len()].copy_from_slice(&code);
            code.as_mut_slice().zeroize();
        }};
    }
    match hash {
        Hash::Sha256 => with!(Sha256),
        Hash::Sha384 => with!(Sha384),
    }
}

/// HKDF-Expand-Label without a context (RFC 8446 section 7.1, RFC 5869 section 2.3).
pub(crate) fn expand_label(hash: Hash, secret: &[u8], label: &str, out: &mut [u8]) {
    let length = (out.len() as u16).to_be_bytes();
    let name = [b"tls13 ", label.as_bytes()].concat();
    let size = hash.length();
    let mut block = Zeroizing::new([0; 48]);
    for (index, chunk) in out.chunks_mut(size).enumerate() {
        let before = Zeroizing::new(*block);
        let before = if index == 0 { &[][..] } else { &before[..size] };
        let parts = [
            before,
            &length,
            &[name.len() as u8],
            &name,
            &[0],
            &[index as u8 + 1],
        ];
        hmac(hash, secret, &parts, &mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

/// The secret of the next generation, which a KeyUpdate begins (RFC 8446 section 7.2); nothing for a secret that is none of
/// this hash.
pub(crate) fn next_generation(hash: Hash, secret: &Secret) -> Option<Secret> {
    let mut next = Zeroizing::new([0; 48]);
    let next = &mut next[..hash.length()];
    expand_label(hash, secret.bytes(), "traffic upd", next);
    Secret::new(next)
}

/// TLS 1.2's key block: `PRF(master, "key expansion", server random + client random)`.
pub(crate) struct KeyBlock(Zeroizing<[u8; LONGEST]>);

impl KeyBlock {
    pub(crate) fn new(hash: Hash, master: &Secret, client: &[u8; 32], server: &[u8; 32]) -> Self {
        let mut block = Zeroizing::new([0; LONGEST]);
        let label: &[u8] = b"key expansion";
        let (key, size) = (master.bytes(), hash.length());
        let mut a = Zeroizing::new([0; 48]);
        hmac(hash, key, &[label, server, client], &mut a);
        for chunk in block.chunks_mut(size) {
            let mut code = Zeroizing::new([0; 48]);
            hmac(hash, key, &[&a[..size], label, server, client], &mut code);
            chunk.copy_from_slice(&code[..chunk.len()]);
            let before = Zeroizing::new(*a);
            hmac(hash, key, &[&before[..size]], &mut a);
        }
        Self(block)
    }

    /// The two parts of `size` bytes that begin at `at`, of which `second` is the server's; and where they end.
    pub(crate) fn part(&self, at: usize, size: usize, second: bool) -> (&[u8], usize) {
        let from = at + if second { size } else { 0 };
        (&self.0[from..from + size], at + 2 * size)
    }
}
