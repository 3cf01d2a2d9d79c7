//! From a descriptor to its file: task, files, table, file.
//!
//! Read by address: for programs that may (`Settings::may_probe_read`).

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::kernel::{
    globals::offset,
    read::{KernelRead, Probe},
};

/// `S_IFMT`, `S_IFSOCK` (include/uapi/linux/stat.h).
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The calling task's `struct files_struct`.
#[inline(always)]
pub(crate) unsafe fn files() -> *const u8 {
    // SAFETY: read by address.
    unsafe { Probe::read(bpf_get_current_task() as *const u8, offset!(task_files)) }
}

/// Whether other threads can change the table.
#[inline(always)]
pub(crate) unsafe fn is_shared(files: *const u8) -> bool {
    // SAFETY: read by address.
    unsafe { Probe::read::<u32>(files, offset!(files_count)) > 1 }
}

/// The file of a descriptor, where it is a socket.
#[inline(always)]
pub(crate) unsafe fn socket_file(files: *const u8, descriptor: u64) -> Option<*const u8> {
    // SAFETY: read by address; a null gives zero.
    unsafe {
        let table: *const u8 = Probe::read(files, offset!(files_table));
        let descriptor = descriptor as u32;
        if descriptor >= Probe::read::<u32>(table, offset!(table_size)) {
            return None;
        }
        let array: *const u8 = Probe::read(table, offset!(table_files));
        let file: *const u8 = Probe::read(array, descriptor as usize * 8);
        if is_socket(file) { Some(file) } else { None }
    }
}

/// Whether a file (or null) is a socket.
#[inline(always)]
pub(crate) unsafe fn is_socket(file: *const u8) -> bool {
    // SAFETY: read by address; a null gives zero.
    unsafe {
        let inode: *const u8 = Probe::read(file, offset!(file_inode));
        !file.is_null() && Probe::read::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFSOCK
    }
}
