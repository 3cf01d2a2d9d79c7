//! Cipher suites: how records are protected, and with which hash their keys are derived.

/// How a suite protects records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Ccm,
    Aes256Ccm,
    /// CCM with a tag of eight bytes.
    Aes128Ccm8,
    Aes256Ccm8,
    Aes128Cbc(Mac),
    Aes256Cbc(Mac),
}

/// The hash of a CBC suite's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mac {
    Sha1,
    Sha256,
    Sha384,
}

impl Mac {
    /// Bytes of the MAC and of its key.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// The hash that keys are derived with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    /// Bytes of TLS 1.3's secrets.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// A cipher suite whose records can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its number in the registry.
    pub number: u16,
    /// Its name in the registry.
    pub name: &'static str,
    pub(crate) protection: Protection,
    pub(crate) hash: Hash,
}

impl Suite {
    /// The suite of that number; nothing for one that is not read here (RC4, 3DES, Camellia, ARIA, NULL).
    pub fn of(number: u16) -> Option<&'static Self> {
        SUITES
            .binary_search_by_key(&number, |suite| suite.number)
            .ok()
            .map(|at| &SUITES[at])
    }

    /// One of TLS 1.3's, which say nothing of the key exchange.
    pub(crate) const fn is_of_13(&self) -> bool {
        self.number >> 8 == 0x13
    }
}

macro_rules! suites {
    ($($number:literal $name:ident $protection:expr, $hash:ident;)*) => {
        /// By number. Source: the registry "TLS Cipher Suites" (RFC 5246, 5288, 5289, 5487, 5489, 6655, 7251, 7905, 8446, 8442).
        static SUITES: &[Suite] = &[$(Suite {
            number: $number,
            name: concat!("TLS_", stringify!($name)),
            protection: $protection,
            hash: Hash::$hash,
        },)*];
    };
}

use Mac::{Sha1, Sha256, Sha384};
use Protection::{
    Aes128Cbc, Aes128Ccm, Aes128Ccm8, Aes128Gcm, Aes256Cbc, Aes256Ccm, Aes256Ccm8, Aes256Gcm,
    ChaCha20Poly1305,
};

