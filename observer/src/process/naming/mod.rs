//! A sensible name for a process that was given none: from its executable, script or archive.
//!
//! | runs | named after |
//! |---|---|
//! | a binary | its file: `nginx`, `orders`. A rewritten command line (`nginx: worker process`) is never believed |
//! | Python | `-m` package; an application server's application (`gunicorn shop.wsgi` → `shop`); else the script |
//! | Node, Deno, Bun | `name` of the nearest package.json; else the script |
//! | Java | `-Dspring.application.name`, the jar without its version, the last part of the main class |
//! | .NET | the assembly |
//! | Ruby, PHP, Perl, shells | the script; a server (`puma`) by the directory it serves |
//!
//! A script whose own name says nothing (`main.py`, `server.js`) is named after its directory ([`place`]).

mod java;
mod node;
mod place;
mod python;

use super::environment::Environment;

/// What is known of a process before it has a name. Paths are those that the process itself sees.
pub(super) struct Clues<'a> {
    /// Executable.
    pub(super) exe: Option<&'a str>,
    /// Command line.
    pub(super) args: &'a [String],
    /// The kernel's name.
    pub(super) comm: &'a str,
    /// Working directory.
    pub(super) cwd: Option<&'a str>,
    /// Environment.
    pub(super) environment: &'a Environment,
    /// Reads a small file of the process's root.
    pub(super) read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// Runtimes whose own name says nothing of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Python,
    Node,
    Java,
    Ruby,
    Php,
    Dotnet,
    Perl,
    Erlang,
    Shell,
}

impl Runtime {
    /// The runtime that an executable's file name stands for: `python3.11`, `php8.2`, `node`.
    pub(super) fn of(file: &str) -> Option<Self> {
        if file == "beam.smp" {
            return Some(Self::Erlang);
        }
        match file
            .trim_end_matches(|last: char| last.is_ascii_digit() || last == '.' || last == '-')
        {
            "python" | "pypy" => Some(Self::Python),
            "node" | "nodejs" | "deno" | "bun" => Some(Self::Node),
            "java" => Some(Self::Java),
            "ruby" | "jruby" | "truffleruby" => Some(Self::Ruby),
            "php" | "php-cli" | "php-cgi" => Some(Self::Php),
            "dotnet" => Some(Self::Dotnet),
            "perl" => Some(Self::Perl),
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "busybox" => Some(Self::Shell),
            _ => None,
        }
    }
}

/// The name, or `None` when there is no clue at all.
pub(super) fn name(clues: &Clues<'_>) -> Option<String> {
    let mut args = clues.args;
    let mut file = file_of(clues.exe);
    // A program that was started through the dynamic loader is the loader's first argument.
    if (file.starts_with("ld-linux") || file.starts_with("ld-musl"))
        && let Some(index) = args.iter().skip(1).position(|arg| !arg.starts_with('-'))
    {
        args = &args[index + 1..];
        file = place::file_name(&args[0]);
    }
    let clues = Clues { args, ..*clues };
    let found = match Runtime::of(file) {
        Some(Runtime::Python) => python::name(&clues),
        Some(Runtime::Node) => node::name(&clues),
        Some(Runtime::Java) => java::name(&clues),
        Some(Runtime::Dotnet) => dotnet(&clues),
        Some(Runtime::Erlang) => erlang(&clues),
        Some(Runtime::Ruby) => ruby(&clues),
        Some(Runtime::Php | Runtime::Perl | Runtime::Shell) => {
            let command = ["-c", "-e", "-E", "-r"];
            script_argument(args, &command, &[])
                .and_then(|script| place::script_name(script, clues.cwd))
        }
        None if file == "uwsgi" => python::application(args, clues.cwd),
        None => None,
    };
    found
        .and_then(|name| clean(&name))
        .or_else(|| fallback(file, &clues))
}

/// The executable's own name, without a runtime's or PHP-FPM's version; else what the process calls itself.
fn fallback(file: &str, clues: &Clues<'_>) -> Option<String> {
    let bare = file.trim_end_matches(|last: char| last.is_ascii_digit() || last == '.');
    let file = if Runtime::of(file).is_some() || bare == "php-fpm" {
        bare
    } else {
        file
    };
    let first = clues
        .args
        .first()
        .map(|arg| place::file_name(arg.split(' ').next().unwrap_or_default()));
    [
        Some(file),
        (!clues.comm.is_empty()).then_some(clues.comm),
        first,
    ]
    .into_iter()
    .flatten()
    .find_map(clean)
}

/// The first argument that is no option; `None` where the program is given on the command line itself
/// (`command_options`). Options in `valued` take the next argument with them.
fn script_argument<'a>(
    args: &'a [String],
    command_options: &[&str],
    valued: &[&str],
) -> Option<&'a str> {
    let mut rest = args.iter().skip(1).map(String::as_str);
    while let Some(arg) = rest.next() {
        if command_options.contains(&arg) {
            return None;
        }
        if arg == "--" {
            return rest.next();
        }
        if valued.contains(&arg) {
            rest.next();
        } else if !arg.starts_with('-') {
            return Some(arg);
        }
    }
    None
}

fn dotnet(clues: &Clues<'_>) -> Option<String> {
    let assembly = clues
        .args
        .iter()
        .skip(1)
        .find(|arg| arg.ends_with(".dll"))?;
    Some(
        place::file_name(assembly)
            .trim_end_matches(".dll")
            .to_owned(),
    )
}

fn erlang(clues: &Clues<'_>) -> Option<String> {
    let release = clues.environment.get("RELEASE_NAME").map(str::to_owned);
    release.or_else(|| {
        let index = clues
            .args
            .iter()
            .position(|arg| arg == "-sname" || arg == "-name")?;
        Some(clues.args.get(index + 1)?.split('@').next()?.to_owned())
    })
}

/// `puma 5.6.5 (tcp://0.0.0.0:9292) [shop]` tells the directory; otherwise servers are named after the working one.
fn ruby(clues: &Clues<'_>) -> Option<String> {
    let title = clues.args.first()?;
    if let Some(directory) = title
        .strip_prefix("puma")
        .and_then(|rest| rest.trim().strip_suffix(']')?.rsplit('[').next())
    {
        return Some(directory.to_owned()).filter(|directory| !directory.is_empty());
    }
    let script = script_argument(clues.args, &["-e"], &["-I", "-r", "-C"])?;
    if [
        "puma", "rails", "unicorn", "rackup", "thin", "sidekiq", "bundle",
    ]
    .contains(&place::file_name(script))
    {
        return clues
            .cwd
            .and_then(place::directory_name)
            .or_else(|| Some(place::file_name(script).to_owned()));
    }
    place::script_name(script, clues.cwd)
}

/// An executable's file name, empty when unknown.
pub(super) fn file_of(exe: Option<&str>) -> &str {
    place::file_name(exe.unwrap_or_default()).trim_start_matches("memfd:")
}

/// A name without control characters, of at most 255 bytes; `None` when nothing is left.
pub(super) fn clean(name: &str) -> Option<String> {
    let name: String = name
        .trim()
        .chars()
        .filter(|char| !char.is_control())
        .collect();
    let end = name.floor_char_boundary(255);
    (!name.is_empty()).then(|| name[..end].to_owned())
}

#[cfg(test)]
mod tests;
