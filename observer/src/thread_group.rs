//! Processes whose first thread has ended while others run: `/proc/PID` shows no program, memory or descriptors of
//! them, only the folders of their threads do.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder below `proc` that tells what a process runs and has open: its own or, once its first thread has ended,
/// that of one of the others.
pub(crate) fn folder(proc: &Path, pid: u32) -> PathBuf {
    let own = proc.join(pid.to_string());
    let has_program = |folder: &Path| fs::read_link(folder.join("exe")).is_ok();
    if has_program(&own) {
        return own;
    }
    let Ok(threads) = fs::read_dir(own.join("task")) else {
        return own;
    };
    let mut threads = threads.filter_map(|thread| Some(thread.ok()?.path()));
    threads.find(|thread| has_program(thread)).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_process_is_what_its_threads_are_once_the_first_one_ended() {
        let proc = std::env::temp_dir().join(format!("observer-threads-{}", std::process::id()));
        for folder in ["7/task/7", "7/task/8", "9/task/9", "11"] {
            fs::create_dir_all(proc.join(folder)).unwrap();
        }
        symlink("/bin/first", proc.join("9/exe")).unwrap();
        symlink("/bin/second", proc.join("7/task/8/exe")).unwrap();
        assert_eq!(folder(&proc, 9), proc.join("9"));
        assert_eq!(folder(&proc, 7), proc.join("7/task/8"));
        assert_eq!(folder(&proc, 11), proc.join("11"));
        assert_eq!(folder(&proc, 12), proc.join("12"));
        fs::remove_dir_all(proc).unwrap();
    }
}
