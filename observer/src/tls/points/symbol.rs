//! Where a library exports the function, or is not stripped.

use super::{FoundBy, KeyPoint, Kind, Unknown};
use crate::elf::Image;

/// OpenSSL's name. Clones that the compiler made (`ssl_log_secret.constprop.0`) may have other arguments.
const OPENSSL: &[u8] = b"ssl_log_secret";
/// BoringSSL's, mangled up to its arguments (`src/ssl/internal.h`).
const BORINGSSL: &[u8] = b"_ZN4bssl14ssl_log_secretE";

/// The function among the dynamic symbols. (The full table is tens of megabytes long in large programs, and the labels
/// lead to the same place.)
pub(super) fn exported(image: &Image<'_>) -> Result<Option<KeyPoint>, Unknown> {
    let mut addresses = Vec::new();
    image.each_exported_function(|name, address, _| {
        if name == OPENSSL || name.starts_with(BORINGSSL) {
            addresses.push(address);
        }
    });
    addresses.sort_unstable();
    addresses.dedup();
    match addresses[..] {
        [] => Ok(None),
        [address] => Ok(Some(KeyPoint {
            kind: Kind::LogSecret,
            offset: image.code_offset(address).ok_or(Unknown::NoFunction)?,
            address,
            found_by: FoundBy::Symbol,
        })),
        _ => Err(Unknown::Ambiguous(addresses.len())),
    }
}
