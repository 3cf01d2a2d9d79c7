//! The daemon's view of the kernel's counters: what counts as loss.

use observer_abi::loss::Counter;

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
    )
}
