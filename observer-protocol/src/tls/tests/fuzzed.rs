//! What the fuzz target is given in every run: connections of a few kinds, mutated.

use super::cuts::client_hello;
use crate::{
    fuzzing,
    mutation::{Random, keeps_its_word},
};

/// A step of the target's script.
fn step(choice: u8, bytes: &[u8]) -> Vec<u8> {
    let size = (bytes.len() as u16).to_be_bytes();
    [&[choice][..], &size, bytes].concat()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u16).to_be_bytes();
    [&[kind, 3, 3][..], &size, content].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32).to_be_bytes();
    [&[kind][..], &size[1..], body].concat()
}

fn server_hello(random: &mut Random) -> Vec<u8> {
    let suites = [
        0x1301u16, 0x1302, 0x1303, 0xc02f, 0xcca8, 0x2f, 0x3d, 0xc0a0, 0x0a,
    ];
    let suite = suites[random.below(suites.len())].to_be_bytes();
    let mut body = [&[3, 3][..], &[8; 32], &[0], &suite, &[0]].concat();
    if suite[0] == 0x13 {
        body.extend([0, 6, 0, 43, 0, 2, 3, 4]);
    }
    record(22, &message(2, &body))
}

#[test]
fn connections_that_mean_no_good_break_nothing() {
    let script = |random: &mut Random| {
        let mut script = step(6, &record(22, &message(1, &client_hello())));
        script.extend(step(7, &server_hello(random)));
        for _ in 0..random.below(12) {
            let secret = vec![random.below(3) as u8; 48];
            let labels = (random.below(16) << 4 | 2) as u8;
            let side = random.below(2) as u8;
            let length = random.below(200);
            let content = random.bytes(length);
            let kind = 20 + random.below(4) as u8;
            script.extend(match random.below(8) {
                0 => step(labels, &secret),
                1 => step(side, &content),
                2 => step(side | 4, &record(23, &content)),
                3 => step(side | 6, &record(20, &[1])),
                4 => step(side | 6, &server_hello(random)),
                _ => step(side | 6, &record(kind, &content)),
            });
        }
        random.mutate(&mut script, &[0, 1, 20, 22, 23, 3, 0xff]);
        script
    };
    keeps_its_word(Random(3), 3000, script, fuzzing::tls);
}
