//! What a person types and sees.
//!
//! In: arguments, [`Settings`](crate::config::Settings), spans and metrics as they are made.
//! Out: a command that runs; lines on a terminal; the exit code.
//! Owns: the command line, printing, the demo, the report of `doctor`, the check for privileges.

pub mod args;
pub mod demo;
pub mod doctor;
mod duration;
mod escape;
pub mod install;
mod log;
mod manager;
pub mod manual;
mod palette;
pub mod print;
pub mod privileges;
pub(crate) mod run;
#[cfg(test)]
mod samples;

use std::{env, process::ExitCode};

use self::args::{Arguments, Command};
use crate::{
    config::{ConfigError, Settings},
    export::otlp,
};

/// Exit codes, as the documentation has them.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// Cannot trace: missing capabilities, a kernel that allows nothing, an address in use.
    pub const CANNOT_TRACE: u8 = 1;
    /// A flag, a variable or the configuration file is not accepted.
    pub const USAGE: u8 = 2;
}

/// Runs a parsed command line; says on standard error why it could not.
pub fn main(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Run(run) => match run.settings() {
            Ok(settings) => self::run::run(settings),
            Err(error) => return usage(&error),
        },
        Command::Demo(demo) => demo::run(&demo),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Install(arguments) => install::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Manual(arguments) => manual::pages(&arguments),
        Command::DemoService(service) => demo::service::run(&service),
    };
    done.unwrap_or_else(|error| {
        eprintln!("observer: {error:#}");
        ExitCode::from(if error.is::<otlp::ConfigError>() {
            exit::USAGE
        } else {
            exit::CANNOT_TRACE
        })
    })
}

fn usage(error: &ConfigError) -> ExitCode {
    eprintln!("observer: {error}");
    ExitCode::from(exit::USAGE)
}

/// Settings for commands that take no file: defaults and the environment.
fn defaults() -> Settings {
    Settings::from_file(crate::config::File::default(), |name| env::var(name).ok())
}
