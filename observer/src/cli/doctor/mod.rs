//! `observer doctor`: what this kernel allows, what is degraded and why, what to change.
//!
//! In: a [`Report`], filled by whoever probes the kernel. Out: text or JSON on standard output, the exit code.

mod capture;
mod context;
mod key_points;
mod kubernetes;
mod process;
mod render;
mod rings;
mod run;
mod tax;
mod tls;

use serde::Serialize;

pub use run::run;

/// How well something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should.
    Ok,
    /// Tracing works without it, but shows less or costs more.
    Degraded,
    /// It is not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in few words, e.g. `kernel type information`.
    pub name: String,
    /// How well it works.
    pub state: State,
    /// What was found, one sentence.
    pub detail: String,
    /// What to change; `None` where nothing needs or can be.
    pub remedy: Option<String>,
}

/// A capture tier on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierReport {
    /// Its name, as for `--tier`.
    pub name: &'static str,
    /// Every program it needs was loaded and attached.
    pub usable: bool,
    /// Why not, e.g. the kernel's own words; `None` where it is usable.
    pub why_not: Option<String>,
}

/// What `observer doctor` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The kernel's release, as from `uname -r`.
    pub kernel: String,
    /// The tier that `--tier auto` takes; `None` when nothing can be traced.
    pub chosen: Option<&'static str>,
    /// Every tier, best first.
    pub tiers: Vec<TierReport>,
    /// What else was looked at.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// Something as it should be.
    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// Something that works less well, or not; `remedy` says what to change.
    pub fn lacking(
        name: impl Into<String>,
        state: State,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            state,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl Report {
    /// Something can be traced.
    pub fn can_trace(&self) -> bool {
        self.chosen.is_some()
    }

    /// As one line of JSON: the fields, and `can_trace`.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            can_trace: bool,
            #[serde(flatten)]
            report: &'a Report,
        }
        serde_json::json!(Whole {
            can_trace: self.can_trace(),
            report: self
        })
        .to_string()
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
