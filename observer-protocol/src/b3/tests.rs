//! The forms of B3, single and multiple, and what is neither.

use super::{Multiple, parse_b3};
use crate::trace_context::TraceParent;

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const TRACE_ID: [u8; 16] = [
    0x80, 0xf1, 0x98, 0xee, 0x56, 0x34, 0x3b, 0xa8, 0x64, 0xfe, 0x8b, 0x2a, 0x57, 0xd3, 0xef, 0xf7,
];
const SPAN: &str = "e457b5a2e4d86bd1";
const SPAN_ID: [u8; 8] = [0xe4, 0x57, 0xb5, 0xa2, 0xe4, 0xd8, 0x6b, 0xd1];
const GRANDPARENT: &str = "05e3ac9a4f6e3b90";

/// What the valid ids say, with this decision.
fn parsed(sampled: bool) -> Option<TraceParent> {
    Some(TraceParent {
        trace_id: TRACE_ID,
        parent_id: SPAN_ID,
        flags: u8::from(sampled),
    })
}

#[test]
fn each_sampling_state_is_read_with_and_without_a_grandparent() {
    for (state, sampled) in [("1", true), ("d", true), ("0", false)] {
        let value = format!("{TRACE}-{SPAN}-{state}");
        assert_eq!(parse_b3(&value), parsed(sampled), "{value}");
        assert_eq!(
            parse_b3(&format!("{value}-{GRANDPARENT}")),
            parsed(sampled),
            "{value}"
        );
    }
    assert_eq!(
        parse_b3(&format!("{TRACE}-{SPAN}")),
        parsed(true),
        "the decision is deferred to us"
    );
    assert!(parsed(true).is_some_and(|parent| parent.sampled()));
    assert!(parsed(false).is_some_and(|parent| !parent.sampled()));
}

#[test]
fn digits_may_have_either_case_and_the_value_space_around_it() {
    let value = format!("{TRACE}-{SPAN}-1-{GRANDPARENT}").to_uppercase();
    assert_eq!(parse_b3(&value), parsed(true));
    assert_eq!(parse_b3(&format!(" \t{TRACE}-{SPAN}\t ")), parsed(true));
}

#[test]
fn a_trace_id_has_32_digits_or_the_lower_16() {
    for digits in 0..=33 {
        let id = &format!("{TRACE}0")[..digits];
        let read = parse_b3(&format!("{id}-{SPAN}"));
        assert_eq!(read.is_some(), matches!(digits, 16 | 32), "{digits}");
    }
    let short = parse_b3(&format!("{}-{SPAN}", &TRACE[16..])).unwrap();
    assert_eq!(short.trace_id[..8], [0; 8]);
    assert_eq!(short.trace_id[8..], TRACE_ID[8..]);
}

#[test]
fn a_span_id_has_16_digits() {
    for digits in 0..=32 {
        let id = &TRACE[..digits];
        let parent = parse_b3(&format!("{TRACE}-{id}"));
        assert_eq!(parent.is_some(), digits == 16, "{digits}");
        let grandparent = parse_b3(&format!("{TRACE}-{SPAN}-1-{id}"));
        assert_eq!(grandparent.is_some(), digits == 16, "{digits}");
    }
}

#[test]
fn an_id_of_zeros_is_none_and_one_bit_is_enough() {
    let (no_trace, no_span) = ("0".repeat(32), "0".repeat(16));
    let (trace, span) = (
        format!("{}1", "0".repeat(31)),
        format!("{}1", "0".repeat(15)),
    );
    assert_eq!(parse_b3(&format!("{no_trace}-{SPAN}")), None);
    assert_eq!(parse_b3(&format!("{}-{SPAN}", &no_trace[..16])), None);
    assert_eq!(parse_b3(&format!("{TRACE}-{no_span}")), None);
    assert_eq!(parse_b3(&format!("{TRACE}-{SPAN}-1-{no_span}")), None);
    let read = parse_b3(&format!("{trace}-{span}")).unwrap();
    assert_eq!((read.trace_id[15], read.parent_id[7]), (1, 1));
}

#[test]
fn what_names_no_parent_or_is_malformed_is_none() {
    for bad in [
        // A decision alone names no parent.
        "0",
        "1",
        "d",
        "",
        "-",
        "1-2-1",
        TRACE,
        &format!("{TRACE}-{SPAN}-"),
        &format!("{TRACE}-{SPAN}-2"),
        &format!("{TRACE}-{SPAN}-D"),
        &format!("{TRACE}-{SPAN}-01"),
        &format!("{TRACE}-{SPAN}-true"),
        &format!("{TRACE}-{SPAN}-1-"),
        &format!("{TRACE}-{SPAN}-1-{GRANDPARENT}-"),
        &format!("{TRACE}-{SPAN}-1-{GRANDPARENT}-1"),
        &format!("{TRACE}_{SPAN}"),
        // `from_str_radix` would take a sign.
        &format!("+{}-{SPAN}", &TRACE[1..]),
        &format!("{TRACE}-+{}", &SPAN[1..]),
        &format!("g{}-{SPAN}", &TRACE[1..]),
        &format!("{TRACE}-{}g", &SPAN[1..]),
        &format!("{TRACE}-{}\u{e9}", &SPAN[2..]),
        &format!("{TRACE} -{SPAN}"),
    ] {
        assert_eq!(parse_b3(bad), None, "{bad:?}");
    }
}

