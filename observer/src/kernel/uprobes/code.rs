//! Machine code, followed to where a function returns.

use std::collections::{BTreeSet, HashSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};

use super::image::Image;

/// Most instructions that are followed.
const MOST_INSTRUCTIONS: usize = 2000;
/// The longest instruction of x86-64, bytes.
const LONGEST: u64 = 15;

/// Addresses of every return instruction that the function at `start` can end with, those of functions that it ends
/// by jumping to included. `None` where a jump leads to what is not known before it runs.
pub(super) fn returns(image: &Image<'_>, start: u64) -> Option<BTreeSet<u64>> {
    let mut returns = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut waiting = vec![start];
    while let Some(mut address) = waiting.pop() {
        loop {
            if !seen.insert(address) {
                break;
            }
            if seen.len() > MOST_INSTRUCTIONS {
                return None;
            }
            let bytes = image.bytes(address, LONGEST)?;
            let mut decoder = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return None;
            }
            let near = || {
                matches!(instruction.op0_kind(), OpKind::NearBranch64)
                    .then(|| instruction.near_branch_target())
            };
            match instruction.flow_control() {
                FlowControl::Return => {
                    returns.insert(address);
                    break;
                }
                FlowControl::UnconditionalBranch => {
                    address = near()?;
                    continue;
                }
                FlowControl::ConditionalBranch => waiting.push(near()?),
                FlowControl::IndirectBranch => return None,
                FlowControl::Exception | FlowControl::Interrupt => break,
                _ => {}
            }
            address = instruction.next_ip();
        }
    }
    (!returns.is_empty()).then_some(returns)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[inline(never)]
    #[unsafe(no_mangle)]
    extern "C" fn observer_test_two_returns(number: u64) -> u64 {
        if std::hint::black_box(number) > 3 {
            return std::hint::black_box(7);
        }
        std::hint::black_box(number) + 1
    }

    #[test]
    fn a_function_returns_somewhere() {
        assert_eq!(observer_test_two_returns(1), 2);
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file).unwrap();
        let name = "observer_test_two_returns";
        let start = image.symbols(&[name])[name];
        let found = returns(&image, start).unwrap();
        for address in found {
            assert_eq!(image.bytes(address, 1).unwrap(), [0xc3]);
        }
    }
}
