//! Reading memory, the kernel's and a process's. The core is generic over [`KernelRead`]; a tier's adapter chooses how.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// How to read `T` at a kernel address. A failed read gives zero, never garbage.
pub(crate) trait KernelRead {
    /// Whether pointers are typed (BTF), so that helpers which want a typed sock accept them.
    const TYPED: bool;

    /// Reads at `base + offset`.
    ///
    /// # Safety
    /// `T` is an integer or a pointer; for typed reads `base` is a pointer that the verifier knows.
    unsafe fn read<T: Copy>(base: *const u8, offset: usize) -> T;
}

/// Plain loads through pointers that the verifier has typed: tp_btf and fentry arguments, and what they point to.
/// They fault safely (a bad address reads as zero), need no helper and are allowed under lockdown.
pub(crate) struct Direct;

impl KernelRead for Direct {
    const TYPED: bool = true;

    #[inline(always)]
    unsafe fn read<T: Copy>(base: *const u8, offset: usize) -> T {
        // SAFETY: the verifier checks the access against the type behind `base`.
        unsafe { core::ptr::read_volatile(base.add(offset).cast()) }
    }
}

/// `bpf_probe_read_kernel`, for tiers whose arguments are plain numbers.
pub(crate) struct Probe;

impl KernelRead for Probe {
    const TYPED: bool = false;

    #[inline(always)]
    unsafe fn read<T: Copy>(base: *const u8, offset: usize) -> T {
        let mut value = core::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: the destination has the size of T; the helper zeroes it on failure.
        unsafe {
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, base.add(offset).cast());
            value.assume_init()
        }
    }
}

/// A word of the calling process's memory.
#[inline(always)]
pub(crate) fn user(address: u64) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: a user address; a fault is reported.
    if unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) } == 0 { Some(word) } else { None }
}
