//! The behaviour suite on this machine's own kernel; `cargo xtask vm` runs the same on others.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::process::Command;

use observer_tests::Environment;

#[test]
fn every_behaviour_holds_in_this_kernels_tier() {
    // The suite enters by itself.
    let Some(environment) = Environment::enter() else {
        return;
    };
    drop(environment);
    let suite = Command::new(env!("CARGO_BIN_EXE_behaviours"))
        .output()
        .unwrap();
    let (lines, log) = (
        String::from_utf8_lossy(&suite.stdout),
        String::from_utf8_lossy(&suite.stderr),
    );
    let behaviours = lines.lines().filter(|line| line.contains("\"behaviour\""));
    assert!(behaviours.count() > 20, "{lines}\n{log}");
    assert!(suite.status.success(), "{lines}\n{log}");
}
