//! The host's own TLS libraries, which are armed before anybody maps them: a program that lives for some milliseconds (`curl`,
//! `wget`) has made its handshake by the time that what it maps is looked at.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where distributions put libraries, below a root.
const FOLDERS: [&str; 5] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib64",
    "usr/local/lib",
];
/// What the libraries' names begin with.
const NAMES: [&str; 2] = ["libssl.so", "libgnutls.so"];
/// Most that are taken.
const MOST: usize = 32;

/// Their paths, in the root of the host's first process where that can be reached, else in the own one. Several may lead to one file.
pub(super) fn libraries(proc: &Path) -> Vec<PathBuf> {
    let of_host = proc.join("1/root");
    let root = if of_host.join("usr").is_dir() {
        of_host
    } else {
        PathBuf::from("/")
    };
    let mut found = below(&root);
    // Whatever order the folders tell them in.
    found.sort();
    found.truncate(MOST);
    found
}

fn below(root: &Path) -> Vec<PathBuf> {
    let entries = FOLDERS
        .iter()
        .filter_map(|folder| fs::read_dir(root.join(folder)).ok());
    entries
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            NAMES.iter().any(|begin| name.starts_with(begin))
        })
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_libraries_are_found_where_distributions_put_them() {
        let root = std::env::temp_dir().join(format!("observer-standing-{}", std::process::id()));
        let folder = root.join("1/root/usr/lib64");
        fs::create_dir_all(&folder).unwrap();
        for name in [
            "libssl.so.3",
            "libssl3.so",
            "libgnutls.so.30.34.3",
            "libc.so.6",
        ] {
            fs::write(folder.join(name), "").unwrap();
        }
        let found = libraries(&root);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(
            found,
            [
                folder.join("libgnutls.so.30.34.3"),
                folder.join("libssl.so.3")
            ]
        );
    }
}
