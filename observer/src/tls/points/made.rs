//! A library made for tests: a few hundred bytes with all that is looked for.

use std::{
    fs::{self, File},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Label;

/// Where the parts of the file are; its addresses are the same, plus [`Made::base`].
const TEXT: u64 = 0x400;
const LABELS: u64 = 0x600;
const FRAMES: u64 = 0x740;
const NAMES: u64 = 0x7c0;
const SECTIONS: u64 = 0x800;
/// The function that is looked for, and the one that calls it.
pub(super) const WRITER: u64 = TEXT + 0x100;
const CALLER: u64 = TEXT + 0x10;

/// `mov %rax, %rdx; mov %rax, %rcx`
const ARGUMENTS: [u8; 6] = [0x48, 0x89, 0xc2, 0x48, 0x89, 0xc1];

/// What the library is like.
#[derive(Clone)]
pub(super) struct Made {
    /// Labels that are passed, each with the function that gets it.
    pub(super) calls: Vec<(Label, u64)>,
    /// The code of each function that is called.
    pub(super) writer: Vec<u8>,
    /// Labels are named by their addresses, and the file says where it is loaded.
    pub(super) absolute: bool,
    /// It has a table for unwinding.
    pub(super) frames: bool,
    /// So many more functions, which all contain the caller.
    pub(super) overlapping: u32,
    pub(super) build_id: Option<u8>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            calls: vec![(Label::ClientRandom, WRITER)],
            // mov %rdx, %rbx; mov %ecx, %ebp; ret
            writer: vec![0x48, 0x89, 0xd3, 0x89, 0xcd, 0xc3],
            absolute: false,
            frames: true,
            overlapping: 0,
            build_id: Some(7),
        }
    }
}

impl Made {
    pub(super) fn base(&self) -> u64 {
        if self.absolute { 0x40_0000 } else { 0 }
    }

    /// The code of the caller, and the labels.
    fn code(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut code, mut labels) = (Vec::new(), Vec::new());
        for (label, target) in &self.calls {
            let place = LABELS + labels.len() as u64;
            labels.extend(label.text().as_bytes());
            labels.push(0);
            code.extend(ARGUMENTS);
            if self.absolute {
                // mov $label, %esi
                code.push(0xbe);
                code.extend(((self.base() + place) as u32).to_le_bytes());
            } else {
                // lea label(%rip), %rsi
                let behind = CALLER + code.len() as u64 + 7;
                code.extend([0x48, 0x8d, 0x35]);
                code.extend(((place - behind) as u32).to_le_bytes());
            }
            let behind = CALLER + code.len() as u64 + 5;
            code.push(0xe8);
            code.extend((target.wrapping_sub(behind) as u32).to_le_bytes());
        }
        code.push(0xc3);
        (code, labels)
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let base = self.base();
        let mut file = vec![0; SECTIONS as usize + 5 * 64];
        let put = |file: &mut Vec<u8>, at: u64, bytes: &[u8]| {
            file[at as usize..][..bytes.len()].copy_from_slice(bytes);
        };
        let (code, labels) = self.code();
        put(&mut file, CALLER, &code);
        put(&mut file, LABELS, &labels);
        let mut functions = vec![(CALLER, code.len())];
        for (_, target) in &self.calls {
            if !functions.iter().any(|(start, _)| start == target) {
                put(&mut file, *target, &self.writer);
                functions.push((*target, self.writer.len()));
            }
        }
        let more = (0..self.overlapping).map(|one| (CALLER - 1, code.len() + one as usize));
        functions.extend(more);
        let (place, loaded) = if self.overlapping > 0 {
            (file.len() as u64, true)
        } else {
            (FRAMES, false)
        };
        let frames = frames(&functions, place);
        if loaded {
            file.extend(&frames);
        } else {
            put(&mut file, place, &frames);
        }
        let end = if loaded { file.len() as u64 } else { NAMES };
        // Header: 64 bits, little-endian; ET_DYN or ET_EXEC; x86-64.
        put(&mut file, 0, b"\x7fELF\x02\x01\x01");
        put(
            &mut file,
            16,
            &[if self.absolute { 2 } else { 3 }, 0, 62, 0, 1],
        );
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 40, &SECTIONS.to_le_bytes());
        put(&mut file, 52, &[64, 0, 56, 0, 2, 0, 64, 0, 5, 0, 4, 0]);
        // Code to be executed, and all else to be read.
        for (at, flags, from, to) in [(64, 5, TEXT, LABELS), (120, 4, LABELS, end)] {
            put(&mut file, at, &[1, 0, 0, 0, flags]);
            for (field, value) in [
                (8, from),
                (16, base + from),
                (32, to - from),
                (40, to - from),
            ] {
                put(&mut file, at + field, &u64::to_le_bytes(value));
            }
        }
        let names = b"\0.text\0.eh_frame\0.note.gnu.build-id\0";
        put(&mut file, NAMES, names);
        let note = FRAMES - 0x20;
        if let Some(id) = self.build_id {
            put(&mut file, note, &[4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0]);
            put(&mut file, note + 12, &[b'G', b'N', b'U', 0, id, id, id, id]);
        }
        let sections = [
            (1, TEXT, LABELS - TEXT),
            (if self.frames { 7 } else { 0 }, place, frames.len() as u64),
            (if self.build_id.is_some() { 17 } else { 0 }, note, 20),
            (0, NAMES, names.len() as u64),
        ];
        for (index, (name, at, size)) in (1..).zip(sections) {
            let header = SECTIONS + 64 * index;
            put(&mut file, header, &[name, 0, 0, 0, 1]);
            for (field, value) in [(16, base + at), (24, at), (32, size)] {
                put(&mut file, header + field, &u64::to_le_bytes(value));
            }
        }
        file
    }
}

/// The table for unwinding, as compilers write it.
fn frames(functions: &[(u64, usize)], place: u64) -> Vec<u8> {
    // Version 1, "zR": addresses are distances in four bytes.
    let mut table = vec![
        20, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b,
    ];
    table.resize(24, 0);
    for (start, size) in functions {
        let at = table.len() as u64;
        table.extend(20u32.to_le_bytes());
        table.extend((at as u32 + 4).to_le_bytes());
        table.extend((start.wrapping_sub(place + at + 8) as u32).to_le_bytes());
        table.extend((*size as u32).to_le_bytes());
        table.resize(at as usize + 24, 0);
    }
    table.extend([0; 4]);
    table
}

/// An open file of these bytes, without a name.
pub(super) fn file(bytes: &[u8]) -> File {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path: PathBuf = std::env::temp_dir().join(format!(
        "observer-points-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file
}
