//! Ourselves in place of the compiler, to take the work tree's path out of what it builds.
//!
//! Cargo hashes the absolute path of a package outside the workspace (`observer-abi`, seen from `observer-ebpf`) into
//! `-C metadata`, and rustc puts that into every symbol's name. Two checkouts would give two objects. So for our own
//! crates, and only for them, the metadata is the crate's name.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Set in the environment of a build that is to run the compiler through us.
const MARK: &str = "OBSERVER_XTASK_AS_RUSTC";

const OURS: [&str; 2] = ["observer", "observer_abi"];

/// Makes a cargo command run the compiler through us.
///
/// # Errors
/// When our own executable is not known.
pub(super) fn install(cargo: &mut Command) -> std::io::Result<()> {
    cargo.env(MARK, "1");
    cargo.env("RUSTC_WRAPPER", std::env::current_exe()?);
    Ok(())
}

/// When cargo started us as the compiler: becomes the compiler, and returns only if that can't be started.
pub(crate) fn run_as_compiler() -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next()?;
    let error = Command::new(&program).args(rewrite(arguments)).exec();
    eprintln!("xtask: starting {}: {error}", program.display());
    Some(ExitCode::FAILURE)
}

fn rewrite(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let name = arguments
        .windows(2)
        .find(|pair| pair[0] == "--crate-name")
        .and_then(|pair| pair[1].to_str())
        .filter(|name| OURS.contains(name))
        .map(str::to_owned);
    if let Some(name) = name {
        for argument in &mut arguments {
            if argument.to_string_lossy().starts_with("metadata=") {
                *argument = format!("metadata={name}").into();
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = rewrite(line.split(' ').map(OsString::from));
        let words: Vec<String> = words
            .into_iter()
            .map(|w| w.into_string().unwrap())
            .collect();
        words.join(" ")
    }

    #[test]
    fn only_our_own_crates_lose_their_metadata() {
        assert_eq!(
            rewritten("--crate-name observer_abi -C metadata=12 -C extra-filename=-12"),
            "--crate-name observer_abi -C metadata=observer_abi -C extra-filename=-12"
        );
        let foreign = "--crate-name aya_ebpf -C metadata=12";
        assert_eq!(rewritten(foreign), foreign);
        assert_eq!(rewritten("-vV"), "-vV");
    }
}
