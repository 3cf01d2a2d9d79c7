//! The search in a library made for it, whole and damaged.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    made::{self, Made, WRITER},
    *,
};

fn found(made: &Made) -> Result<KeyPoints, Unknown> {
    find(&made::file(&made.bytes()))
}

#[test]
fn the_function_that_gets_the_label_is_the_point() {
    for absolute in [false, true] {
        let made = Made {
            absolute,
            ..Made::default()
        };
        let found = found(&made).unwrap();
        let point = KeyPoint {
            kind: Kind::LogSecret,
            offset: WRITER,
            address: made.base() + WRITER,
            found_by: FoundBy::Labels(1),
        };
        assert_eq!(found.points, [point]);
        let [label] = found.labels[..] else {
            panic!("{:?}", found.labels);
        };
        assert_eq!(label.label, Label::ClientRandom);
        assert_eq!(label.address, made.base() + label.offset);
        assert!(found.build_id.is_some());
    }
}

#[test]
fn what_is_not_certain_is_no_point() {
    let other = WRITER + 0x20;
    let two = Made {
        calls: vec![(Label::ClientRandom, WRITER), (Label::ClientRandom, other)],
        ..Made::default()
    };
    assert_eq!(found(&two), Err(Unknown::Ambiguous(2)));
    let without_frames = Made {
        frames: false,
        ..Made::default()
    };
    assert_eq!(found(&without_frames), Err(Unknown::NoCall));
    let two_arguments = Made {
        // mov %rdx, %rbx; ret
        writer: vec![0x48, 0x89, 0xd3, 0xc3],
        ..Made::default()
    };
    assert_eq!(found(&two_arguments), Err(Unknown::NoFunction));
    let another = Made {
        calls: vec![(Label::Exporter, WRITER)],
        ..Made::default()
    };
    assert_eq!(found(&another), Err(Unknown::NoCall));
    let none = Made {
        calls: Vec::new(),
        ..Made::default()
    };
    assert_eq!(found(&none), Err(Unknown::NoLabels));
}

#[test]
fn a_table_of_functions_that_overlap_costs_little() {
    let begun = Instant::now();
    let crowded = Made {
        overlapping: 200_000,
        ..Made::default()
    };
    assert!(matches!(found(&crowded), Err(Unknown::TooMany(_))));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let one = Made {
        overlapping: 1,
        ..Made::default()
    };
    assert!(matches!(found(&one), Err(Unknown::TooMany(_))));
}

#[test]
fn a_call_into_the_middle_of_a_function_is_no_point() {
    let mut bytes = Made::default().bytes();
    // The distance of the call, which stands behind two moves and the load.
    let at = 0x410 + 6 + 7 + 1;
    assert_eq!(bytes[at - 1], 0xe8);
    bytes[at] += 3;
    assert_eq!(find(&made::file(&bytes)), Err(Unknown::NoFunction));
}

#[test]
fn this_program_has_block_functions_and_no_labels_of_c() {
    let found = find(&File::open("/proc/self/exe").unwrap()).unwrap();
    for kind in [Kind::Sha256Blocks, Kind::Sha512Blocks] {
        assert!(
            found.points.iter().any(|point| point.kind == kind),
            "{kind:?}"
        );
    }
    assert!(
        found
            .points
            .iter()
            .all(|point| point.found_by == FoundBy::Symbol)
    );
}

#[test]
fn without_symbols_the_same_block_functions_are_found_by_their_constants() {
    let place = |points: &KeyPoints| -> Vec<(u64, Kind)> {
        let points = points.points.iter();
        points.map(|point| (point.offset, point.kind)).collect()
    };
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    let by_symbols = find(&made::file(&bytes)).unwrap();
    // No sections: neither symbols nor names are left (e_shoff, e_shnum).
    bytes[40..48].fill(0);
    bytes[60..62].fill(0);
    let found = find(&made::file(&bytes)).unwrap();
    assert_eq!(place(&found), place(&by_symbols));
    assert!(
        found
            .points
            .iter()
            .all(|point| point.found_by == FoundBy::Constants)
    );
    // What says nothing of TLS is left alone: these texts are in the file for this program's own use.
    for part in ["_SECRET", "CLIENT_RANDOM"] {
        let places: Vec<usize> = memchr::memmem::find_iter(&bytes, part).collect();
        for at in places {
            bytes[at] = b'?';
        }
    }
    assert_eq!(find(&made::file(&bytes)), Err(Unknown::NoLabels));
}

