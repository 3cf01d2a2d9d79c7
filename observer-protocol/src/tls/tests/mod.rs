//! What needs no recorded connection: the published traces, and what holds for any bytes.

mod cuts;
mod fuzzed;
mod keeps;
mod rfc8448;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
