//! Where a label is passed to: from the instruction that loads its address, along every way the function may take, to the
//! first call that gets it as second argument.

use std::{collections::HashSet, ops::Range};

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

/// Most instructions of one function.
const MOST_INSTRUCTIONS: usize = 1 << 16;
/// Most steps from one load.
const MOST_STEPS: usize = 4096;
/// Instructions before a call among which its other arguments are loaded.
const NEAR: usize = 24;

/// Registers that a call keeps (System V ABI, 3.2.1).
const KEPT: [Register; 7] = [
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// A function's instructions.
pub(super) struct Function {
    instructions: Vec<Instruction>,
    extent: Range<u64>,
    factory: InstructionInfoFactory,
}

/// Which registers hold the address, a bit each.
type Holding = u16;

impl Function {
    /// Decodes a function's bytes; what lies behind an invalid instruction is not known.
    pub(super) fn decode(bytes: &[u8], start: u64) -> Self {
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let instructions = decoder
            .iter()
            .take_while(|instruction| !instruction.is_invalid())
            .take(MOST_INSTRUCTIONS)
            .collect();
        Self {
            instructions,
            extent: start..start.saturating_add(bytes.len() as u64),
            factory: InstructionInfoFactory::new(),
        }
    }

    /// Functions that are called with one of these addresses as second argument, and with a third and a fourth one: pairs
    /// of address and function.
    pub(super) fn calls_with<T: Copy>(
        &mut self,
        named: impl Fn(u64) -> Option<T>,
    ) -> Vec<(T, u64)> {
        let loads: Vec<_> = (0..)
            .zip(&self.instructions)
            .filter_map(|(index, instruction)| {
                let (address, register) = load(instruction)?;
                Some((index, named(address)?, register))
            })
            .collect();
        let mut calls = Vec::new();
        for (index, name, register) in loads {
            let targets = self.follow(index + 1, bit(register));
            calls.extend(targets.into_iter().map(|target| (name, target)));
        }
        calls
    }

    /// Whether an instruction loads an address that `is_wanted`.
    pub(super) fn loads(&self, is_wanted: impl Fn(u64) -> bool) -> bool {
        let mut loads = self.instructions.iter().filter_map(load);
        loads.any(|(address, _)| is_wanted(address))
    }

    /// Whether the function, which begins with the first instruction, reads its third and fourth argument before it calls
    /// anything. (The second may stay where it is, for the function that writes the log.)
    pub(super) fn reads_arguments(&mut self) -> bool {
        let wanted = bit(Register::RDX) | bit(Register::RCX);
        let mut read = 0;
        let mut seen = HashSet::new();
        let mut waiting = vec![(0, wanted)];
        while let Some((mut index, mut passed)) = waiting.pop() {
            while passed != 0 && seen.len() < MOST_STEPS && seen.insert((index, passed)) {
                let Some(instruction) = self.instructions.get(index).copied() else {
                    break;
                };
                let near = (instruction.op0_kind() == OpKind::NearBranch64)
                    .then(|| instruction.near_branch_target())
                    .and_then(|near| self.index_of(near));
                match instruction.flow_control() {
                    FlowControl::Next => {
                        read |= passed & self.read(&instruction);
                        passed &= !self.written(&instruction);
                    }
                    FlowControl::ConditionalBranch => {
                        waiting.extend(near.map(|near| (near, passed)));
                    }
                    FlowControl::UnconditionalBranch => {
                        let Some(near) = near else { break };
                        index = near;
                        continue;
                    }
                    _ => break,
                }
                index += 1;
            }
        }
        read == wanted
    }

    /// From an instruction, with the address in these registers.
    fn follow(&mut self, from: usize, holding: Holding) -> HashSet<u64> {
        let mut targets = HashSet::new();
        let mut seen = HashSet::new();
        let mut waiting = vec![(from, holding)];
        while let Some((mut index, mut holding)) = waiting.pop() {
            while holding != 0 && seen.len() < MOST_STEPS && seen.insert((index, holding)) {
                let Some(instruction) = self.instructions.get(index).copied() else {
                    break;
                };
                let near = (instruction.op0_kind() == OpKind::NearBranch64)
                    .then(|| instruction.near_branch_target());
                let is_argument = holding & bit(Register::RSI) != 0;
                match instruction.flow_control() {
                    FlowControl::Next => holding = self.after(&instruction, holding),
                    FlowControl::Call | FlowControl::IndirectCall => {
                        if is_argument {
                            targets.extend(near.filter(|_| self.has_more_arguments(index)));
                            break;
                        }
                        holding &= kept();
                    }
                    FlowControl::ConditionalBranch => {
                        let there = near.and_then(|near| self.index_of(near));
                        waiting.extend(there.map(|there| (there, holding)));
                    }
                    FlowControl::UnconditionalBranch => {
                        let Some(near) = near else { break };
                        if let Some(there) = self.index_of(near) {
                            index = there;
                            continue;
                        }
                        // A function that ends by calling another one.
                        let leaves = !self.extent.contains(&near);
                        if leaves && is_argument && self.has_more_arguments(index) {
                            targets.insert(near);
                        }
                        break;
                    }
                    _ => break,
                }
                index += 1;
            }
        }
        targets
    }

    /// Who holds the address behind an instruction.
    fn after(&mut self, instruction: &Instruction, holding: Holding) -> Holding {
        let copies = instruction.op_count() == 2
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && holding & bit(instruction.op1_register()) != 0;
        let to = bit(instruction.op0_register());
        match instruction.mnemonic() {
            Mnemonic::Mov if copies => return holding | to,
            // It may, or may not: both are followed.
            _ if is_conditional_move(instruction) => {
                return if copies { holding | to } else { holding };
            }
            _ => {}
        }
        holding & !self.written(instruction)
    }

    /// Registers that an instruction writes.
    fn written(&mut self, instruction: &Instruction) -> Holding {
        let used = self.factory.info(instruction).used_registers();
        used.iter()
            .filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead))
            .fold(0, |written, used| written | bit(used.register()))
    }

    /// Registers that an instruction reads.
    fn read(&mut self, instruction: &Instruction) -> Holding {
        let used = self.factory.info(instruction).used_registers();
        used.iter()
            .filter(|used| !matches!(used.access(), OpAccess::Write | OpAccess::CondWrite))
            .fold(0, |read, used| read | bit(used.register()))
    }

    /// Whether the third and the fourth argument of a call are loaded right before it.
    fn has_more_arguments(&mut self, call: usize) -> bool {
        let wanted = bit(Register::RDX) | bit(Register::RCX);
        let mut loaded = 0;
        for index in (call.saturating_sub(NEAR)..call).rev() {
            let instruction = self.instructions[index];
            if !matches!(
                instruction.flow_control(),
                FlowControl::Next | FlowControl::ConditionalBranch
            ) {
                break;
            }
            loaded |= self.written(&instruction);
        }
        loaded & wanted == wanted
    }

    fn index_of(&self, address: u64) -> Option<usize> {
        self.instructions
            .binary_search_by_key(&address, Instruction::ip)
            .ok()
    }
}

