//! What the kernel's type information (BTF) says: where fields lie, which functions, tracepoints and helpers there are.

mod btf;

use std::{path::Path, sync::Arc};

use self::btf::{Btf, Type, kind};

/// The running kernel's BTF (`CONFIG_DEBUG_INFO_BTF`).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What is not there.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The kernel has no BTF, or it cannot be read.
    #[error(
        "cannot read the kernel's type information at {path}: {reason}; a kernel with CONFIG_DEBUG_INFO_BTF=y is needed"
    )]
    NoBtf {
        /// Where it was looked for.
        path: String,
        /// What the reader said.
        reason: String,
    },
    /// A struct or field that the programs need is not there.
    #[error(
        "this kernel's type information has no `{0}`: this kernel is not supported yet, please report it"
    )]
    Missing(String),
}

/// The kernel's types.
pub struct KernelTypes {
    kernel: Arc<Btf>,
    module: Option<Btf>,
}

impl KernelTypes {
    /// Reads `/sys/kernel/btf/vmlinux`.
    pub fn of_running_kernel() -> Result<Self, TypesError> {
        Self::from_path(Path::new(VMLINUX))
    }

    /// Reads a BTF file.
    pub fn from_path(path: &Path) -> Result<Self, TypesError> {
        Ok(Self {
            kernel: Arc::new(read(path, None)?),
            module: None,
        })
    }

    /// The types of a module of this kernel's, which include its own.
    pub fn of_module(&self, module: &str) -> Result<Self, TypesError> {
        let path = Path::new("/sys/kernel/btf").join(module);
        Ok(Self {
            kernel: Arc::clone(&self.kernel),
            module: Some(read(&path, Some(&self.kernel))?),
        })
    }

    /// Byte offset of a field, given as `struct.member.member…`; members of anonymous structs and unions count as the
    /// outer one's.
    pub fn offset(&self, path: &str) -> Result<u32, TypesError> {
        let missing = || TypesError::Missing(path.to_owned());
        let mut parts = path.split('.');
        let name = parts.next().ok_or_else(missing)?;
        let mut current = self
            .named(name)
            .find(|found| found.kind == kind::STRUCT && found.members().next().is_some())
            .ok_or_else(missing)?;
        let mut bits = 0;
        for part in parts {
            let (at, member) = self.member(current, part).ok_or_else(missing)?;
            bits += at;
            current = member;
        }
        Ok(bits / 8)
    }

    fn member(&self, within: Type<'_>, name: &str) -> Option<(u32, Type<'_>)> {
        self.member_at(within, name, MOST_NESTED)
    }

    fn member_at(&self, within: Type<'_>, name: &str, depth: u32) -> Option<(u32, Type<'_>)> {
        for member in within.members() {
            let found = self.name(member.name).unwrap_or_default();
            if found == name.as_bytes() {
                return Some((member.at, self.strip(member.kind)?));
            }
            if found.is_empty() && depth > 0 {
                let inner = self.strip(member.kind)?;
                if let Some((at, found)) = self.member_at(inner, name, depth - 1) {
                    return Some((member.at + at, found));
                }
            }
        }
        None
    }

