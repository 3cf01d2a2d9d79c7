//! The archive format of an initial RAM file system: `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

/// An archive that is being written. Archives may stand one after the other: the kernel unpacks them all.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// File types and permissions, as in `st_mode`.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    /// Adds a folder. Parents must come before what is in them.
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[], (0, 0));
    }

    /// Adds a file that everyone may execute.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, content, (0, 0));
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, target.as_bytes(), (0, 0));
    }

    /// Adds a character device (major, minor).
    pub(super) fn device(&mut self, path: &str, number: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE, &[], number);
    }

    /// The archive's bytes, with the entry that ends it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time of change: none, so that equal content gives equal bytes
            content.len() as u32,
            0, // the device that the file is on, major and minor
            0,
            device.0,
            device.1,
            path.len() as u32 + 1,
            0, // checksum
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Headers and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::Archive;

    #[test]
    fn cpio_lists_what_was_written() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/a", b"12345");
        archive.link("b", "bin/a");
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("!!! SKIPPED: cpio is not installed");
            return;
        };
        let mut stdin = cpio.stdin.take().unwrap();
        stdin.write_all(&archive.finish()).unwrap();
        drop(stdin);
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"bin\nbin/a\nb\n");
    }
}
