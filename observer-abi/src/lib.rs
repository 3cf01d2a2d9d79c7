//! What the kernel programs and the daemon share: `#[repr(C)]` structs and constants, one module a topic.
//!
//! The crate is `no_std` and depends on nothing; the `user` feature marks the structs as plain old data, so that
//! the daemon may use them as map keys, map values and globals. Every struct is free of implicit padding (checked
//! at compile time), since the kernel copies them as bytes.
//!
//! [`detection`] and [`frames`] also hold the arithmetic over a stream's bytes, so that what the kernel programs do is
//! tested on the host.
#![no_std]

pub mod connection;
pub mod context;
pub mod control;
pub mod detection;
pub mod frames;
pub mod loss;
pub mod offsets;
pub mod option;
pub mod process;
pub mod record;
pub mod secret;

/// Asserts at compile time that a struct has the size that its fields add up to, so that no padding byte, which
/// the verifier would refuse to read uninitialised, hides in it.
macro_rules! plain {
    ($name:ty, $size:expr) => {
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        #[cfg(feature = "user")]
        // SAFETY: repr(C), integers only, and no padding (asserted above).
        unsafe impl aya::Pod for $name {}
    };
}
pub(crate) use plain;
