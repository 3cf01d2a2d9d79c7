//! Node: where its event loop (libuv) turns to something else.
//!
//! It counts as an event loop only where every function is found at which that happens: a timer that fires in
//! between must not inherit what was done before it. Where those are found, too, that tell a request's own turns from
//! others, more can be said ([`strict::ALONE`]).

use std::{collections::HashMap, fs, ops::Range, path::Path};

use iced_x86::Register;
use observer_abi::process::{Runtime, runtime, strict};

use super::{
    code,
    plan::{Plan, Probe},
};
use crate::elf::Image;
use crate::thread_group;

/// The executable's file name.
const NAME: &str = "node";

const TURNED: &str = "loop_turned";
const UNTOLD: &str = "node_untold";
const OTHER: &str = "node_other";
const WORK: &str = "node_work_done";

/// Functions of libuv, and what each means: for [`strict::READ`], and for [`strict::ALONE`].
const DISPATCHERS: &[(&str, &str, &str)] = &[
    ("uv__stream_io", TURNED, UNTOLD),
    ("uv__server_io", TURNED, OTHER),
    ("uv__run_timers", TURNED, TURNED),
    ("uv__run_check", TURNED, "node_checked"),
    ("uv__udp_io", TURNED, OTHER),
    ("uv__poll_io", TURNED, OTHER),
    ("uv__fs_done", TURNED, WORK),
    ("uv__queue_done", TURNED, WORK),
    ("uv__random_done", TURNED, WORK),
    ("uv__getnameinfo_done", TURNED, WORK),
    ("uv__getaddrinfo_done", "work_done", "node_lookup_done"),
    ("uv__work_submit", "work_submitted", "work_submitted"),
];

/// What other threads woke the loop for, and the part of it that the compiler may have made.
const ASYNC: [&str; 2] = ["uv__async_io", "uv__async_io.part.0"];

/// Further functions for [`strict::ALONE`]. Behind most of them JavaScript runs that the request which was read last may
/// not have set off.
const FURTHER: &[(&str, &str)] = &[
    ("uv__work_done", "node_works"),
    ("uv__stream_destroy", OTHER),
    ("uv__udp_finish_close", OTHER),
    ("uv__signal_event", OTHER),
    ("uv__inotify_read", OTHER),
    ("_ZN4node11Environment9RunTimersEP10uv_timer_s", OTHER),
    ("_ZN4node10HandleWrap7OnCloseEP11uv_handle_s", OTHER),
    (
        "_ZN4node10cares_wrap11ChannelWrap11AresTimeoutEP10uv_timer_s",
        OTHER,
    ),
];

/// What runs immediates, and what it calls for that: `MakeCallback(v8::Isolate *, Object, Function, …)`.
const CHECK_IMMEDIATE: &str = "_ZN4node11Environment14CheckImmediateEP10uv_check_s";
const MAKE_CALLBACK: &str = "_ZN4node12MakeCallbackEPN2v87IsolateENS0_5LocalINS0_6ObjectEEENS3_INS0_8FunctionEEEiPNS3_INS0_5ValueEEENS_13async_contextE";

/// What an executable of this name needs, if it is Node.
pub(super) fn plan(name: &str, image: &Image<'_>) -> Option<Plan> {
    if name != NAME {
        return None;
    }
    let functions = DISPATCHERS.iter().map(|(name, ..)| *name);
    let further = FURTHER.iter().map(|(name, _)| *name);
    let names: Vec<&str> = functions
        .chain(further)
        .chain(ASYNC)
        .chain([CHECK_IMMEDIATE, MAKE_CALLBACK])
        .collect();
    let found = Found {
        image,
        functions: image.extents(&names),
    };
    let alone = found.alone().map(|probes| (strict::ALONE, probes));
    let (strict, probes) = alone.or_else(|| Some((strict::READ, found.read()?)))?;
    Some(Plan {
        runtime: Runtime {
            kind: runtime::EVENT_LOOP,
            strict,
            ..Runtime::default()
        },
        probes,
    })
}

/// Whether a process lets libuv read files by io_uring: what it then does with them begins at no place that is known.
/// Also where that can't be told.
pub(super) fn may_use_io_uring(proc: &Path, pid: u32) -> bool {
    fs::read(thread_group::folder(proc, pid).join("environ")).map_or(true, |environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(b"UV_USE_IO_URING="))
    })
}