#[test]
fn a_prefix_is_none_but_where_it_is_a_shorter_form() {
    let whole = format!("{TRACE}-{SPAN}-0-{GRANDPARENT}");
    for cut in 0..whole.len() {
        let expected = match cut {
            49 => parsed(true),
            51 => parsed(false),
            _ => None,
        };
        assert_eq!(parse_b3(&whole[..cut]), expected, "cut at {cut}");
    }
}

/// These headers, noted in order, as one.
fn single(headers: &[(&str, &str)]) -> Option<Box<str>> {
    let mut multiple = Multiple::default();
    for (name, value) in headers {
        multiple.note(name.as_bytes(), value.as_bytes());
    }
    multiple.single()
}

#[test]
fn many_headers_become_one() {
    let ids = [("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)];
    let with = |more: &[(&str, &str)]| single(&[&ids, more].concat());
    for (more, state) in [
        (&[][..], ""),
        (&[("X-B3-Sampled", "1")], "-1"),
        (&[("X-B3-Sampled", "0")], "-0"),
        // Older senders write words.
        (&[("X-B3-Sampled", "true")], "-1"),
        (&[("X-B3-Sampled", "false")], "-0"),
        // Debug implies that it is sampled.
        (&[("X-B3-Flags", "1")], "-d"),
        (&[("X-B3-Flags", "1"), ("X-B3-Sampled", "0")], "-d"),
        // What is none of the decisions says nothing.
        (&[("X-B3-Flags", "0"), ("X-B3-Sampled", "0")], "-0"),
        (&[("X-B3-Flags", "true")], ""),
        (&[("X-B3-Sampled", "2")], ""),
        (&[("X-B3-Sampled", "")], ""),
        (&[("X-B3-Sampled", "TRUE")], ""),
        (&[("X-B3-ParentSpanId", GRANDPARENT)], ""),
    ] {
        let one = with(more).unwrap();
        assert_eq!(*one, *format!("{TRACE}-{SPAN}{state}"), "{more:?}");
        assert_eq!(parse_b3(&one), parsed(state != "-0"), "{more:?}");
    }
}

#[test]
fn the_names_of_headers_may_have_any_case_and_their_values_space() {
    let one = single(&[
        ("x-b3-traceid", &format!(" {TRACE}\t")),
        ("X-B3-SPANID", &format!("{SPAN} ")),
        ("x-B3-sAmPlEd", " 0 "),
    ]);
    assert_eq!(one, Some(format!("{TRACE}-{SPAN}-0").into()));
    let flags = [
        ("X-B3-TRACEID", TRACE),
        ("x-b3-spanid", SPAN),
        ("X-b3-FLAGS", " 1"),
    ];
    assert_eq!(single(&flags), Some(format!("{TRACE}-{SPAN}-d").into()));
}

#[test]
fn both_ids_are_needed_and_other_headers_are_none_of_them() {
    assert_eq!(single(&[]), None);
    assert_eq!(single(&[("X-B3-TraceId", TRACE)]), None);
    assert_eq!(single(&[("X-B3-SpanId", SPAN)]), None);
    assert_eq!(single(&[("X-B3-Sampled", "1"), ("X-B3-Flags", "1")]), None);
    for other in [
        "x-b3-",
        "x-b3",
        "",
        "traceid",
        "Y-B3-TraceId",
        "x_b3-traceid",
        "x-b3-traceid2",
    ] {
        assert_eq!(
            single(&[(other, TRACE), ("X-B3-SpanId", SPAN)]),
            None,
            "{other}"
        );
    }
}

#[test]
fn ids_that_are_too_long_or_no_text_are_none() {
    let ids = |trace: &[u8], span: &[u8]| {
        let mut multiple = Multiple::default();
        multiple.note(b"X-B3-TraceId", trace);
        multiple.note(b"X-B3-SpanId", span);
        multiple.single()
    };
    let (trace, span) = (TRACE.as_bytes(), SPAN.as_bytes());
    assert!(ids(trace, span).is_some());
    assert_eq!(ids(&[trace, b"0"].concat(), span), None);
    assert_eq!(ids(trace, &[span, b"0"].concat()), None);
    assert_eq!(ids(b"\xff", span), None);
    assert_eq!(ids(trace, b"\xff"), None);
}
