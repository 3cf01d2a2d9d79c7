//! A tier on this kernel, before anything of it is loaded.

use anyhow::Result;
use observer_abi::offsets::Offsets;

use crate::kernel::{
    features::Features, offsets::offsets, tier::Tier, types::KernelTypes, uring::Followed,
};

/// A tier, and the kernel that it is tried on.
pub(super) struct Candidate<'a> {
    pub(super) tier: Tier,
    pub(super) types: &'a KernelTypes,
    pub(super) features: &'a Features,
    pub(super) offsets: Offsets,
    pub(super) followed: Followed,
}

impl<'a> Candidate<'a> {
    /// # Errors
    /// When the kernel's types lack what every tier needs.
    pub(super) fn new(tier: Tier, types: &'a KernelTypes, features: &'a Features) -> Result<Self> {
        let offsets = offsets(types)?;
        let followed = Followed::of(tier, types, &offsets, features);
        Ok(Self {
            tier,
            types,
            features,
            offsets,
            followed,
        })
    }
}
