//! The kernel's counters: what they say, and which of them tell of loss.

use anyhow::Result;
use aya::{Ebpf, maps::PerCpuArray};
use observer_abi::loss::{self, Counter};

use super::maps;

/// Whether a counter tells of something that was lost, rather than of work done.
pub const fn is_loss(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::RingFull
            | Counter::ConnectionTableFull
            | Counter::CopyFault
            | Counter::ProcessRingFull
            | Counter::ThreadTableFull
            | Counter::DescriptorChanged
            | Counter::UnitTableFull
            | Counter::DatagramMissed
            | Counter::ProcessTableFull
            | Counter::SecretDropped
    )
}

/// Each counter's sum over the CPUs.
pub(super) fn sums(ebpf: &Ebpf) -> Result<Vec<(Counter, &'static str, u64)>> {
    let map = ebpf
        .map("COUNTERS")
        .ok_or_else(|| maps::missing("COUNTERS"))?;
    let counters: PerCpuArray<_, [u64; loss::COUNTER_ROOM]> = PerCpuArray::try_from(map)?;
    let values = counters.get(&0, 0)?;
    let mut sums = Vec::with_capacity(loss::COUNTERS as usize);
    for (counter, name) in Counter::ALL {
        let sum = values.iter().map(|of_cpu| of_cpu[counter as usize]).sum();
        sums.push((counter, name, sum));
    }
    Ok(sums)
}
