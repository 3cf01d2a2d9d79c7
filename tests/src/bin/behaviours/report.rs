//! The suite's output: a JSON object a line.
//!
//! `{"behaviour", "result": "pass" | "fail" | "gap" | "skip", "reason"}` for each behaviour, where a gap is a failure
//! that is known of this tier, and one
//! `{"load": {"tier", "ready_seconds", "load_seconds", "end_seconds", "instructions": {PROGRAM: COUNT}}}`.

use serde_json::{Value, json};

use crate::daemon::Load;

/// How a behaviour ended.
pub(crate) enum Outcome {
    Pass,
    Fail(String),
    /// It failed, as it is known to in this tier.
    Gap(String),
    /// It can't happen on this machine.
    Skip(String),
}

/// Writes lines, and remembers whether one was bad.
#[derive(Default)]
pub(crate) struct Report {
    failures: usize,
}

impl Report {
    pub(crate) fn say(&mut self, name: &str, outcome: &Outcome) {
        let (result, reason) = match outcome {
            Outcome::Pass => ("pass", Value::Null),
            Outcome::Fail(reason) => {
                self.failures += 1;
                ("fail", reason.as_str().into())
            }
            Outcome::Gap(reason) => ("gap", reason.as_str().into()),
            Outcome::Skip(reason) => ("skip", reason.as_str().into()),
        };
        let line = json!({"behaviour": name, "result": result, "reason": reason});
        println!("{line}");
    }

    pub(crate) fn load(&self, load: &Load) {
        let instructions: serde_json::Map<String, Value> = load
            .instructions
            .iter()
            .map(|(name, count)| (name.clone(), (*count).into()))
            .collect();
        let load = json!({
            "tier": load.tier,
            "ready_seconds": load.ready,
            "load_seconds": load.programs,
            "end_seconds": load.end,
            "instructions": instructions,
        });
        println!("{}", json!({ "load": load }));
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.failures > 0
    }
}
