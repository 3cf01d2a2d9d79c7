//! Go programs: where the goroutine's id is in this version, and where a request passes from goroutine to goroutine.

use std::{collections::HashMap, ops::Range};

use iced_x86::Register;
use observer_abi::process::{Runtime, runtime};

use super::{
    code,
    plan::{Plan, Probe},
};
use crate::elf::{Functions, Image};

/// Most bytes of build information that are read for the version.
const BUILD_INFORMATION: u64 = 1 << 20;
/// The goroutine's address lies here, before the thread pointer, in programs without other thread-local storage
/// (`src/cmd/link`: runtime.tlsg).
const THREAD_WORD: i64 = -8;

/// Offsets by version, read in `src/runtime/runtime2.go` of 1.21 to 1.27: `g.goid` and `m.curg`. `gobuf` lost `ret`
/// with 1.25, `g` got `syscallbp` with 1.23.
fn offsets(minor: u32) -> Option<(u32, u32)> {
    match minor {
        17..=22 => Some((152, 192)),
        23..=24 => Some((160, 192)),
        25..=27 => Some((152, 184)),
        _ => None,
    }
}

const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
const CONNECTION_WRITE: &str = "net/http.persistConnWriter.Write";
const QUEUE: &str = "runtime.runqput";
const GO_STATEMENT: &str = "runtime.newproc.func1";
const RECEIVES: [&str; 3] = ["runtime.chanrecv1", "runtime.chanrecv2", "runtime.selectgo"];
/// Most calls of these that breakpoints are set on. A program with more has no parents in goroutines that a request
/// begins.
const MOST_RECEIVES: usize = 192;

/// First elements of the standard library's import paths (`src/` of Go 1.17 to 1.27).
const STANDARD: &[&str] = &[
    "archive",
    "bufio",
    "builtin",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "type",
    "unicode",
    "unique",
    "unsafe",
    "vendor",
    "weak",
];

/// The plan for a Go program of a version that is known.
pub(super) fn plan(image: &Image<'_>) -> Option<Plan> {
    let information = image.section_bytes(".go.buildinfo", BUILD_INFORMATION)?;
    let (goid, running) = offsets(minor_version(&information)?)?;
    if image.thread_local > 8 {
        return None;
    }
    let functions = Functions::read(image)?;
    let mut names = vec![ROUND_TRIP, CONNECTION_WRITE, QUEUE, GO_STATEMENT];
    names.extend(RECEIVES);
    let found = functions.find(&names);
    let start = |name| Some(found.get(name)?.start);
    let mut places: Vec<(&'static str, u64)> = Vec::new();
    // Without both, requests do not pass to the goroutine that writes them.
    if let (Some(round_trip), Some(write)) = (start(ROUND_TRIP), start(CONNECTION_WRITE)) {
        for (program, start) in [
            ("go_round_trip", round_trip),
            ("go_connection_write", write),
        ] {
            places.push((program, code::cheap_place(image, start, Register::RAX)));
        }
    }
    places.extend(inheritance(image, &functions, &found).unwrap_or_default());
    let probes = places
        .into_iter()
        .map(|(program, address)| {
            let offset = image.file_offset(address)?;
            Some(Probe { program, offset })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Plan {
        runtime: Runtime {
            thread_pointer_offset: THREAD_WORD,
            kind: runtime::GO,
            unit_offset: goid,
            second_offset: running,
            ..Runtime::default()
        },
        probes,
    })
}

/// Where goroutines begin, and everywhere that one may take work of others: all of it or nothing.
fn inheritance(
    image: &Image<'_>,
    functions: &Functions,
    found: &HashMap<&'static str, Range<u64>>,
) -> Option<Vec<(&'static str, u64)>> {
    let queue = found.get(QUEUE)?.start;
    let begins = code::calls(image, found.get(GO_STATEMENT)?, &[queue]);
    let [begins] = begins[..] else { return None };
    let mut places = vec![("go_created", begins)];
    let receives = RECEIVES
        .iter()
        .map(|name| Some(found.get(name)?.start))
        .collect::<Option<Vec<u64>>>()?;
    for (name, addresses) in functions.iter() {
        if is_standard(name) {
            continue;
        }
        for place in code::calls(image, &addresses, &receives) {
            places.push(("go_received", place));
        }
        if places.len() > MOST_RECEIVES {
            return None;
        }
    }
    Some(places)
}

/// Whether a function belongs to the standard library, by its full name.
fn is_standard(name: &[u8]) -> bool {
    let first = name
        .split(|byte| matches!(byte, b'/' | b'.' | b':'))
        .next()
        .unwrap_or_default();
    STANDARD.iter().any(|known| known.as_bytes() == first)
}

/// The minor version in `.go.buildinfo` (debug/buildinfo in Go's source): from Go 1.18 the flag 2 says that a string
/// with its length follows the 32-byte header.
fn minor_version(section: &[u8]) -> Option<u32> {
    if !section.starts_with(b"\xff Go buildinf:") || section.get(15)? & 2 == 0 {
        return None;
    }
    let length = usize::from(*section.get(32)?);
    // A length that takes two bytes is no version's.
    let text = std::str::from_utf8(section.get(33..33 + length.min(127))?).ok()?;
    let minor = text.strip_prefix("go1.")?;
    let end = minor
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(minor.len());
    minor[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_number_behind_the_dot() {
        let section = |text: &str| {
            let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
            section.resize(32, 0);
            section.push(text.len() as u8);
            section.extend_from_slice(text.as_bytes());
            section
        };
        assert_eq!(minor_version(&section("go1.22.1")), Some(22));
        assert_eq!(minor_version(&section("go1.27rc1 X:loopvar")), Some(27));
        assert_eq!(minor_version(&section("devel go1.28-abc")), None);
        assert_eq!(minor_version(b"\xff Go buildinf:\x08\x02"), None);
    }

    #[test]
    fn a_functions_name_tells_whether_it_is_the_standard_librarys() {
        for name in [
            "net/http.(*Client).do",
            "runtime.main",
            "type:.eq.x",
            "vendor/golang.org/x/net/idna.x",
        ] {
            assert!(is_standard(name.as_bytes()), "{name}");
        }
        for name in ["main.main", "github.com/a/b.F", "shop/net.F", "networks.F"] {
            assert!(!is_standard(name.as_bytes()), "{name}");
        }
    }
}