suites! {
    0x002f RSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0032 DHE_DSS_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0033 DHE_RSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0034 DH_anon_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0035 RSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x0038 DHE_DSS_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x0039 DHE_RSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x003a DH_anon_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x003c RSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x003d RSA_WITH_AES_256_CBC_SHA256 Aes256Cbc(Sha256), Sha256;
    0x0040 DHE_DSS_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x0067 DHE_RSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x006a DHE_DSS_WITH_AES_256_CBC_SHA256 Aes256Cbc(Sha256), Sha256;
    0x006b DHE_RSA_WITH_AES_256_CBC_SHA256 Aes256Cbc(Sha256), Sha256;
    0x006c DH_anon_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x006d DH_anon_WITH_AES_256_CBC_SHA256 Aes256Cbc(Sha256), Sha256;
    0x008c PSK_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x008d PSK_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x0090 DHE_PSK_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0091 DHE_PSK_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x0094 RSA_PSK_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0x0095 RSA_PSK_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0x009c RSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x009d RSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x009e DHE_RSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x009f DHE_RSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00a2 DHE_DSS_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x00a3 DHE_DSS_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00a6 DH_anon_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x00a7 DH_anon_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00a8 PSK_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x00a9 PSK_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00aa DHE_PSK_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x00ab DHE_PSK_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00ac RSA_PSK_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x00ad RSA_PSK_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x00ae PSK_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x00af PSK_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0x00b2 DHE_PSK_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x00b3 DHE_PSK_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0x00b6 RSA_PSK_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0x00b7 RSA_PSK_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0x1301 AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0x1302 AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0x1303 CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0x1304 AES_128_CCM_SHA256 Aes128Ccm, Sha256;
    0x1305 AES_128_CCM_8_SHA256 Aes128Ccm8, Sha256;
    0xc004 ECDH_ECDSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc005 ECDH_ECDSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc009 ECDHE_ECDSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc00a ECDHE_ECDSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc00e ECDH_RSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc00f ECDH_RSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc013 ECDHE_RSA_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc014 ECDHE_RSA_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc018 ECDH_anon_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc019 ECDH_anon_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc023 ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0xc024 ECDHE_ECDSA_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0xc025 ECDH_ECDSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0xc026 ECDH_ECDSA_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0xc027 ECDHE_RSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0xc028 ECDHE_RSA_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0xc029 ECDH_RSA_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0xc02a ECDH_RSA_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0xc02b ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0xc02c ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0xc02d ECDH_ECDSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0xc02e ECDH_ECDSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0xc02f ECDHE_RSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0xc030 ECDHE_RSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0xc031 ECDH_RSA_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0xc032 ECDH_RSA_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
    0xc035 ECDHE_PSK_WITH_AES_128_CBC_SHA Aes128Cbc(Sha1), Sha256;
    0xc036 ECDHE_PSK_WITH_AES_256_CBC_SHA Aes256Cbc(Sha1), Sha256;
    0xc037 ECDHE_PSK_WITH_AES_128_CBC_SHA256 Aes128Cbc(Sha256), Sha256;
    0xc038 ECDHE_PSK_WITH_AES_256_CBC_SHA384 Aes256Cbc(Sha384), Sha384;
    0xc09c RSA_WITH_AES_128_CCM Aes128Ccm, Sha256;
    0xc09d RSA_WITH_AES_256_CCM Aes256Ccm, Sha256;
    0xc09e DHE_RSA_WITH_AES_128_CCM Aes128Ccm, Sha256;
    0xc09f DHE_RSA_WITH_AES_256_CCM Aes256Ccm, Sha256;
    0xc0a0 RSA_WITH_AES_128_CCM_8 Aes128Ccm8, Sha256;
    0xc0a1 RSA_WITH_AES_256_CCM_8 Aes256Ccm8, Sha256;
    0xc0a2 DHE_RSA_WITH_AES_128_CCM_8 Aes128Ccm8, Sha256;
    0xc0a3 DHE_RSA_WITH_AES_256_CCM_8 Aes256Ccm8, Sha256;
    0xc0a4 PSK_WITH_AES_128_CCM Aes128Ccm, Sha256;
    0xc0a5 PSK_WITH_AES_256_CCM Aes256Ccm, Sha256;
    0xc0a6 DHE_PSK_WITH_AES_128_CCM Aes128Ccm, Sha256;
    0xc0a7 DHE_PSK_WITH_AES_256_CCM Aes256Ccm, Sha256;
    0xc0a8 PSK_WITH_AES_128_CCM_8 Aes128Ccm8, Sha256;
    0xc0a9 PSK_WITH_AES_256_CCM_8 Aes256Ccm8, Sha256;
    0xc0aa PSK_DHE_WITH_AES_128_CCM_8 Aes128Ccm8, Sha256;
    0xc0ab PSK_DHE_WITH_AES_256_CCM_8 Aes256Ccm8, Sha256;
    0xc0ac ECDHE_ECDSA_WITH_AES_128_CCM Aes128Ccm, Sha256;
    0xc0ad ECDHE_ECDSA_WITH_AES_256_CCM Aes256Ccm, Sha256;
    0xc0ae ECDHE_ECDSA_WITH_AES_128_CCM_8 Aes128Ccm8, Sha256;
    0xc0af ECDHE_ECDSA_WITH_AES_256_CCM_8 Aes256Ccm8, Sha256;
    0xcca8 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xcca9 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xccaa DHE_RSA_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xccab PSK_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xccac ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xccad DHE_PSK_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xccae RSA_PSK_WITH_CHACHA20_POLY1305_SHA256 ChaCha20Poly1305, Sha256;
    0xd001 ECDHE_PSK_WITH_AES_128_GCM_SHA256 Aes128Gcm, Sha256;
    0xd002 ECDHE_PSK_WITH_AES_256_GCM_SHA384 Aes256Gcm, Sha384;
}
