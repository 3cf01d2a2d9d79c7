//! A build with nothing changed compiles nothing: else everybody who starts the daemon twice waits twice.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{self, Profile};

/// Builds the daemon once more, right after a build of the same sources.
///
/// # Errors
/// When cargo compiles anything; the packages are named. Also when it fails, or does not tell.
pub(super) fn check() -> Result<()> {
    let build = workspace::build_daemon(Profile::Release)
        .arg("--message-format=json")
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !build.status.success() {
        bail!("building the daemon once more failed: {}", build.status);
    }
    let compiled = compiled(&String::from_utf8_lossy(&build.stdout))?;
    if !compiled.is_empty() {
        bail!(
            "a build with nothing changed compiled {}; a build script that names a path that is not there does that \
             (`CARGO_LOG=cargo::core::compiler::fingerprint=info cargo build --release` says why)",
            compiled.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    eprintln!("a second build of the daemon compiled nothing");
    Ok(())
}

/// The packages that a build compiled, from cargo's messages.
fn compiled(messages: &str) -> Result<BTreeSet<String>> {
    let (mut artifacts, mut compiled) = (0, BTreeSet::new());
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's message is no JSON")?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        artifacts += 1;
        // What does not say that it was fresh counts as compiled.
        if message["fresh"] != true {
            let name = message["target"]["name"].as_str();
            compiled.insert(name.unwrap_or("a package without a name").to_owned());
        }
    }
    if artifacts == 0 {
        bail!("cargo names nothing that belongs to the daemon");
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, fresh: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}}{fresh}}}
{{"reason":"build-script-executed","package_id":"{name}"}}
"#
        )
    }

    #[test]
    fn a_build_of_fresh_packages_compiled_nothing() {
        let messages =
            artifact("aya", r#","fresh":true"#) + &artifact("observer", r#","fresh":true"#);
        assert!(compiled(&messages).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_fresh_is_named() {
        let messages = artifact("aya", r#","fresh":true"#)
            + &artifact("observer", r#","fresh":false"#)
            + &artifact("untold", "");
        let names: Vec<_> = compiled(&messages).unwrap().into_iter().collect();
        assert_eq!(names, ["observer", "untold"]);
    }

    #[test]
    fn a_build_that_tells_of_nothing_is_no_proof() {
        assert!(compiled("").is_err());
        assert!(compiled(r#"{"reason":"build-finished","success":true}"#).is_err());
        assert!(compiled("   Compiling observer").is_err());
    }
}