/// A point that a damaged file gives is still where a function begins, as far as the file says.
fn look(bytes: &[u8]) -> bool {
    let found = find(&made::file(bytes));
    if let Ok(found) = &found {
        for point in &found.points {
            assert!(point.offset < bytes.len() as u64, "{point:?}");
        }
    }
    found.is_ok()
}

#[test]
fn a_file_that_is_cut_anywhere_gives_a_reason() {
    let whole = Made::default().bytes();
    assert!(look(&whole));
    // Its last bytes are section headers: without one of these it is cut.
    for end in 0..whole.len() {
        assert!(!look(&whole[..end]), "{end}");
    }
}

#[test]
fn damaged_files_neither_panic_nor_take_long() {
    let begun = Instant::now();
    for absolute in [false, true] {
        let whole = Made {
            absolute,
            ..Made::default()
        }
        .bytes();
        let mut damaged = whole.clone();
        let mut gave = 0;
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                damaged[at] ^= flip;
                gave += u32::from(look(&damaged));
                damaged[at] = whole[at];
            }
        }
        // Most bytes are padding, which nobody reads; damaged headers give nothing.
        let tried = 3 * whole.len() as u32;
        assert!(gave > tried / 2 && gave < tried, "{gave} of {tried}");
    }
    assert!(begun.elapsed() < Duration::from_secs(120));
}

#[test]
fn numbers_of_a_header_may_be_anything() {
    let whole = Made::default().bytes();
    // Every eight bytes of the file and program headers, the section headers, and the table for unwinding.
    let places = (16..176).chain(0x740..0x7c0).chain(0x800..whole.len() - 8);
    for at in places {
        for value in [u64::MAX, u64::MAX >> 1, 1 << 63, 1 << 40, 0] {
            let mut damaged = whole.clone();
            damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
            look(&damaged);
        }
    }
}

#[test]
fn a_copy_is_not_searched_again_and_a_forged_build_id_is_not_believed() {
    let made = Made::default();
    let mut cache = Cache::default();
    let first = made::file(&made.bytes());
    let found = cache.find(&first).unwrap();
    assert_eq!(cache.find(&first), Ok(Arc::clone(&found)));
    // Another inode, the same bytes.
    let copy = made::file(&made.bytes());
    assert!(Arc::ptr_eq(&cache.find(&copy).unwrap(), &found));
    assert_eq!(cache.searches(), 1);

    // The same build id: other code where the point is, and a label somewhere else.
    let forged = Made {
        writer: vec![0x90, 0x48, 0x89, 0xd3, 0x89, 0xcd, 0xc3],
        ..Made::default()
    };
    // All stay open: an inode's number is soon used again.
    let forged = made::file(&forged.bytes());
    assert!(!Arc::ptr_eq(&cache.find(&forged).unwrap(), &found));
    assert_eq!(cache.searches(), 2);
    let moved = Made {
        calls: vec![
            (Label::Exporter, WRITER + 0x20),
            (Label::ClientRandom, WRITER),
        ],
        ..Made::default()
    };
    let moved = made::file(&moved.bytes());
    let other = cache.find(&moved).unwrap();
    assert_eq!(other.labels.len(), 2);
    assert_eq!(cache.searches(), 3);

    // Why there is nothing is remembered, too.
    let nothing = made::file(b"\x7fELF");
    for _ in 0..2 {
        assert_eq!(cache.find(&nothing), Err(Unknown::NotElf));
    }
    assert_eq!(cache.searches(), 4);
}

#[test]
fn the_cache_is_bounded_and_forgets_the_oldest() {
    let mut cache = Cache::default();
    let bytes = Made {
        build_id: None,
        calls: Vec::new(),
        ..Made::default()
    }
    .bytes();
    let files: Vec<File> = (0..=512).map(|_| made::file(&bytes)).collect();
    for file in &files {
        assert_eq!(cache.find(file), Err(Unknown::NoLabels));
    }
    assert_eq!(cache.searches(), 513);
    cache.find(&files[512]).unwrap_err();
    assert_eq!(cache.searches(), 513);
    cache.find(&files[0]).unwrap_err();
    assert_eq!(cache.searches(), 514);
}
