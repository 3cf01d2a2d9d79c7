//! Wherever something is cut, what is read is what was there.

use crate::{
    mutation::Random,
    tls::{
        ClientHello, ContentType, Record, Secret, ServerHello, Side, Suite, Version,
        connection::Connection,
        hello::encrypted_extensions,
        key::{Agreed, Key, Plain},
        messages::Messages,
        not_after,
    },
};

/// A vector with its length in so many bytes.
fn vector(length: usize, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u32).to_be_bytes();
    [&size[4 - length..], content].concat()
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &vector(2, content)].concat()
}

pub(super) fn client_hello() -> Vec<u8> {
    let name = [&[0][..], &vector(2, b"Shop.Example")].concat();
    let extensions = [
        extension(0x0a0a, &[]),
        extension(0, &vector(2, &name)),
        extension(
            16,
            &vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat()),
        ),
        extension(35, &[1, 2, 3]),
        extension(43, &vector(1, &[0x7a, 0x7a, 3, 4, 3, 3])),
        extension(42, &[]),
        extension(41, &[0; 40]),
    ]
    .concat();
    [
        &[3, 3][..],
        &[9; 32],
        &vector(1, &[5; 32]),
        &vector(2, &[0x13, 1]),
        &vector(1, &[0]),
        &vector(2, &extensions),
    ]
    .concat()
}

#[test]
fn a_client_s_hello_is_read_as_far_as_it_goes() {
    let body = client_hello();
    let whole = ClientHello::read(&body).unwrap();
    assert_eq!(
        whole,
        ClientHello {
            random: [9; 32],
            version: Version::TLS_13,
            session_id: vec![5; 32],
            server_name: Some("shop.example".into()),
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            ticket: true,
            pre_shared_key: true,
            early_data: true,
            whole: true,
        }
    );
    for to in 0..body.len() {
        let Some(part) = ClientHello::read(&body[..to]) else {
            assert!(to < 34);
            continue;
        };
        // Before the extensions, an old hello ends.
        assert!(to >= 34 && part.whole == (to == 73), "{to}");
        assert!(part.server_name.is_none() || part.server_name == whole.server_name);
        assert!(part.protocols.is_empty() || part.protocols == whole.protocols);
        assert!(part.session_id.is_empty() || part.session_id == whole.session_id);
    }
}

#[test]
fn a_server_s_hello_is_read_as_far_as_it_goes() {
    let extensions = [
        extension(16, &vector(2, &vector(1, b"h2"))),
        extension(22, &[]),
        extension(23, &[]),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[8; 32],
        &vector(1, &[6; 32]),
        &[0xc0, 0x2f, 0],
        &vector(2, &extensions),
    ]
    .concat();
    let whole = ServerHello::read(&body).unwrap();
    assert!(whole.whole && whole.encrypt_then_mac && whole.extended_master_secret && !whole.retry);
    assert_eq!((whole.suite, whole.version), (0xc02f, Version::TLS_12));
    assert_eq!(whole.protocol.as_deref(), Some(&b"h2"[..]));
    for to in 0..body.len() {
        match ServerHello::read(&body[..to]) {
            None => assert!(to < 69),
            // One without extensions is whole.
            Some(part) => assert!(part.suite == 0xc02f && part.whole == (to == 70), "{to}"),
        }
    }
    let extensions = [
        extension(16, &vector(2, &vector(1, b"h2"))),
        extension(42, &[]),
    ]
    .concat();
    let said = encrypted_extensions(&vector(2, &extensions));
    assert_eq!(said, (Some(b"h2".to_vec()), true));
}

#[test]
fn an_end_of_a_certificate_is_read_from_its_beginning() {
    let time = |tag: u8, text: &str| [&[tag][..], &[text.len() as u8], text.as_bytes()].concat();
    let sequence = |content: &[u8]| [&[0x30, content.len() as u8][..], content].concat();
    let ends = [
        (time(0x17, "491231235959Z"), 2_524_607_999),
        (time(0x18, "20501231235959Z"), 2_556_143_999),
    ];
    for (end, seconds) in ends {
        let validity = sequence(&[time(0x17, "240101000000Z"), end].concat());
        for version in [&[0xa0, 3, 2, 1, 2][..], &[]] {
            let before = [version, &[2, 1, 7], &[0x30, 0], &[0x30, 0], &validity].concat();
            let body = [&before[..], &[0x30, 20]].concat();
            let certificate = sequence(&sequence(&[&body[..], &[0; 20]].concat()));
            assert_eq!(not_after(&certificate), Some(seconds));
            for to in 0..certificate.len() {
                let read = not_after(&certificate[..to]);
                assert_eq!(read, (to >= 4 + before.len()).then_some(seconds), "{to}");
            }
        }
    }
}

