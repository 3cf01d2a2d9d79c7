//! io_uring: what moves bytes where no system call names a buffer.
//!
//! In: requests, as they are submitted, go on and complete. Out: the buffer of the request that moves bytes now.
//! Owns: the sets of requests in flight.

pub(crate) mod in_flight;
pub(crate) mod request;
