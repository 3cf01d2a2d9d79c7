//! What is packaged: version, commit and its time.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, workspace};

pub(crate) struct Source {
    /// As in `Cargo.toml`.
    pub(crate) version: &'static str,
    /// The commit, in full.
    pub(crate) commit: String,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, else the commit's time. Nothing in a package is younger.
    pub(crate) epoch: u64,
}

impl Source {
    /// # Errors
    /// Outside of a git checkout, or where `SOURCE_DATE_EPOCH` is no number.
    pub(crate) fn read() -> Result<Self> {
        let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(said) => said,
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let epoch = epoch.trim().parse();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            commit,
            epoch: epoch.context("SOURCE_DATE_EPOCH is no number of seconds")?,
        })
    }

    /// The time in a form of `date`'s, UTC.
    ///
    /// # Errors
    /// When `date` fails.
    pub(crate) fn time(&self, form: &str) -> Result<String> {
        let text = command::output(
            Command::new("date")
                .args(["-u", &format!("-d@{}", self.epoch), &format!("+{form}")])
                .env("LC_ALL", "C"),
        )?;
        Ok(text.trim_end().to_owned())
    }
}

/// What git says about the work tree.
///
/// # Errors
/// When it fails, as outside of a checkout.
pub(crate) fn git(arguments: &[&str]) -> Result<String> {
    command::output(
        Command::new("git")
            .arg("-C")
            .arg(workspace::root())
            .args(arguments),
    )
}
