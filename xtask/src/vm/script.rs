//! Scripts for the guest's shell.

use std::fmt::Write;

/// Variables of ours that the guest's commands get too.
const VARIABLES: [&str; 3] = ["HOME", "PATH", "TERM"];

/// A script that runs a command as it would run here: in this folder, with `PATH`, and with what is set for tests
/// (`OBSERVER_…`). One word is a line for the shell; several are a program and its arguments.
pub(crate) fn script(command: &[String]) -> String {
    let mut script = String::new();
    let line = match command {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    };
    for (name, value) in std::env::vars() {
        if VARIABLES.contains(&name.as_str()) || name.starts_with("OBSERVER_") {
            // Writing to a String does not fail.
            let _ = writeln!(script, "export {name}={}", quote(&value));
        }
    }
    if let Ok(folder) = std::env::current_dir() {
        let _ = writeln!(script, "cd {}", quote(&folder.to_string_lossy()));
    }
    script + &line + "\n"
}

/// A word that the shell takes as it is.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn words_reach_the_program_as_they_were() {
        let words = ["printf", "%s|", "it's", "a  b", "$HOME", "*", ""].map(str::to_owned);
        let output = Command::new("sh")
            .args(["-c", &script(&words)])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"it's|a  b|$HOME|*||");
    }

    #[test]
    fn one_word_is_a_line_for_the_shell() {
        let line = ["echo a; exit 7".to_owned()];
        let output = Command::new("sh")
            .args(["-c", &script(&line)])
            .output()
            .unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.status.code()),
            (b"a\n".as_slice(), Some(7))
        );
    }
}
