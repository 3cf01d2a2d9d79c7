//! Strings in HPACK's Huffman code (RFC 7541 section 5.2 and appendix B). The code is canonical: lengths are all there is to know.

use super::Malformed;

/// Bits of each byte's code, and of the end's, which only pads.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The code that ends a string; it is never sent whole.
const END: u16 = 256;
const LONGEST: usize = 30;

struct Codes {
    /// By length: the first code, how many there are, and where their symbols begin.
    first: [u32; LONGEST + 1],
    count: [u16; LONGEST + 1],
    at: [u16; LONGEST + 1],
    /// Symbols by length, and within one by value.
    order: [u16; 257],
}

static CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes = Codes {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        at: [0; LONGEST + 1],
        order: [0; 257],
    };
    let (mut code, mut next, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        codes.first[length] = code;
        codes.at[length] = next as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                codes.order[next] = symbol as u16;
                next += 1;
                code += 1;
            }
            symbol += 1;
        }
        codes.count[length] = next as u16 - codes.at[length];
        code <<= 1;
        length += 1;
    }
    codes
}

/// By the next eight bits: the symbol that begins there and its length; 0 where it is longer.
static SHORT: [(u8, u8); 256] = short();

const fn short() -> [(u8, u8); 256] {
    let codes = codes();
    let mut table = [(0, 0); 256];
    let mut length = 1;
    while length <= 8 {
        let mut index = 0;
        while index < codes.count[length] {
            let symbol = codes.order[(codes.at[length] + index) as usize];
            let from = ((codes.first[length] + index as u32) << (8 - length)) as usize;
            let mut at = from;
            while at < from + (1 << (8 - length)) {
                table[at] = (symbol as u8, length as u8);
                at += 1;
            }
            index += 1;
        }
        length += 1;
    }
    table
}

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // The next bits, the first one highest.
    let (mut bits, mut have) = (0u64, 0u32);
    let mut rest = coded.iter();
    loop {
        while have <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        let (symbol, length) = match SHORT[(bits >> 56) as usize] {
            (_, 0) => long(bits)?,
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > have {
            // What is left is the beginning of the end's code, all ones, and shorter than a byte.
            let padding = have < 8 && !bits >> (64 - have) == 0;
            return if padding { Ok(()) } else { Err(Malformed) };
        }
        out.push(symbol);
        bits <<= length;
        have -= length;
    }
}

/// A symbol of more than eight bits. (The end's code is 30 ones: bits that begin with fewer are some symbol's, or padding.)
fn long(bits: u64) -> Result<(u8, u32), Malformed> {
    let mut length = 9;
    while length <= LONGEST {
        let code = (bits >> (64 - length)) as u32;
        let index = code.wrapping_sub(CODES.first[length]);
        if index < u32::from(CODES.count[length]) {
            let symbol = CODES.order[usize::from(CODES.at[length]) + index as usize];
            if symbol == END {
                break;
            }
            return Ok((symbol as u8, length as u32));
        }
        length += 1;
    }
    Err(Malformed)
}

/// The same string in the code.
#[cfg(test)]
pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0u64, 0);
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let from = usize::from(CODES.at[length]);
        let of_length = &CODES.order[from..from + usize::from(CODES.count[length])];
        let index = of_length.iter().position(|it| *it == u16::from(*byte));
        let code = CODES.first[length] + index.unwrap_or_default() as u32;
        bits = bits << length | u64::from(code);
        have += length;
        while have >= 8 {
            out.push((bits >> (have - 8)) as u8);
            have -= 8;
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | ((1u16 << (8 - have)) - 1) as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let examples: [(&[u8], &str); 6] = [
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (b"\x64\x0e\xff", "307"),
        ];
        for (coded, text) in examples {
            assert_eq!(decoded(coded), Ok(text.as_bytes().to_vec()), "{text}");
            assert_eq!(encode(text.as_bytes()), coded, "{text}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)), Ok(all.clone()));
        for one in all.chunks(1) {
            assert_eq!(decoded(&encode(one)).as_deref(), Ok(one));
        }
        for pair in all.windows(2) {
            assert_eq!(decoded(&encode(pair)).as_deref(), Ok(pair));
        }
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte() {
        // Five bits of `0`, then three of padding.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for wrong in [0b0000_0000u8, 0b0000_0110, 0b0000_0011] {
            // (Some of these begin another symbol, which is cut off.)
            assert_ne!(decoded(&[wrong]), Ok(b"0".to_vec()), "{wrong:#b}");
        }
        assert_eq!(decoded(&[0xff]), Err(Malformed), "a whole byte of padding");
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(Malformed));
        assert_eq!(decoded(&[0xff; 4]), Err(Malformed), "the end's own code");
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }
}