    /// The type of this number, behind typedefs and qualifiers.
    fn strip(&self, id: u32) -> Option<Type<'_>> {
        let mut found = self.get(id)?;
        for _ in 0..MOST_NESTED {
            let refers = matches!(
                found.kind,
                kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG
            );
            if !refers {
                return Some(found);
            }
            found = self.get(found.size_or_type)?;
        }
        None
    }

    /// Size of a field in bytes, for fields whose width changed between versions.
    pub(super) fn size(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let name = parts.next()?;
        let mut current = self.named(name).find(|found| found.kind == kind::STRUCT)?;
        for part in parts {
            current = self.member(current, part)?.1;
        }
        matches!(current.kind, kind::INT | kind::ENUM).then_some(current.size_or_type)
    }

    /// Whether a kernel function, with type information, exists.
    pub fn has_function(&self, name: &str) -> bool {
        self.arguments(name).is_some()
    }

    /// Arguments of a kernel function.
    pub fn arguments(&self, name: &str) -> Option<u32> {
        let function = self.get(self.function_id(name)?)?;
        self.get(function.size_or_type)?.arguments()
    }

    /// Number of a kernel function's type.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.id_of(name, kind::FUNCTION)
    }

    /// Number of the type that a raw tracepoint's programs name: `btf_trace_NAME`, which the kernel keeps for each.
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        self.id_of(&format!("btf_trace_{name}"), kind::TYPEDEF)
    }

    /// Whether a raw tracepoint exists.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint_id(name).is_some()
    }

    /// Whether programs can call a helper, by its name in `enum bpf_func_id` without the prefix.
    pub fn has_helper(&self, name: &str) -> bool {
        self.enumerator("bpf_func_id", &format!("BPF_FUNC_{name}"))
            .is_some()
    }

    /// Whether kernel TLS takes a record from TCP when a process reads it (`struct tls_strparser`, 6.0), not before.
    pub fn takes_tls_records(&self) -> bool {
        self.offset("tls_strparser.anchor").is_ok()
    }

    /// Whether an enumerator exists, of whatever enum, an anonymous one included.
    pub fn has_constant(&self, name: &str) -> bool {
        self.files()
            .flat_map(|file| file.ids().filter_map(|id| file.get(id)))
            .flat_map(Type::enumerators)
            .any(|(found, _)| self.name(found) == Some(name.as_bytes()))
    }

    /// Value of an enumerator.
    pub(super) fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        self.named(of)
            .flat_map(Type::enumerators)
            .find(|(found, _)| self.name(*found) == Some(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The kernel's file before the module's.
    fn files(&self) -> impl Iterator<Item = &Btf> {
        std::iter::once(&*self.kernel).chain(&self.module)
    }

    fn get(&self, id: u32) -> Option<Type<'_>> {
        self.files().find_map(|file| file.get(id))
    }

    /// (A module's file holds the names behind the kernel's: it is asked first.)
    fn name(&self, at: u32) -> Option<&[u8]> {
        let module = self.module.as_ref().and_then(|module| module.name(at));
        module.or_else(|| self.kernel.name(at))
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Type<'a>> {
        self.ids_named(name).filter_map(|id| self.get(id))
    }

    fn ids_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> {
        self.files().flat_map(move |file| file.named(name))
    }

    fn id_of(&self, name: &str, kind: u8) -> Option<u32> {
        self.ids_named(name)
            .find(|id| self.get(*id).is_some_and(|found| found.kind == kind))
    }
}

/// Structs within structs, and typedefs of typedefs: the kernel's own limit (`MAX_RESOLVE_DEPTH`).
const MOST_NESTED: u32 = 32;

fn read(path: &Path, kernel: Option<&Btf>) -> Result<Btf, TypesError> {
    let broken = |reason: String| TypesError::NoBtf {
        path: path.display().to_string(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
    Btf::new(bytes, kernel).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_named() {
        let types = KernelTypes::of_running_kernel().expect("BTF");
        let error = types
            .offset("tcp_sock.no_such_field")
            .expect_err("not there");
        assert!(
            error.to_string().contains("tcp_sock.no_such_field"),
            "{error}"
        );
        assert!(types.offset("no_such_struct.x").is_err());
    }

    #[test]
    fn garbage_is_no_btf() {
        let path = std::env::temp_dir().join(format!("observer-btf-{}", std::process::id()));
        std::fs::write(&path, [0xa5; 64]).expect("write");
        assert!(matches!(
            KernelTypes::from_path(&path),
            Err(TypesError::NoBtf { .. })
        ));
        std::fs::remove_file(&path).expect("remove");
    }
}
