//! Whether the secrets of TLS libraries can be seen: a key point is armed in this very program, and disarmed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{Finding, State};
use crate::{
    kernel::{Features, Kernel, NEEDS_ADMIN, brief, mappings::Mappings, uprobes::Reach},
    tls,
};

/// What arming came to.
pub(super) struct Armed {
    armed: Result<()>,
    /// The kernel tells what is mapped.
    told: Result<()>,
}

/// Loads the programs, and sets a breakpoint in a function of ours.
pub(super) fn arm(kernel: &mut Kernel) -> Armed {
    let armed = kernel.load_uprobes(tls::PROGRAMS).and_then(|()| {
        let program = Path::new("/proc/self/exe");
        let place = place().context("cannot tell where this program is loaded")?;
        for name in tls::PROGRAMS {
            kernel.attach_uprobes(name, program, &[place], Reach::Ourselves)?;
        }
        Ok(())
    });
    Armed {
        armed,
        told: Mappings::open().map(drop),
    }
}

/// Where in its file a function of this program lies.
fn place() -> Option<u64> {
    let address = arm as fn(&mut Kernel) -> Armed as usize as u64;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        // address perms offset device inode path
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end, from) = (number(start)?, number(end)?, number(fields.nth(1)?)?);
        (start..end)
            .contains(&address)
            .then(|| address - start + from)
    })
}

/// What is said of it.
pub(super) fn finding(armed: Armed, features: &Features) -> Finding {
    let name = "TLS";
    match (armed.armed, armed.told) {
        (Ok(()), Ok(())) => Finding::ok(
            name,
            "breakpoints can be set where the secrets of OpenSSL, BoringSSL, GnuTLS and Go pass, as soon as they are \
             loaded (--tls off sets none)",
        ),
        (Ok(()), Err(error)) => Finding::lacking(
            name,
            State::Degraded,
            format!(
                "libraries are found some 20 ms after they are loaded: {}",
                brief(&error)
            ),
            "let observer use perf events (CAP_PERFMON)",
        ),
        (Err(error), _) => Finding::lacking(
            name,
            State::Degraded,
            format!("not read, no breakpoints: {}", brief(&error)),
            match features.many_uprobes {
                true => "a kernel with CONFIG_UPROBES=y that allows them",
                false => NEEDS_ADMIN,
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_program_is_found_in_its_file() {
        let program = fs::read("/proc/self/exe").unwrap();
        let place = place().unwrap() as usize;
        // SAFETY: the first bytes of a function's code.
        let code =
            unsafe { std::slice::from_raw_parts(arm as fn(&mut Kernel) -> Armed as *const u8, 8) };
        assert_eq!(&program[place..place + 8], code);
    }

    #[test]
    fn each_outcome_says_what_it_means() {
        let of = |armed: Result<()>, told: Result<()>| {
            finding(Armed { armed, told }, &Features::default())
        };
        let refused = || Err(anyhow::anyhow!("refused"));
        assert_eq!(of(Ok(()), Ok(())).state, State::Ok);
        let late = of(Ok(()), refused());
        assert_eq!(late.state, State::Degraded);
        assert!(late.detail.contains("20 ms"), "{}", late.detail);
        let none = of(refused(), Ok(()));
        assert!(none.detail.contains("not read") && none.detail.contains("refused"));
    }
}
