//! Header injection at start: what was asked for, what becomes of it.

use anyhow::{Result, bail};

use crate::{
    config::InjectHeaders,
    kernel::{
        Features, Kernel,
        inject::{self, Injection, Leaving, Test},
    },
};

/// What is to be tried.
pub(super) struct Plan {
    wish: InjectHeaders,
    possible: bool,
}

impl Plan {
    /// Asks the machine before anything is loaded.
    ///
    /// # Errors
    /// It was forced and cannot be.
    pub(super) fn of(wish: InjectHeaders, features: &Features) -> Result<Self> {
        let possible = match wish {
            InjectHeaders::Off => false,
            _ => match inject::precondition(features) {
                Ok(()) => true,
                Err(reason) => {
                    refuse(wish, &reason)?;
                    false
                }
            },
        };
        Ok(Self { wish, possible })
    }

    /// Whether its programs are to be there.
    pub(super) fn is_possible(&self) -> bool {
        self.possible
    }

    /// Tries it, and says in the log what came of it.
    ///
    /// # Errors
    /// It was forced and does not work.
    pub(super) fn begin(&self, kernel: &mut Kernel) -> Result<Option<Leaving>> {
        if !self.possible {
            return Ok(None);
        }
        let test = match self.wish {
            InjectHeaders::Force => Test::No,
            _ => Test::First,
        };
        match inject::begin(kernel, test) {
            Injection::On => {
                tracing::info!("traceparent is injected into HTTP/1 requests");
                Leaving::of(kernel).map(Some)
            }
            Injection::Off(reason) => refuse(self.wish, &reason).map(|()| None),
        }
    }
}

fn refuse(wish: InjectHeaders, reason: &str) -> Result<()> {
    if wish == InjectHeaders::Force {
        bail!("headers cannot be injected: {reason}");
    }
    tracing::warn!(reason, "no headers are injected");
    Ok(())
}