#[test]
fn messages_are_the_same_however_records_cut_them() {
    let mut random = Random(11);
    for _ in 0..200 {
        let bodies: Vec<_> = (0..1 + random.below(5))
            .map(|_| {
                let length = random.below(6000);
                (random.byte(), random.bytes(length))
            })
            .collect();
        let stream: Vec<u8> = bodies
            .iter()
            .flat_map(|(kind, body)| [&[*kind][..], &vector(3, body)].concat())
            .collect();
        let mut messages = Messages::default();
        let mut seen = Vec::new();
        let mut left = &stream[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at((1 + random.below(2000)).min(left.len()));
            messages.feed(piece, 0, |message| {
                seen.push((message.kind, message.body.to_vec()))
            });
            left = rest;
        }
        let kept = bodies
            .into_iter()
            .map(|(kind, mut body)| {
                body.truncate(4096);
                (kind, body)
            })
            .collect::<Vec<_>>();
        assert!(seen == kept);
    }
}

#[test]
fn a_message_whose_middle_is_missing_ends_where_it_ends() {
    let mut messages = Messages::default();
    let mut seen = Vec::new();
    let mut say = |messages: &mut Messages, bytes: &[u8], missing| {
        messages.feed(bytes, missing, |message| {
            seen.push((message.kind, message.body.to_vec()));
        });
    };
    say(&mut messages, &[11, 0, 0, 10, 1, 2], 6);
    say(&mut messages, &[9, 9, 20, 0, 0, 1, 7], 0);
    // The next message's header is missing.
    say(&mut messages, &[4, 0, 0, 2, 1], 3);
    assert!(messages.is_lost());
    say(&mut messages, &[24, 0, 0, 1, 0], 0);
    messages.find_again(&[24, 0, 0, 1, 0, 0]);
    assert!(messages.is_lost());
    messages.find_again(&[24, 0, 0, 1, 0]);
    assert!(!messages.is_lost());
    assert_eq!(seen, [(11, vec![1, 2]), (20, vec![7]), (4, vec![1])]);
}

/// Keys of every way to protect a record, and records that are made with them.
fn suites() -> Vec<&'static Suite> {
    [
        0x1301, 0x1302, 0x1303, 0x1304, 0x1305, 0xc02f, 0xc030, 0xcca8, 0xc09c, 0xc0a1, 0x2f, 0x3d,
        0xc028,
    ]
    .map(|number| Suite::of(number).unwrap())
    .to_vec()
}

fn key_of(suite: &'static Suite) -> Key {
    if suite.name.contains("WITH") {
        let server = ServerHello {
            random: [2; 32],
            version: Version::TLS_12,
            suite: suite.number,
            ..ServerHello::default()
        };
        let agreed = Agreed {
            suite,
            client_random: &[1; 32],
            server: &server,
        };
        let master = Secret::new(&[3; 48]).unwrap();
        Key::of_master_secret(&agreed, &master, Side::Client).unwrap()
    } else {
        let length = if suite.number == 0x1302 { 48 } else { 32 };
        Key::of_traffic_secret(suite, &Secret::new(&vec![3; length]).unwrap()).unwrap()
    }
}

#[test]
fn every_part_of_a_record_is_that_part_of_it() {
    let mut random = Random(5);
    let length = 700;
    for suite in suites() {
        let key = key_of(suite);
        // What the key stream makes of arbitrary bytes is their plaintext, whatever it says; the tag is another matter.
        let bytes = [&[23, 3, 3, 2, 0xbc][..], &random.bytes(length)].concat();
        let record = |first: usize, last: usize| Record {
            at: 0,
            content_type: ContentType::ApplicationData,
            version: 0x0303,
            length,
            first: &bytes[5..5 + first],
            last: &bytes[5 + length - last..],
        };
        let cbc = suite.name.contains("CBC");
        let Some(whole) = key.part(7, &record(length, if cbc { 32 } else { 0 })) else {
            // 700 bytes are no whole number of blocks.
            assert!(cbc, "{}", suite.name);
            continue;
        };
        assert!(!whole.proven);
        for _ in 0..300 {
            let (first, last) = (random.below(length), random.below(length));
            let part = key.part(7, &record(first, last)).unwrap();
            let Plain { last_at, .. } = part;
            assert_eq!(
                part.first,
                whole.first[..part.first.len()],
                "{}",
                suite.name
            );
            let tail = &whole.first[last_at.min(whole.first.len())..];
            assert_eq!(part.last, tail[..part.last.len()], "{}", suite.name);
            assert!(last_at >= part.first.len());
            assert!(last_at + part.last.len() <= part.length);
            assert_eq!(part.length, whole.length, "{}", suite.name);
            assert!(
                part.first.len() + 48 >= first.min(part.length),
                "{}",
                suite.name
            );
        }
    }
}

#[test]
fn a_suite_is_found_by_its_number_and_no_other() {
    let known = (0..=u16::MAX).filter_map(|number| {
        let suite = Suite::of(number)?;
        assert_eq!(suite.number, number);
        Some(suite)
    });
    let known: Vec<_> = known.map(|suite| suite.name).collect();
    let names: std::collections::HashSet<_> = known.iter().collect();
    assert!(names.len() == known.len() && known.len() > 100);
    assert_eq!(
        Suite::of(0xc02f).unwrap().name,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    );
    // Triple DES.
    assert_eq!(Suite::of(0x000a), None);
}

#[test]
fn nothing_is_known_of_a_connection_without_hellos() {
    let connection = Connection::new();
    assert!(connection.version().is_none() && connection.suite().is_none());
}
