//! Which language and runtime a program is of: best effort, from its name and a few sections of its file.

use std::fs::File;

use super::naming::Runtime;
use crate::elf::Elf;

/// A program's language and runtime; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Language {
    /// `telemetry.sdk.language`.
    pub(super) language: Option<&'static str>,
    /// `process.runtime.name`.
    pub(super) runtime: Option<&'static str>,
    /// `process.runtime.version`.
    pub(super) version: Option<String>,
}

impl Language {
    /// From the executable's file name alone: `python3.11` tells all there is to know.
    pub(super) fn of_name(file: &str) -> Option<Self> {
        let (language, runtime) = match Runtime::of(file) {
            Some(Runtime::Python) if file.starts_with("pypy") => ("python", "pypy"),
            Some(Runtime::Python) => ("python", "cpython"),
            Some(Runtime::Node) if file.starts_with("node") => ("nodejs", "nodejs"),
            Some(Runtime::Node) => ("nodejs", if file == "bun" { "bun" } else { "deno" }),
            Some(Runtime::Java) => ("java", "java"),
            Some(Runtime::Ruby) => ("ruby", "ruby"),
            Some(Runtime::Php) => ("php", "php"),
            Some(Runtime::Dotnet) => ("dotnet", "dotnet"),
            Some(Runtime::Erlang) => ("erlang", "BEAM"),
            Some(Runtime::Perl | Runtime::Shell) => return Some(Self::default()),
            None if file.starts_with("php-fpm") => ("php", "php"),
            None => return None,
        };
        let version = file.trim_start_matches(|char: char| !char.is_ascii_digit());
        let telling = version.contains('.')
            && version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        Some(Self {
            language: Some(language),
            runtime: Some(runtime),
            version: telling.then(|| version.to_owned()),
        })
    }

    /// From the file's sections: Go's build information, the compiler's note, the libraries it needs.
    pub(super) fn of_file(file: &File) -> Self {
        let Some(elf) = Elf::read(file) else {
            return Self::default();
        };
        let beginning = |name, limit| elf.beginning(elf.section(name)?, limit);
        if let Some(section) = beginning(".go.buildinfo", 4096) {
            let version = go_version(&section);
            return Self {
                language: Some("go"),
                runtime: Some("go"),
                version,
            };
        }
        if beginning(".note.go.buildid", 64).is_some() {
            return Self {
                language: Some("go"),
                runtime: Some("go"),
                version: None,
            };
        }
        let comment = beginning(".comment", 4096).unwrap_or_default();
        let comment = String::from_utf8_lossy(&comment);
        if let Some((_, rest)) = comment.split_once("rustc version ") {
            let version = rest
                .split([' ', '\0'])
                .next()
                .filter(|version| !version.is_empty())
                .map(str::to_owned);
            return Self {
                language: Some("rust"),
                runtime: Some("rust"),
                version,
            };
        }
        // The dynamic strings hold the names of the libraries that the program needs.
        let strings = beginning(".dynstr", 256 << 10).unwrap_or_default();
        let needs = |library: &[u8]| {
            strings
                .split(|byte| *byte == 0)
                .any(|name| name.starts_with(library))
        };
        let language = (needs(b"libstdc++.so") || needs(b"libc++.so")).then_some("cpp");
        Self {
            language,
            ..Self::default()
        }
    }
}

/// The version in `.go.buildinfo` (debug/buildinfo in Go's source): from Go 1.18 the flag 2 says that a
/// varint-prefixed string follows the 32-byte header. Older files hold a pointer, which is not followed.
fn go_version(section: &[u8]) -> Option<String> {
    if !section.starts_with(b"\xff Go buildinf:") || section.get(15)? & 2 == 0 {
        return None;
    }
    let (mut length, mut shift, mut at) = (0usize, 0, 32);
    loop {
        let byte = *section.get(at)?;
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
        if shift > 14 {
            return None;
        }
    }
    let version = std::str::from_utf8(section.get(at..at + length)?)
        .ok()?
        .split(' ')
        .next()?;
    (version.starts_with("go") && version.bytes().all(|byte| byte.is_ascii_graphic()))
        .then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::process::fixture::Directory;

    #[test]
    fn an_interpreter_tells_its_language_and_version_by_name() {
        let python = Language::of_name("python3.11").unwrap();
        assert_eq!(
            (python.language, python.runtime, python.version.as_deref()),
            (Some("python"), Some("cpython"), Some("3.11"))
        );
        assert_eq!(Language::of_name("node").unwrap().language, Some("nodejs"));
        assert_eq!(
            Language::of_name("php-fpm8.2").unwrap().version.as_deref(),
            Some("8.2")
        );
        assert_eq!(Language::of_name("python3").unwrap().version, None);
        assert_eq!(Language::of_name("nginx"), None);
    }

    #[test]
    fn this_test_is_written_in_rust() {
        let language = Language::of_file(&File::open("/proc/self/exe").unwrap());
        assert_eq!(language.language, Some("rust"));
        assert!(language.version.unwrap().starts_with("1."));
    }

    #[test]
    fn go_tells_its_version_and_garbage_tells_none() {
        let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
        section.resize(32, 0);
        section.extend_from_slice(b"\x08go1.22.1");
        assert_eq!(go_version(&section).as_deref(), Some("go1.22.1"));
        for end in 0..section.len() {
            assert_eq!(go_version(&section[..end]), None);
        }
        section.truncate(32);
        section.extend_from_slice(&[0xff; 40]);
        assert_eq!(go_version(&section), None);
    }

    #[test]
    fn a_hostile_file_is_of_no_language() {
        let directory = Directory::new();
        let path = directory.path().join("elf");
        let language = |bytes: &[u8]| {
            File::create(&path).unwrap().write_all(bytes).unwrap();
            Language::of_file(&File::open(&path).unwrap())
        };
        let own = std::fs::read("/proc/self/exe").unwrap();
        for end in [0, 1, 4, 16, 63, 64, 65, 4096, own.len() / 2] {
            assert_eq!(language(&own[..end]), Language::default(), "cut at {end}");
        }
        // Sizes and offsets of the header and of what it points at, each as large as can be.
        let head = &own[..64];
        for field in 16..64 {
            let mut bytes = head.to_vec();
            bytes[field..].fill(0xff);
            assert_eq!(language(&bytes), Language::default(), "from {field}");
        }
        let mut table = head.to_vec();
        table[40..48].copy_from_slice(&64u64.to_le_bytes());
        table[60..62].copy_from_slice(&2u16.to_le_bytes());
        table[62..64].copy_from_slice(&1u16.to_le_bytes());
        table.extend_from_slice(&[0xff; 128]);
        assert_eq!(language(&table), Language::default());
        let mut state = 7u64;
        for _ in 0..200 {
            let mut bytes = head.to_vec();
            for byte in bytes.iter_mut().skip(40) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            assert_eq!(language(&bytes), Language::default());
        }
    }
}
