//! `tracestate`: what is an entry, and what goes where not all fit.

use crate::trace_context::{MAX_TRACE_STATE, join_trace_state, state::MOST_ENTRIES};

fn join(values: &[&str], limit: usize) -> Option<Box<str>> {
    join_trace_state(values.iter().map(|value| value.as_bytes()), limit)
}

/// An entry of so many bytes.
fn entry(key: char, size: usize) -> String {
    format!("{key}={}", "x".repeat(size - 2))
}

#[test]
fn headers_are_joined_in_order_without_space_and_empty_members() {
    let table: [(&[&str], Option<&str>); 8] = [
        (&[], None),
        (&["", " , ", ",,\t"], None),
        (&["a=1"], Some("a=1")),
        (&["a=1, b=2 ", "c@d=x=y"], Some("a=1,b=2,c@d=x=y")),
        (&["a=1,,b=2,", ",c=3"], Some("a=1,b=2,c=3")),
        (&["a= 1 2"], Some("a= 1 2")),
        (&["a="], Some("a=")),
        (&["~=!"], Some("~=!")),
    ];
    for (values, joined) in table {
        assert_eq!(join(values, 64).as_deref(), joined, "{values:?}");
    }
}

#[test]
fn what_is_malformed_is_discarded_whole() {
    for bad in [
        "a", "a=1,b", "=", "=1", "=1=2", "a=\u{e9}", "a=\0", "a=\x1f", "a=\x7f", "a\x01=1", "a=\t1",
    ] {
        assert_eq!(join(&["x=1", bad], 64), None, "{bad:?}");
        assert_eq!(join(&[bad, "x=1"], 64), None, "{bad:?}");
    }
}

#[test]
fn there_are_32_entries_at_most() {
    let list = |count: usize| vec!["a=1"; count].join(",");
    assert_eq!(MOST_ENTRIES, 32);
    assert_eq!(join(&[&list(32)], 512), Some(list(32).into()));
    assert_eq!(join(&[&list(33)], 512), None);
    assert_eq!(
        join(&[&list(16), "", &list(16), ",,"], 512),
        Some(list(32).into()),
        "empty members are none"
    );
    assert_eq!(join(&[&list(16), &list(17)], 512), None);
}

#[test]
fn what_just_fits_is_kept_and_one_byte_less_drops_the_last() {
    let all = "a=1,b=2,c=3";
    for (limit, left) in [
        (12, Some(all)),
        (11, Some(all)),
        (10, Some("a=1,b=2")),
        (7, Some("a=1,b=2")),
        (6, Some("a=1")),
        (3, Some("a=1")),
        (2, None),
        (0, None),
    ] {
        assert_eq!(join(&[all], limit).as_deref(), left, "{limit}");
    }
    let (fits, over) = (entry('a', MAX_TRACE_STATE), entry('a', MAX_TRACE_STATE + 1));
    assert_eq!(MAX_TRACE_STATE, 512);
    assert_eq!(join(&[&fits], MAX_TRACE_STATE), Some(fits.into()));
    assert_eq!(join(&[&over], MAX_TRACE_STATE), None);
}

#[test]
fn entries_above_128_bytes_go_first_the_last_of_them_before_the_others() {
    let (large, next, usual) = (entry('l', 129), entry('m', 129), entry('u', 128));
    let table: [(&[&str], usize, &[&str]); 6] = [
        (&["a=1", &large, "b=2"], 136, &["a=1", "b=2"]),
        (&["a=1", &large, "b=2"], 137, &["a=1", &large, "b=2"]),
        (&[&usual, "b=2", "c=3"], 132, &[&usual, "b=2"]),
        (&[&large, &next, "a=1"], 200, &[&large, "a=1"]),
        (&[&large, &next, "a=1"], 132, &["a=1"]),
        (&[&large, &usual], 128, &[&usual]),
    ];
    for (entries, limit, left) in table {
        assert_eq!(
            join(&[&entries.join(",")], limit),
            Some(left.join(",").into()),
            "{limit}"
        );
    }
}
