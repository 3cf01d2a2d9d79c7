//! What moves between kernels, from real type information: `testdata/btf` holds what `reduce.py` leaves of it. 5.10, 6.1,
//! 6.12 and 7.2 are a distribution's, 6.18 is a hardened one with changes of its own.

use std::path::PathBuf;

use super::*;
use crate::kernel::{features::Features, offsets::offsets as table};

fn kernel(version: &str) -> KernelTypes {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata/btf"]
        .iter()
        .collect();
    KernelTypes::from_path(&path.join(format!("{version}.btf"))).expect("type information")
}

fn names(tier: Tier, version: &str) -> Vec<&'static str> {
    let plan = tier.plan(&kernel(version), true).expect("every hook");
    plan.into_iter().map(|(name, _)| name).collect()
}

const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.2"];

#[test]
fn every_kernel_has_every_offset() {
    for version in KERNELS {
        let offsets = table(&kernel(version)).expect(version);
        assert_eq!(offsets.sock_daddr, 0, "{version}");
        assert_ne!(offsets.tcp_write_seq, offsets.tcp_copied_seq, "{version}");
        assert_ne!(offsets.iter_offset, offsets.iter_count, "{version}");
    }
}

#[test]
fn a_message_names_its_io_uring_request_until_7() {
    for (version, names) in KERNELS.into_iter().zip([true, true, true, true, false]) {
        let offsets = table(&kernel(version)).expect(version);
        assert_eq!(offsets.msg_iocb != u32::MAX, names, "{version}");
        assert_ne!(offsets.io_rw_address, u32::MAX, "{version}");
    }
}

#[test]
fn a_request_of_io_uring_is_read_as_the_kernel_lays_it_out() {
    let layouts = KERNELS.map(|version| {
        let offsets = table(&kernel(version)).expect(version);
        (
            offsets.request_operation,
            offsets.request_prepared,
            offsets.prepared_message,
            offsets.prepared_iterator,
            (offsets.ring_files, offsets.ring_file_count),
            offsets.node_file,
        )
    });
    let none = u32::MAX;
    assert_eq!(
        layouts[2..],
        [
            // The ring's files are an array of pointers, and their number beside it.
            (64, 184, 56, 8, (152, 184), none),
            // They are nodes; the message lies behind a vector's cache.
            (64, 184, 64, 24, (152, 144), 16),
            (64, 184, 64, 24, (152, 144), 16),
        ]
    );
    // An iterator of its own has a request only since 6.10.
    assert_eq!(layouts[1].3, none);
}

#[test]
fn requests_of_io_uring_are_followed_where_the_tier_needs_them_and_the_kernel_lets_them_be_read() {
    use crate::kernel::uring::{Followed, Lack};

    let allowed = Features {
        send_start_tracepoint: true,
        socket_tracepoints: true,
        typed_task: true,
        task_registers: true,
        many_uprobes: true,
        rings: true,
        ..Features::default()
    };
    let of = |tier, version, features: &Features| {
        let types = kernel(version);
        Followed::of(tier, &types, &table(&types).expect(version), features)
    };
    for version in ["6.12", "6.18", "7.2"] {
        assert_eq!(of(Tier::Socket, version, &allowed), Followed::Every);
        assert_eq!(of(Tier::Syscall, version, &allowed), Followed::NoNeed);
    }
    let layout = Followed::Impossible(Lack::Layout);
    assert_eq!(of(Tier::Socket, "6.1", &allowed), layout);
    assert_eq!(of(Tier::Fentry, "6.18", &allowed), Followed::NoNeed);
    assert_eq!(of(Tier::Fentry, "7.2", &allowed), Followed::Registered);
    assert_eq!(of(Tier::Kprobe, "7.2", &allowed), Followed::Registered);
    let locked_down = Features {
        lockdown: Some("confidentiality".to_owned()),
        ..allowed.clone()
    };
    let lockdown = Followed::Impossible(Lack::Lockdown);
    assert_eq!(of(Tier::Socket, "7.2", &locked_down), lockdown);
    let without = Features {
        rings: false,
        ..allowed
    };
    assert_eq!(of(Tier::Socket, "7.2", &without), Followed::NoRings);
}

