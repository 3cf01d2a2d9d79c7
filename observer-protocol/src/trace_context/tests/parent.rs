//! `traceparent`: versions, digits, flags.

use crate::{
    fuzzing,
    mutation::{self, Random},
    trace_context::{TraceParent, parse_traceparent},
};

const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PARSED: TraceParent = TraceParent {
    trace_id: [
        0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31,
        0x9c,
    ],
    parent_id: [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31],
    flags: 1,
};

/// What pretends to be a version, with the rest of a valid value and what follows it.
fn versioned(version: &str, behind: &str) -> Option<TraceParent> {
    parse_traceparent(&format!("{version}{}{behind}", &VALID[2..]))
}

#[test]
fn a_valid_traceparent_is_read() {
    assert_eq!(parse_traceparent(VALID), Some(PARSED));
    assert_eq!(
        parse_traceparent(&format!(" \t{VALID}\t ")),
        Some(PARSED),
        "optional whitespace around the value"
    );
}

#[test]
fn every_byte_is_two_lower_case_digits() {
    for flags in 0..=255u8 {
        let parsed = parse_traceparent(&format!("{}{flags:02x}", &VALID[..53])).unwrap();
        assert_eq!((parsed.flags, parsed.trace_id), (flags, PARSED.trace_id));
        assert_eq!(
            parsed.sampled(),
            flags % 2 == 1,
            "the lowest bit alone: {flags:#x}"
        );
    }
    let digits = [0, 1, 3, 34, 36, 51, 53, 54];
    for position in digits {
        for byte in (b' '..=b'~').map(char::from) {
            let mut value = VALID.to_owned();
            value.replace_range(position..=position, byte.encode_utf8(&mut [0; 4]));
            // A version above 0 is as good, in the same length.
            let valid = matches!(byte, '0'..='9' | 'a'..='f');
            assert_eq!(parse_traceparent(&value).is_some(), valid, "{value:?}");
        }
    }
}

#[test]
fn hyphens_stand_between_the_fields_and_nothing_else_does() {
    for position in [2, 35, 52] {
        for other in ["_", "0", "f", " ", "+"] {
            let mut value = VALID.to_owned();
            value.replace_range(position..=position, other);
            assert_eq!(parse_traceparent(&value), None, "{value:?}");
        }
    }
}

#[test]
fn version_00_has_nothing_behind_its_flags() {
    for behind in ["-", "-extra", "0", ".", " x", "-00"] {
        assert_eq!(versioned("00", behind), None, "{behind:?}");
    }
}

#[test]
fn a_future_version_is_read_by_its_prefix_which_ends_or_goes_on_with_a_hyphen() {
    for version in ["01", "0f", "10", "7f", "cc", "fe"] {
        for behind in ["", "-", "-what-comes-then", "-\u{e9}"] {
            assert_eq!(
                versioned(version, behind),
                Some(PARSED),
                "{version} {behind:?}"
            );
        }
        for behind in [".what", "0", "_", " x"] {
            assert_eq!(versioned(version, behind), None, "{version} {behind:?}");
        }
    }
}

#[test]
fn version_ff_is_forbidden() {
    for behind in ["", "-", "-what-comes-then"] {
        assert_eq!(versioned("ff", behind), None, "{behind:?}");
    }
    assert!(versioned("fe", "").is_some() && versioned("0f", "").is_some());
}

#[test]
fn an_id_of_zeros_is_none_and_one_bit_is_enough() {
    let value = |trace: &str, parent: &str| parse_traceparent(&format!("00-{trace}-{parent}-00"));
    let (no_trace, no_parent) = ("0".repeat(32), "0".repeat(16));
    let (first_trace, last_trace) = (
        format!("8{}", "0".repeat(31)),
        format!("{}1", "0".repeat(31)),
    );
    let (first_parent, last_parent) = (
        format!("8{}", "0".repeat(15)),
        format!("{}1", "0".repeat(15)),
    );
    assert_eq!(value(&no_trace, &no_parent), None);
    for trace in [&first_trace, &last_trace] {
        assert_eq!(value(trace, &no_parent), None);
        for parent in [&first_parent, &last_parent] {
            assert_eq!(value(&no_trace, parent), None);
            let parsed = value(trace, parent).unwrap();
            assert_eq!(
                parsed.trace_id[0],
                if trace == &first_trace { 0x80 } else { 0 }
            );
            assert_eq!(
                parsed.parent_id[7],
                if parent == &last_parent { 1 } else { 0 }
            );
        }
    }
}

#[test]
fn a_trace_id_whose_halves_are_equal_is_one() {
    let value = "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01";
    let half = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    let read = parse_traceparent(value).unwrap();
    assert_eq!(read.trace_id, [half, half].concat()[..]);
}

#[test]
fn every_prefix_is_none() {
    for whole in [VALID, &VALID.replacen("00", "cc", 1)] {
        for cut in 0..VALID.len() {
            assert_eq!(parse_traceparent(&whole[..cut]), None, "cut at {cut}");
        }
    }
}

#[test]
fn what_is_not_ascii_is_none() {
    for bad in [
        "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        "\u{e9}-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{661}",
    ] {
        assert_eq!(parse_traceparent(bad), None, "{bad:?}");
    }
}

#[test]
fn the_parsers_of_contexts_keep_their_word_over_mutated_values() {
    const VALUES: &[&[u8]] = &[
        VALID.as_bytes(),
        b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1-b7ad6b7169203331",
        b"8448eb211c80319c-b7ad6b7169203331",
        b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7, t@v=x ,,a=1",
    ];
    mutation::keeps_its_word(
        Random(0x0b5e_17e2_0000_0004),
        10_000,
        |random| {
            let mut value = VALUES[random.below(VALUES.len())].to_vec();
            random.mutate(&mut value, b"0-9afgFA,= \t\xff\x7f@+");
            value
        },
        fuzzing::context,
    );
}
