//! The suite's output: a JSON object a line.
//!
//! `{"behaviour", "result": "pass" | "fail" | "gap" | "skip", "reason"}` for each behaviour, where a gap is
//! what this tier is known not to do (`held`: it did so this time), and one
//! `{"load": {"tier", "ready_seconds", "load_seconds", "end_seconds", "instructions": {PROGRAM: COUNT}}}`.

use serde_json::{Value, json};

use crate::daemon::Load;

/// How a behaviour ended.
pub(crate) enum Outcome {
    Pass,
    Fail(String),
    /// This tier is known not to do it; whether it did this time.
    Gap {
        why: &'static str,
        held: bool,
    },
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
            Outcome::Gap { why, .. } => ("gap", (*why).into()),
            Outcome::Skip(reason) => ("skip", reason.as_str().into()),
        };
        let mut line = json!({"behaviour": name, "result": result, "reason": reason});
        if let Outcome::Gap { held, .. } = outcome {
            line["held"] = (*held).into();
        }
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
