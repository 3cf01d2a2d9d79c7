//! What the kernel's type information (BTF) says: where fields lie, which functions, tracepoints and helpers there are.

use std::path::Path;

use btf_rs::{Btf, Type};

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

/// The kernel's types, parsed once.
pub struct KernelTypes {
    btf: Btf,
}

impl KernelTypes {
    /// Reads `/sys/kernel/btf/vmlinux`.
    pub fn of_running_kernel() -> Result<Self, TypesError> {
        Self::from_path(Path::new(VMLINUX))
    }

    /// Reads a BTF file.
    pub fn from_path(path: &Path) -> Result<Self, TypesError> {
        let btf = Btf::from_file(path).map_err(|error| TypesError::NoBtf {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { btf })
    }

    /// The types of a module of this kernel's, which include its own.
    pub fn of_module(&self, module: &str) -> Result<Self, TypesError> {
        let path = Path::new("/sys/kernel/btf").join(module);
        let btf = Btf::from_split_file(&path, &self.btf);
        let btf = btf.map_err(|error| TypesError::NoBtf {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { btf })
    }

    /// Byte offset of a field, given as `struct.member.member…`; members of anonymous structs and unions count as the
    /// outer one's.
    pub fn offset(&self, path: &str) -> Result<u32, TypesError> {
        let missing = || TypesError::Missing(path.to_owned());
        let mut parts = path.split('.');
        let name = parts.next().ok_or_else(missing)?;
        let types = self
            .btf
            .resolve_types_by_name(name)
            .map_err(|_| missing())?;
        let mut current = types
            .into_iter()
            .find(|candidate| matches!(candidate, Type::Struct(found) if !found.members.is_empty()))
            .ok_or_else(missing)?;
        let mut bits = 0;
        for part in parts {
            let (at, member) = self.member(&current, part).ok_or_else(missing)?;
            bits += at;
            current = member;
        }
        Ok(bits / 8)
    }

    fn member(&self, within: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(composite) | Type::Union(composite)) = within else {
            return None;
        };
        for member in &composite.members {
            let found = self.btf.resolve_name(member).unwrap_or_default();
            if found == name {
                return Some((
                    member.bit_offset(),
                    self.strip(self.btf.resolve_chained_type(member).ok()?),
                ));
            }
            if found.is_empty() {
                let inner = self.strip(self.btf.resolve_chained_type(member).ok()?);
                if let Some((at, found)) = self.member(&inner, name) {
                    return Some((member.bit_offset() + at, found));
                }
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut found: Type) -> Type {
        loop {
            let next = match &found {
                Type::Typedef(inner) => self.btf.resolve_chained_type(inner),
                Type::Const(inner) => self.btf.resolve_chained_type(inner),
                Type::Volatile(inner) => self.btf.resolve_chained_type(inner),
                _ => return found,
            };
            match next {
                Ok(next) => found = next,
                Err(_) => return found,
            }
        }
    }

    /// Size of a field in bytes, for fields whose width changed between versions.
    pub(super) fn size(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let name = parts.next()?;
        let types = self.btf.resolve_types_by_name(name).ok()?;
        let mut current = types
            .into_iter()
            .find(|candidate| matches!(candidate, Type::Struct(_)))?;
        for part in parts {
            current = self.member(&current, part)?.1;
        }
        match current {
            Type::Int(int) => Some(int.size() as u32),
            Type::Enum(found) => Some(found.size() as u32),
            _ => None,
        }
    }

    /// Whether a kernel function, with type information, exists.
    pub fn has_function(&self, name: &str) -> bool {
        self.arguments(name).is_some()
    }

    /// Arguments of a kernel function.
    pub fn arguments(&self, name: &str) -> Option<u32> {
        self.btf
            .resolve_types_by_name(name)
            .ok()?
            .into_iter()
            .find_map(|found| match found {
                Type::Func(function) => match self.btf.resolve_chained_type(&function).ok()? {
                    Type::FuncProto(prototype) => Some(prototype.parameters.len() as u32),
                    _ => None,
                },
                _ => None,
            })
    }

    /// Number of a kernel function's type.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let ids = self.btf.resolve_ids_by_name(name).ok()?;
        ids.into_iter()
            .find(|id| matches!(self.btf.resolve_type_by_id(*id), Ok(Type::Func(_))))
    }

    /// Whether a raw tracepoint exists: the kernel keeps `btf_trace_NAME` for each.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.btf
            .resolve_types_by_name(&format!("btf_trace_{name}"))
            .is_ok_and(|types| !types.is_empty())
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
        let types = (1..).map_while(|id| self.btf.resolve_type_by_id(id).ok());
        types
            .filter_map(|found| match found {
                Type::Enum(found) => Some(found),
                _ => None,
            })
            .any(|found| {
                found.members.iter().any(|member| {
                    self.btf
                        .resolve_name(member)
                        .is_ok_and(|found| found == name)
                })
            })
    }

    /// Value of an enumerator.
    pub(super) fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        self.btf
            .resolve_types_by_name(of)
            .ok()?
            .into_iter()
            .find_map(|found| match found {
                Type::Enum(found) => found
                    .members
                    .iter()
                    .find(|member| {
                        self.btf
                            .resolve_name(*member)
                            .is_ok_and(|found| found == name)
                    })
                    .map(|member| member.val()),
                _ => None,
            })
    }
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
