//! Go's `crypto/tls`.

use super::{FoundBy, KeyPoint, Kind, Unknown};
use crate::elf::{Functions, Image};

/// Called for each secret, whether there is a `KeyLogWriter` or not (`src/crypto/tls/common.go` of Go 1.8 to 1.27).
const WRITE_KEY_LOG: &str = "crypto/tls.(*Config).writeKeyLog";

/// Whether a file is a Go program. Libraries of other languages may be linked in; what speaks TLS is Go's own.
pub(super) fn is_go(image: &Image<'_>) -> bool {
    let sections = Functions::SECTIONS.iter().chain(&[".go.buildinfo"]);
    sections
        .into_iter()
        .any(|name| image.section(name).is_some())
}

pub(super) fn point(image: &Image<'_>) -> Result<KeyPoint, Unknown> {
    let functions = Functions::read(image).ok_or(Unknown::GoTable)?;
    let found = functions.find(&[WRITE_KEY_LOG]);
    let address = found.get(WRITE_KEY_LOG).ok_or(Unknown::GoWithoutTls)?.start;
    let offset = image.code_offset(address).ok_or(Unknown::NoFunction)?;
    Ok(KeyPoint {
        kind: Kind::GoWriteKeyLog,
        offset,
        address,
        found_by: FoundBy::FunctionTable,
    })
}