#[test]
fn datagrams_are_seen_on_every_kernel_over_both_protocols() {
    let counts = KERNELS.map(|version| kernel(version).arguments("udpv6_recvmsg"));
    assert_eq!(counts, [Some(6), Some(5), Some(5), Some(4), Some(4)]);
    for (version, arguments) in KERNELS.into_iter().zip([6, 5, 5, 4, 4]) {
        let mut found = names(Tier::Fentry, version);
        found.retain(|name| name.starts_with("fentry_udp"));
        let expected = ["udp", "udp6"].into_iter().flat_map(|protocol| {
            [
                format!("fentry_{protocol}_sent"),
                format!("fentry_{protocol}_received_{arguments}"),
                format!("fentry_{protocol}_destroyed"),
            ]
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{version}");
        let kprobes = names(Tier::Kprobe, version);
        let on_datagrams = kprobes.iter().filter(|name| name.contains("_udp_"));
        assert_eq!(on_datagrams.count(), 9, "{version}");
    }
}

#[test]
fn a_receive_has_as_many_arguments_as_the_kernel_says() {
    let counts = KERNELS.map(|version| kernel(version).arguments("tcp_recvmsg"));
    assert_eq!(counts, [Some(6), Some(5), Some(5), Some(4), Some(4)]);
    let programs = KERNELS.map(|version| {
        let mut names = names(Tier::Fentry, version);
        names.retain(|name| name.starts_with("fentry_tcp_received"));
        names
    });
    assert_eq!(
        programs,
        [
            ["fentry_tcp_received_6"],
            ["fentry_tcp_received_5"],
            ["fentry_tcp_received_5"],
            ["fentry_tcp_received_4"],
            ["fentry_tcp_received_4"],
        ]
    );
}

#[test]
fn the_kprobe_reads_the_flags_of_a_receive_where_they_are() {
    for (version, expected) in [
        ("5.10", "kprobe_tcp_receiving_4"),
        ("6.1", "kprobe_tcp_receiving_3"),
        ("6.12", "kprobe_tcp_receiving_3"),
        ("7.2", "kprobe_tcp_receiving_3"),
    ] {
        let mut found = names(Tier::Kprobe, version);
        found.retain(|name| name.starts_with("kprobe_tcp_receiving"));
        assert_eq!(found, [expected], "{version}");
    }
}

#[test]
fn an_iterator_is_read_as_the_kernel_lays_it_out() {
    let layouts = KERNELS.map(|version| {
        let offsets = table(&kernel(version)).expect(version);
        (
            offsets.iter_type_size,
            offsets.iter_iovec,
            offsets.iter_ubuf,
        )
    });
    let none = u32::MAX;
    assert_eq!(
        layouts,
        [
            // A word of flags, of which ITER_IOVEC is one.
            (4, 4, none),
            // A byte; ITER_UBUF came in 6.0 as the last kind.
            (1, 0, 6),
            // It became the first in 6.4.
            (1, 1, 0),
            (1, 1, 0),
            (1, 1, 0),
        ]
    );
    for version in KERNELS {
        let offsets = table(&kernel(version)).expect(version);
        // A union: an array and a single buffer are never both there.
        if offsets.iter_ubuf != none {
            assert_eq!(offsets.iter_ubuf_pointer, offsets.iter_iov, "{version}");
        }
    }
}

#[test]
fn helpers_are_known_by_name() {
    for (version, there) in [("5.10", false), ("6.1", true), ("7.2", true)] {
        let types = kernel(version);
        assert_eq!(types.has_helper("get_current_task_btf"), there, "{version}");
        assert_eq!(types.has_helper("task_pt_regs"), there, "{version}");
        assert!(!types.has_helper("no_such_helper"));
    }
}

#[test]
fn pages_are_sent_on_their_own_before_6_5_only() {
    let sends_pages =
        KERNELS.map(|version| names(Tier::Fentry, version).contains(&"fentry_tcp_page_sent"));
    assert_eq!(sends_pages, [true, true, false, false, false]);
}

#[test]
fn the_socket_tier_begins_with_6_3_and_sees_sends_begin_from_6_16() {
    for version in ["5.10", "6.1"] {
        let missing = Tier::Socket
            .plan(&kernel(version), true)
            .expect_err(version);
        assert_eq!(missing.to_string(), "this kernel has no sock_send_length");
    }
    assert!(!names(Tier::Socket, "6.12").contains(&"socket_tcp_sending"));
    assert!(names(Tier::Socket, "6.18").contains(&"socket_tcp_sending"));
    assert!(names(Tier::Socket, "7.2").contains(&"socket_tcp_sending"));
}

#[test]
fn a_tier_loads_its_own_programs_only() {
    let prefixes = [
        (Tier::Fentry, "fentry_"),
        (Tier::Socket, "socket_"),
        (Tier::Kprobe, "kprobe_"),
        (Tier::Syscall, "syscall_"),
    ];
    for (tier, own) in prefixes {
        for (_, other) in prefixes.iter().filter(|(one, _)| *one != tier) {
            let names = names(tier, "7.2");
            assert!(names.iter().any(|name| name.starts_with(own)));
            assert!(!names.iter().any(|name| name.starts_with(other)), "{tier}");
        }
    }
    assert!(!Tier::AUTOMATIC.contains(&Tier::Syscall));
}

#[test]
fn a_trampolines_spare_is_attached_before_its_program_and_a_tracepoints_behind_it() {
    let plan = [
        ("fentry_tcp_sent", Hook::Exit("tcp_sendmsg")),
        ("process_exec", Hook::Tracepoint("sched_process_exec")),
    ];
    let names: Vec<&str> = with_spares(plan.to_vec())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let expected = [
        "fentry_tcp_sent_spare",
        "fentry_tcp_sent",
        "process_exec",
        "process_exec_spare",
    ];
    assert_eq!(names, expected);
}
