//! The kernel itself, out of the compressed image that a distribution ships. Starting it directly saves the emulated
//! machine from unpacking it.

use anyhow::{Context, Result, bail};

use super::decompress::decompress;

/// Where the setup header (Documentation/arch/x86/boot.rst) keeps what we need.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

/// The ELF file inside a `bzImage`.
///
/// # Errors
/// When the image is none, or its compression is unknown.
pub(super) fn extract(image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image).context("not a bzImage: its header points outside the file")?;
    let kernel = decompress(payload)?;
    if !kernel.starts_with(b"\x7fELF") {
        bail!("the image holds no ELF file");
    }
    Ok(kernel)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let sectors = match *image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * SECTOR + number(PAYLOAD_OFFSET)?;
    image.get(start..start.checked_add(number(PAYLOAD_LENGTH)?)?)
}

#[cfg(test)]
mod tests {
    use super::extract;

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(extract(b"").is_err());
        assert!(extract(&[0xff; 4096]).is_err());
    }
}
