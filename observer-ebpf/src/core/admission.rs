//! Whether a call is captured: the same questions for every hook, the cheapest refusal first.

use observer_abi::{
    connection::{Connection, flag, transport},
    control::shape,
};

use crate::{
    core::{connection, policy},
    kernel::{
        above,
        globals::settings,
        read::KernelRead,
        sock::{self, Kind},
    },
    tls::opaque,
};

/// What becomes of a call on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// Nobody wants to know of this connection.
    Ignored,
    /// It is observer's own.
    Own,
    /// The process is not captured.
    Denied,
}

/// A call's connection.
pub(crate) struct Admitted {
    pub(crate) entry: *mut Connection,
    /// The sock's file, not null.
    pub(crate) file: *const u8,
    pub(crate) verdict: Verdict,
}

/// The connection of a call on a sock, and what becomes of the call. `None` where there is nothing to be done: no process
/// holds the socket, it is not followed, or its process was refused before. The last costs one look-up: nothing of the sock is
/// read.
///
/// # Safety
/// `sock` is a sock of kind `kind`, see [`KernelRead`]; called in the context of the process `tgid`, which moves data in
/// `direction`.
#[inline(always)]
pub(crate) unsafe fn admit<R: KernelRead>(sock: *const u8, kind: Kind, direction: u8, tgid: u32) -> Option<Admitted> {
    // SAFETY: as promised; live map values.
    unsafe {
        let found = connection::find(sock as u64);
        if let Some(entry) = found {
            if policy::is_denied(entry, tgid) {
                return None;
            }
        }
        let file = sock::file::<R>(sock);
        if file.is_null() {
            return None;
        }
        let entry = connection::found_or_created::<R>(found, sock, kind, file)?;
        if kind == Kind::Tcp {
            if (*entry).tcp == transport::KERNEL_TLS {
                // Its records, whose plaintext is told elsewhere. Any task may send them.
                return None;
            }
            if matches!((*entry).shape, shape::OPAQUE | shape::RECORDS) && above::is_half_on::<R>(sock, direction) {
                opaque::halved(entry);
            }
        }
        Some(Admitted { entry, file, verdict: of(entry, tgid) })
    }
}

/// What becomes of a call of the process on this connection.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn of(entry: *mut Connection, tgid: u32) -> Verdict {
    // SAFETY: as promised.
    unsafe {
        if (*entry).shape == shape::IGNORE || (*entry).flags & flag::OBSERVER != 0 {
            Verdict::Ignored
        } else if tgid == settings().observer_tgid() {
            Verdict::Own
        } else if policy::admitted(entry, tgid) {
            Verdict::Taken
        } else {
            Verdict::Denied
        }
    }
}