/// The address that an instruction loads into a register, and which: `lea distance(%rip), %rsi`, `mov $address, %esi`.
fn load(instruction: &Instruction) -> Option<(u64, Register)> {
    if instruction.op0_kind() != OpKind::Register {
        return None;
    }
    let address = match (instruction.mnemonic(), instruction.op1_kind()) {
        (Mnemonic::Lea, OpKind::Memory) if instruction.is_ip_rel_memory_operand() => {
            instruction.ip_rel_memory_address()
        }
        (Mnemonic::Mov, OpKind::Immediate32 | OpKind::Immediate32to64) => instruction.immediate(1),
        _ => return None,
    };
    Some((address, instruction.op0_register()))
}

/// `cmov…`: what else has a condition is a jump, or has one operand.
fn is_conditional_move(instruction: &Instruction) -> bool {
    instruction.condition_code() != ConditionCode::None && instruction.op_count() == 2
}

/// The bit of a general register, whole or in part.
fn bit(register: Register) -> Holding {
    let whole = register.full_register();
    if whole.is_gpr64() {
        1 << whole.number()
    } else {
        0
    }
}

fn kept() -> Holding {
    KEPT.into_iter().map(bit).fold(0, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    const LABEL: u64 = 0x2000;

    /// Where the label is passed to in this code; `lea` to the label is put in front.
    fn calls(register: u8, code: &[u8]) -> Vec<u64> {
        let mut bytes = vec![0x48, 0x8d, register];
        bytes.extend((LABEL as i32 - START as i32 - 7).to_le_bytes());
        bytes.extend(code);
        let found =
            Function::decode(&bytes, START).calls_with(|address| (address == LABEL).then_some(()));
        let mut found: Vec<_> = found.into_iter().map(|(_, target)| target).collect();
        found.sort_unstable();
        found
    }

    /// `lea label(%rip), %rsi` and the same of %rbx.
    const RSI: u8 = 0x35;
    const RBX: u8 = 0x1d;
    /// mov %rax, %rdx; mov %rax, %rcx
    const MORE: [u8; 6] = [0x48, 0x89, 0xc2, 0x48, 0x89, 0xc1];

    fn with_more(code: &[u8]) -> Vec<u8> {
        [&MORE[..], code].concat()
    }

    #[test]
    fn the_function_called_right_behind_is_the_one() {
        // call +0x100
        let code = with_more(&[0xe8, 0, 1, 0, 0]);
        assert_eq!(calls(RSI, &code), [START + 7 + 6 + 5 + 0x100]);
        // In %rbx it is no argument.
        assert!(calls(RBX, &code).is_empty());
    }

    #[test]
    fn a_label_is_followed_through_registers_that_calls_keep_and_no_others() {
        // call +0x100; mov %rbx, %rsi; the arguments; call +0x200
        let mut code = vec![0xe8, 0, 1, 0, 0, 0x48, 0x89, 0xde];
        code.extend(with_more(&[0xe8, 0, 2, 0, 0]));
        assert_eq!(calls(RBX, &code), [START + 7 + 8 + 6 + 5 + 0x200]);
        // The same from %rdx (mov %rdx, %rsi), which the first call may change.
        code[7] = 0xd6;
        assert!(calls(0x15, &code).is_empty());
    }

    #[test]
    fn what_overwrites_the_argument_ends_the_way() {
        // xor %esi, %esi; call +0x100
        assert!(calls(RSI, &with_more(&[0x31, 0xf6, 0xe8, 0, 1, 0, 0])).is_empty());
    }

    #[test]
    fn both_ways_of_a_branch_are_followed() {
        // je +5; call +0x100 (and the other one); call +0x200
        let code = with_more(&[0x74, 5, 0xe8, 0, 1, 0, 0, 0xe8, 0, 2, 0, 0]);
        let behind = START + 7 + 6 + 2;
        // The second is behind a call, so its arguments are not loaded right before it.
        assert_eq!(calls(RSI, &code), [behind + 5 + 0x100]);
        // je +11; …; the arguments again, call +0x200
        let mut code = with_more(&[0x74, 5, 0xe8, 0, 1, 0, 0]);
        code.extend(with_more(&[0xe8, 0, 2, 0, 0]));
        let second = behind + 5 + 6 + 5 + 0x200;
        assert_eq!(calls(RSI, &code), [behind + 5 + 0x100, second]);
    }

    #[test]
    fn a_call_of_two_arguments_is_none() {
        // call +0x100: as of strcmp
        assert!(calls(RSI, &[0xe8, 0, 1, 0, 0]).is_empty());
    }

    #[test]
    fn a_jump_out_of_the_function_is_a_call_and_one_by_register_is_not_known() {
        assert_eq!(
            calls(RSI, &with_more(&[0xe9, 0, 1, 0, 0])),
            [START + 7 + 6 + 5 + 0x100]
        );
        // call *%rax
        assert!(calls(RSI, &with_more(&[0xff, 0xd0])).is_empty());
    }

    #[test]
    fn a_function_of_fewer_arguments_is_told_apart() {
        let reads = |code: &[u8]| Function::decode(code, START).reads_arguments();
        // mov %rsi, %rbx; mov %rdx, %r12; mov %rcx, %r13; ret
        let code = [0x48, 0x89, 0xf3, 0x49, 0x89, 0xd4, 0x49, 0x89, 0xcd, 0xc3];
        assert!(reads(&code));
        // Without the last.
        assert!(!reads(&[&code[..6], &[0xc3]].concat()));
        // xor %ecx, %ecx before it is read.
        assert!(!reads(&[&[0x31, 0xc9], &code[..]].concat()));
        // je over a return: the rest is read behind it.
        assert!(reads(&[&[0x74, 1, 0xc3], &code[..]].concat()));
        // Behind a call nothing is an argument.
        assert!(!reads(&[&[0xe8, 0, 0, 0, 0], &code[..]].concat()));
    }

    #[test]
    fn a_loop_ends() {
        // jmp to itself
        assert!(calls(RSI, &[0xeb, 0xfe]).is_empty());
    }
}
