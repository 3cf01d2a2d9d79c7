//! Manual pages and shell completions, made from the command line's own definition.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::args::Arguments;

/// `observer completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  observer completions bash > /etc/bash_completion.d/observer")]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `observer manual`.
#[derive(Debug, Args)]
pub struct ManualArguments {
    /// A folder that is there, for observer.1 and a page for each command
    pub folder: PathBuf,
}

/// Writes a completion script to standard output.
///
/// # Errors
/// When it can't be written.
pub fn completions(arguments: &CompletionsArguments) -> anyhow::Result<ExitCode> {
    // Its own writer would panic where nobody reads.
    let script = script(arguments.shell);
    io::stdout()
        .write_all(&script)
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "observer", &mut script);
    script
}

/// Writes the manual pages of all commands that are not hidden.
///
/// # Errors
/// When a page can't be written.
pub fn pages(arguments: &ManualArguments) -> anyhow::Result<ExitCode> {
    clap_mangen::generate_to(Arguments::command(), &arguments.folder)
        .with_context(|| format!("cannot write to {}", arguments.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_none_for_what_is_hidden() {
        let folder = std::env::temp_dir().join(format!("observer-manual-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let arguments = ManualArguments {
            folder: folder.clone(),
        };
        pages(&arguments).unwrap();
        let pages: BTreeMap<String, String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        let shown = Arguments::command();
        let shown = shown.get_subcommands().filter(|it| !it.is_hide_set());
        let mut expected: Vec<String> = shown
            .map(|command| format!("observer-{}.1", command.get_name()))
            .collect();
        expected.push("observer.1".to_owned());
        for page in &expected {
            assert!(pages.contains_key(page), "{page}: {:?}", pages.keys());
        }
        assert!(!pages.keys().any(|name| name.contains("demo-service")));
        assert!(pages["observer-run.1"].contains("otlp\\-endpoint"));
    }

    #[test]
    fn the_completions_of_every_shell_know_the_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            assert!(script.contains("otlp-endpoint"), "{shell}");
        }
    }
}
