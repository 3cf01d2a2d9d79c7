//! A kernel's modules: where they are, what they need, in which order they load.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::decompress::decompress;

/// Modules by name, with `_` for `-`.
pub(super) struct Modules {
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
}

/// One module, unpacked.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

impl Modules {
    /// Looks through a folder of modules; `list` is the `modules.builtin` that goes with them.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn of(folder: &Path, list: &Path) -> Result<Self> {
        let list = fs::read_to_string(list).with_context(|| list.display().to_string())?;
        let mut files = HashMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = path.file_name().and_then(module_name) {
                    files.insert(name, path);
                }
            }
        }
        let built_in = list
            .lines()
            .filter_map(|line| module_name(Path::new(line).file_name()?))
            .collect();
        Ok(Self { files, built_in })
    }

    /// These modules and all that they need, each after what it needs. Those that are built into the kernel or that it
    /// does not have are left out.
    ///
    /// # Errors
    /// When one can't be read or unpacked.
    pub(super) fn in_load_order(&self, names: &[&str]) -> Result<Vec<Module>> {
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        for name in names {
            self.add(name, &mut order, &mut seen)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<Module>, seen: &mut HashSet<String>) -> Result<()> {
        let name = name.replace('-', "_");
        let Some(file) = self
            .files
            .get(&name)
            .filter(|_| !self.built_in.contains(&name))
        else {
            return Ok(());
        };
        if !seen.insert(name.clone()) {
            return Ok(());
        }
        let mut content = fs::read(file).with_context(|| file.display().to_string())?;
        if file.extension() != Some(OsStr::new("ko")) {
            content = decompress(&content).with_context(|| file.display().to_string())?;
        }
        for needed in needs(&content) {
            self.add(&needed, order, seen)?;
        }
        order.push(Module { name, content });
        Ok(())
    }
}

/// `dm-mod.ko.xz` is `dm_mod`.
fn module_name(file: &OsStr) -> Option<String> {
    let (name, rest) = file.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// The line `depends=a,b` of a module's `.modinfo`.
fn needs(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = content[at + KEY.len()..].split(|byte| *byte == 0).next();
    String::from_utf8_lossy(list.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_needs_are_read() {
        assert_eq!(
            module_name(OsStr::new("dm-mod.ko.xz")).as_deref(),
            Some("dm_mod")
        );
        assert_eq!(module_name(OsStr::new("modules.builtin")), None);
        assert_eq!(
            needs(b"license=GPL\0depends=fuse,virtio\0name=x\0"),
            ["fuse", "virtio"]
        );
        assert_eq!(needs(b"x\0depends=\0name=x\0"), Vec::<String>::new());
    }
}
