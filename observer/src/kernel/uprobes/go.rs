//! Go programs: where the goroutine's id is in this version, and where a request passes from goroutine to goroutine.

use observer_abi::process::{Runtime, runtime};

use super::{
    functions::Functions,
    image::Image,
    plan::{Plan, Probe},
};

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
const NEW_GOROUTINE: &str = "runtime.newproc1";
const GO_STATEMENT: &str = "runtime.newproc.func1";
const RECEIVES: [&str; 3] = ["runtime.chanrecv1", "runtime.chanrecv2", "runtime.selectgo"];
/// Functions of the package whose own waits are no work.
const LIBRARY: &str = "net/http.";

/// The plan for a Go program of a version that is known.
pub(super) fn plan(image: &Image<'_>) -> Option<Plan> {
    let information = image.section_bytes(".go.buildinfo", BUILD_INFORMATION)?;
    let (goid, running) = offsets(minor_version(&information)?)?;
    if image.thread_local > 8 {
        return None;
    }
    let functions = Functions::read(image)?;
    let mut names = vec![ROUND_TRIP, CONNECTION_WRITE, NEW_GOROUTINE, GO_STATEMENT];
    names.extend(RECEIVES);
    let found = functions.find(&names);
    let mut probes = Vec::new();
    // Without them no request passes from the goroutine that it came to.
    let mut add = |program, address: u64| {
        probes.push(Probe {
            program,
            offset: image.file_offset(address)?,
        });
        Some(())
    };
    if let (Some(round_trip), Some(write)) = (found.get(ROUND_TRIP), found.get(CONNECTION_WRITE)) {
        add("go_round_trip", round_trip.start)?;
        add("go_connection_write", write.start)?;
    }
    let statement = found.get(GO_STATEMENT)?;
    let created = found.get(NEW_GOROUTINE)?;
    let code = image.bytes(statement.start, statement.end.checked_sub(statement.start)?)?;
    add(
        "go_created",
        behind_call(&code, statement.start, created.start)?,
    )?;
    for receive in RECEIVES {
        add("go_received", found.get(receive)?.start)?;
    }
    let library = functions.range(LIBRARY);
    Some(Plan {
        runtime: Runtime {
            thread_pointer_offset: THREAD_WORD,
            kind: runtime::GO,
            unit_offset: goid,
            second_offset: running,
            library_start: library.as_ref().map_or(0, |range| range.start),
            library_end: library.as_ref().map_or(0, |range| range.end),
            ..Runtime::default()
        },
        probes,
    })
}

/// The address behind the only direct call of `target` in `code`, which lies at `start`. (An instruction begins there,
/// whatever lies before.)
fn behind_call(code: &[u8], start: u64, target: u64) -> Option<u64> {
    let mut found = None;
    for (index, call) in code.windows(5).enumerate() {
        let [0xe8, distance @ ..] = call else {
            continue;
        };
        let behind = start + index as u64 + 5;
        let distance = i32::from_le_bytes(distance.try_into().ok()?);
        if behind.wrapping_add_signed(i64::from(distance)) == target
            && found.replace(behind).is_some()
        {
            return None;
        }
    }
    found
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
    fn a_call_is_found_by_where_it_leads() {
        // nop; call +0x10; ret
        let code = [0x90, 0xe8, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(behind_call(&code, 0x1000, 0x1016), Some(0x1006));
        assert_eq!(behind_call(&code, 0x1000, 0x1017), None);
        let twice = [code, code].concat();
        assert_eq!(behind_call(&twice, 0x1000, 0x1016), Some(0x1006));
    }
}
