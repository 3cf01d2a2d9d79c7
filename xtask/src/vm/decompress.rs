//! Compressed kernels and modules, unpacked by the programs that everyone has.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What compressed bytes begin with, and the program that unpacks them from stdin to stdout.
const FORMATS: [(&[u8], &[&str]); 4] = [
    (b"\xfd7zXZ\0", &["xz", "-dc", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dcq"]),
    (b"\x1f\x8b", &["gzip", "-dc"]),
    (b"\x02\x21\x4c\x18", &["lz4", "-dc"]),
];

/// Unpacks bytes in any of the formats that kernels use; bytes after the packed ones are ignored.
///
/// # Errors
/// When the format is unknown, its program is missing, or it wrote nothing.
pub(super) fn decompress(packed: &[u8]) -> Result<Vec<u8>> {
    let Some((_, program)) = FORMATS.iter().find(|(magic, _)| packed.starts_with(magic)) else {
        bail!(
            "unknown compression: it begins with {:02x?}",
            &packed[..packed.len().min(6)]
        );
    };
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", program[0]))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let output = std::thread::scope(|scope| {
        // It may end before it has read what follows the packed bytes.
        scope.spawn(move || drop(stdin.write_all(packed)));
        child.wait_with_output()
    })?;
    // Its status is no success where bytes follow, as they do in a kernel image.
    if output.stdout.is_empty() {
        bail!("{} unpacked nothing: {}", program[0], output.status);
    }
    Ok(output.stdout)
}
