//! What a tier costs processes that it has nothing to do with, measured.

use std::{
    fs::File,
    io::{self, Read},
    time::{Duration, Instant},
};

use crate::kernel::{Features, Kernel, KernelTypes, LoadOptions, Tier};

/// Calls in one sample: about a millisecond.
const CALLS: u32 = 4000;
/// The fastest of so many samples counts: the others were interrupted.
const SAMPLES: usize = 15;

/// What one call takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tax {
    /// With no program attached.
    pub(super) bare: Duration,
    /// With the tier's programs attached.
    pub(super) taxed: Duration,
}

impl Tax {
    /// How many times as long.
    pub(super) fn factor(&self) -> f64 {
        self.taxed.as_secs_f64() / self.bare.as_secs_f64().max(1e-9)
    }
}

/// Loads and attaches a tier, and measures reads of one byte from a file that is no socket, before and meanwhile.
///
/// # Errors
/// Why the tier does not work here, or that the file cannot be read.
pub(super) fn measure(
    tier: Tier,
    types: &KernelTypes,
    features: &Features,
    options: &LoadOptions,
) -> anyhow::Result<Tax> {
    let mut file = File::open("/dev/zero")?;
    let bare = fastest(&mut file)?;
    let attached = Kernel::load(
        types,
        features,
        &LoadOptions {
            tier: Some(tier),
            ..options.clone()
        },
    )?;
    let taxed = fastest(&mut file)?;
    drop(attached);
    Ok(Tax { bare, taxed })
}

fn fastest(file: &mut File) -> io::Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        for _ in 0..CALLS {
            file.read_exact(&mut [0])?;
        }
        fastest = fastest.min(begin.elapsed() / CALLS);
    }
    Ok(fastest)
}
