use super::*;

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// What is found in a block.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(Name, Option<String>)>, Broken> {
    let mut found = Vec::new();
    decoder.feed(block, true, &mut |name, value| {
        let value = value.map(|value| String::from_utf8(value.to_vec()).unwrap());
        found.push((name, value));
    })?;
    Ok(found)
}

fn known(fields: &[(Name, &str)]) -> Vec<(Name, Option<String>)> {
    let own = |(name, value): &(Name, &str)| (*name, Some((*value).to_owned()));
    fields.iter().map(own).collect()
}

/// RFC 7541 appendix C.3 and C.4: three requests, plain and in the Huffman code.
const REQUESTS: [[&str; 3]; 2] = [
    [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ],
    [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ],
];

#[test]
fn the_specifications_requests_are_read() {
    for blocks in REQUESTS {
        let mut decoder = Decoder::new(1000);
        let expected = [("http", "/"), ("http", "/"), ("https", "/index.html")];
        for (block, (scheme, path)) in blocks.iter().zip(expected) {
            assert_eq!(
                read(&mut decoder, &hex(block)),
                Ok(known(&[
                    (Name::Method, "GET"),
                    (Name::Scheme, scheme),
                    (Name::Path, path),
                    (Name::Authority, "www.example.com"),
                ]))
            );
        }
    }
}

#[test]
fn the_specifications_answers_are_read_while_its_small_table_overflows() {
    // Appendix C.5, of a table of 256 bytes.
    let blocks = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let mut decoder = Decoder::new(1000);
    for (block, status) in blocks.iter().zip(["302", "307", "200"]) {
        assert_eq!(
            read(&mut decoder, &hex(block)),
            Ok(known(&[(Name::Status, status)]))
        );
    }
}

#[test]
fn a_block_is_the_same_however_it_is_cut() {
    for blocks in REQUESTS {
        for cut in 1..12 {
            let (mut whole, mut pieces) = (Decoder::new(1000), Decoder::new(1000));
            for block in blocks {
                let block = hex(block);
                let expected = read(&mut whole, &block).unwrap();
                let mut found = Vec::new();
                let mut fragments = block.chunks(cut).peekable();
                while let Some(fragment) = fragments.next() {
                    let last = fragments.peek().is_none();
                    pieces
                        .feed(fragment, last, &mut |name, value| {
                            let value = value.map(|it| String::from_utf8(it.to_vec()).unwrap());
                            found.push((name, value));
                        })
                        .unwrap();
                }
                assert_eq!(found, expected, "cut every {cut}");
                assert_eq!(pieces.held(), 0);
            }
        }
    }
}

#[test]
fn every_prefix_of_a_block_is_incomplete() {
    for blocks in REQUESTS {
        let mut before = Decoder::new(1000);
        for block in blocks {
            let block = hex(block);
            for end in 1..block.len() {
                let mut decoder = Decoder::new(1000);
                for block in blocks.iter().take_while(|it| hex(it) != block) {
                    read(&mut decoder, &hex(block)).unwrap();
                }
                let fed = decoder.feed(&block[..end], false, &mut |_, _| {});
                assert_eq!(fed, Ok(()), "{end}");
            }
            read(&mut before, &block).unwrap();
        }
    }
}

#[test]
fn what_was_sent_before_observer_came_is_unknown_and_what_comes_later_is_exact() {
    let mut decoder = Decoder::new(1000);
    let blocks = REQUESTS[0].map(hex);
    // The first block was not seen: the second's authority points into it.
    assert_eq!(
        read(&mut decoder, &blocks[1]).unwrap()[3],
        (Name::Unknown, None)
    );
    assert_eq!(
        read(&mut decoder, &blocks[2]).unwrap()[3],
        (Name::Unknown, None),
        "two fields back, of which one is known"
    );
    // `:path: /a` is added, and pointed at; the one before it is `custom-key`, and four back is unknown.
    let added = hex("44 02 2f61");
    assert_eq!(read(&mut decoder, &added), Ok(known(&[(Name::Path, "/a")])));
    assert_eq!(
        read(&mut decoder, &[0xbe]),
        Ok(known(&[(Name::Path, "/a")]))
    );
    assert_eq!(read(&mut decoder, &[0xbf]), Ok(vec![]));
    assert_eq!(read(&mut decoder, &[0xc1]), Ok(vec![(Name::Unknown, None)]));
    // A name that is not known gives a field that is not known, whatever its value.
    assert_eq!(
        read(&mut decoder, &[0x7f, 0x02, 1, b'x']),
        Ok(vec![(Name::Unknown, None)])
    );
    assert_eq!(read(&mut decoder, &[0xbe]), Ok(vec![(Name::Unknown, None)]));
    // And behind a loss.
    read(&mut decoder, &added).unwrap();
    decoder.forget();
    assert_eq!(read(&mut decoder, &[0xbe]), Ok(vec![(Name::Unknown, None)]));
}

#[test]
fn what_is_no_block_is_refused_and_all_before_it_forgotten() {
    let wrong: [&[u8]; 7] = [
        &[0x80],
        // A number without end, one that is too large, and one that is cut off.
        &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0xff],
        // A string that is longer than the block.
        &[0x44, 0x05, b'/'],
        // Padding that is too long.
        &[0x44, 0x81, 0xff],
        &[0x40, 0x81, 0xff, 0x00],
    ];
    for block in wrong {
        let mut decoder = Decoder::new(1000);
        read(&mut decoder, &hex("44 02 2f61")).unwrap();
        assert_eq!(
            read(&mut decoder, block),
            Err(Broken::Malformed),
            "{block:?}"
        );
        assert_eq!(read(&mut decoder, &[0xbe]), Ok(vec![(Name::Unknown, None)]));
    }
}

#[test]
fn a_field_that_is_too_large_is_not_kept() {
    let mut decoder = Decoder::new(100);
    let mut block = hex("44 7f 80 08");
    block.extend([b'a'; 50]);
    assert_eq!(decoder.feed(&block, false, &mut |_, _| {}), Ok(()));
    assert_eq!(decoder.held(), 54);
    let fed = decoder.feed(&[b'a'; 50], false, &mut |_, _| {});
    assert_eq!(fed, Err(Broken::TooLarge));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn the_table_is_bounded_whatever_is_allowed() {
    let mut decoder = Decoder::new(10_000);
    decoder.allow(1 << 30);
    // An update within a block, to no less.
    read(&mut decoder, &[0x3f, 0xff, 0xff, 0xff, 0x7f]).unwrap();
    let mut block = vec![0x44, 0x7f];
    block.extend([0xe9, 0x06]);
    block.extend([b'a'; 1000]);
    for _ in 0..1000 {
        read(&mut decoder, &block).unwrap();
    }
    assert!(
        decoder.table.kept() <= 64 * 1024,
        "{}",
        decoder.table.kept()
    );
    assert!(decoder.table.kept() > 60 * 1024);
    // One larger than the table empties it, as at the sender.
    let mut small = Decoder::new(10_000);
    read(&mut small, &hex("44 02 2f61")).unwrap();
    let mut large = vec![0x44, 0x7f, 0x81, 0x27];
    large.extend([b'a'; 5120]);
    read(&mut small, &large).unwrap();
    assert_eq!(small.table.kept(), 0);
}