/// The functions that an executable has.
struct Found<'a> {
    image: &'a Image<'a>,
    functions: HashMap<String, Range<u64>>,
}

impl Found<'_> {
    /// For [`strict::READ`].
    fn read(&self) -> Option<Vec<Probe>> {
        let functions = DISPATCHERS.iter().map(|(name, read, _)| (*name, *read));
        functions
            .chain([(ASYNC[0], TURNED)])
            .map(|(name, program)| self.at_start(name, program))
            .collect()
    }

    /// For [`strict::ALONE`].
    fn alone(&self) -> Option<Vec<Probe>> {
        let functions = DISPATCHERS.iter().map(|(name, _, alone)| (*name, *alone));
        let mut probes = functions
            .chain(FURTHER.iter().copied())
            .map(|(name, program)| self.at_start(name, program))
            .collect::<Option<Vec<_>>>()?;
        probes.push(self.at(self.async_call()?, UNTOLD)?);
        probes.push(self.at(self.immediates_call()?, "node_immediates")?);
        Some(probes)
    }

    /// Where the loop calls what another thread asked for. With two such places it would not be known which one it is.
    fn async_call(&self) -> Option<u64> {
        let parts = ASYNC.iter().filter_map(|name| self.functions.get(*name));
        let calls: Vec<Vec<u64>> = parts
            .map(|addresses| code::indirect_calls(self.image, addresses))
            .collect::<Option<_>>()?;
        only(&calls.concat())
    }

    /// Where immediates of JavaScript are run.
    fn immediates_call(&self) -> Option<u64> {
        let check = self.functions.get(CHECK_IMMEDIATE)?;
        let make = self.functions.get(MAKE_CALLBACK)?.start;
        only(&code::calls(self.image, check, &[make]))
    }

    fn at_start(&self, name: &str, program: &'static str) -> Option<Probe> {
        let start = self.functions.get(name)?.start;
        self.at(
            code::cheap_place(self.image, start, argument(program)),
            program,
        )
    }

    fn at(&self, address: u64, program: &'static str) -> Option<Probe> {
        let offset = self.image.file_offset(address)?;
        Some(Probe { program, offset })
    }
}

fn only(places: &[u64]) -> Option<u64> {
    match places {
        [place] => Some(*place),
        _ => None,
    }
}

/// The register whose value at the function's entry a kernel program needs.
fn argument(program: &str) -> Register {
    if program == "work_submitted" {
        Register::RSI
    } else {
        Register::RDI
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs::File};

    use super::*;

    #[test]
    fn only_node_is_node() {
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file).unwrap();
        assert!(plan("node", &image).is_none());
        assert!(plan("nginx", &image).is_none());
    }

    #[test]
    fn a_process_says_whether_it_may_use_io_uring() {
        let proc = std::env::temp_dir().join(format!("observer-node-{}", std::process::id()));
        let write = |pid: &str, environment: &[u8]| {
            fs::create_dir_all(proc.join(pid)).unwrap();
            fs::write(proc.join(pid).join("environ"), environment).unwrap();
        };
        write("1", b"HOME=/\0NODE_ENV=UV_USE_IO_URING=1\0");
        write("2", b"HOME=/\0UV_USE_IO_URING=1\0");
        assert!(!may_use_io_uring(&proc, 1));
        assert!(may_use_io_uring(&proc, 2));
        assert!(may_use_io_uring(&proc, 3), "there is no such process");
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn the_installed_node_has_every_place_once() {
        let Ok(file) = File::open("/usr/bin/node") else {
            eprintln!("skipped: there is no /usr/bin/node");
            return;
        };
        let image = Image::read(&file).unwrap();
        let plan = plan("node", &image).unwrap();
        assert_eq!(plan.runtime.strict, strict::ALONE);
        // Every one, the async call and the one of immediates.
        assert_eq!(plan.probes.len(), DISPATCHERS.len() + FURTHER.len() + 2);
        let places: BTreeSet<u64> = plan.probes.iter().map(|probe| probe.offset).collect();
        assert_eq!(places.len(), plan.probes.len());
    }
}
