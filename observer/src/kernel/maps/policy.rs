//! Which processes are captured, and whether anything is.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData};
use observer_abi::{control::ControlBlock, process::Policy};

/// The policy map, and the switch that makes the programs ask it.
pub struct PolicyMaps {
    pub(in crate::kernel) policy: HashMap<MapData, u32, Policy>,
    pub(in crate::kernel) control: Array<MapData, ControlBlock>,
    pub(in crate::kernel) state: ControlBlock,
}

impl PolicyMaps {
    /// Switches capture on or off.
    pub fn enable(&mut self, on: bool) -> Result<()> {
        self.state.enabled = u32::from(on);
        self.control
            .set(0, self.state, 0)
            .context("cannot switch capture")
    }

    /// What was said of a process; `None` where nothing was.
    pub fn is_captured(&self, tgid: u32) -> Option<bool> {
        Some(self.policy.get(&tgid, 0).ok()?.capture != 0)
    }

    /// Makes connections ask again.
    pub fn raise(&mut self) -> Result<()> {
        self.state.policy_epoch = self.state.policy_epoch.wrapping_add(1);
        self.control
            .set(0, self.state, 0)
            .context("cannot raise the policy's epoch")
    }

    /// Writes verdicts; connections ask again afterwards. Where there is no room to deny one process, every process of
    /// which nothing is said is denied from then on.
    ///
    /// # Errors
    /// The first that could not be written; the others were.
    pub fn apply(&mut self, verdicts: impl IntoIterator<Item = (u32, bool)>) -> Result<()> {
        let mut changed = false;
        let mut refused = Ok(());
        for (tgid, capture) in verdicts {
            let policy = Policy {
                capture: u32::from(capture),
                reserved: 0,
            };
            changed = true;
            let written = self.policy.insert(tgid, policy, 0);
            let written =
                written.with_context(|| format!("cannot write the policy of process {tgid}"));
            if written.is_err() && !capture {
                self.state.unknown_denied = 1;
            }
            refused = refused.and(written);
        }
        if changed {
            self.raise()?;
        }
        refused
    }
}
