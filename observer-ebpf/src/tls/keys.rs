//! Key points: the functions of TLS libraries through which each secret passes.
//!
//! | program | where | registers at its entry |
//! |---|---|---|
//! | `tls_secret` | `ssl_log_secret(ssl, label, secret, length)` of OpenSSL and BoringSSL, GnuTLS' key log writer | RDI, RSI, RDX, RCX |
//! | `tls_secret_go` | `crypto/tls.(*Config).writeKeyLog(label, clientRandom, secret)` | RBX: label; RDI, RSI: random; R9, R10: secret (ABIInternal, since 1.17) |
//! | `tls_hmac_256`, `tls_hmac_512` | block functions of SHA-2, `(state, blocks, count)`, of ring and aws-lc | RSI |
//!
//! Cost: a breakpoint for each secret, some five a handshake; none when data is read or written. No return probes. Block
//! functions are entered some hundred times a handshake, and for whatever else is hashed: a process that enters them more than
//! [`MOST_HASHED`] times a second is given up.
//!
//! Who is captured is asked first: of other processes nothing is read. A label is known by where it stands, and is never
//! read: its page may not be in memory. Secrets go straight into a slot; nothing else holds a copy. Go enters its function
//! twice where the stack has to grow; then a secret is told twice.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::{map, uprobe},
    maps::{Array, HashMap, LruHashMap, RingBuf, Stack},
    programs::ProbeContext,
};
use observer_abi::{
    loss::Counter,
    secret::{BUSY, Hashing, LABELS, LONGEST, MOST_HASHED, SLOTS, SecretSlot, label, label_key},
};

use crate::{
    core::{output::count, policy},
    kernel::{globals::settings, read::user, task},
};

/// BPF_F_MMAPABLE of `BPF_MAP_CREATE` (5.5).
const MAPPABLE: u32 = 1 << 10;
/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// Kernel: secrets, by slot. The daemon reads them where they lie, and zeroes them.
#[map]
static SECRETS: Array<SecretSlot> = Array::with_max_entries(SLOTS, MAPPABLE);

/// Slots that are free. The daemon puts all there before the programs begin, and those that it has read.
#[map]
static FREE_SECRETS: Stack<u32> = Stack::with_max_entries(SLOTS, 0);

/// Numbers of slots with a secret, of which there are never more than slots.
#[map]
static SECRETS_TOLD: RingBuf = RingBuf::with_byte_size(32 * SLOTS, 0);

/// Daemon: labels by [`label_key`].
#[map]
static KEY_LABELS: HashMap<u64, u32> = HashMap::with_max_entries(LABELS, 0);

/// Kernel: processes that enter block functions.
#[map]
static HASHING: LruHashMap<u32, Hashing> = LruHashMap::with_max_entries(1024, 0);

/// What a library's function is entered with.
struct Passed {
    /// The function's address.
    function: u64,
    /// Addresses, and the secret's length.
    label: u64,
    secret: u64,
    length: u64,
    /// Address of the client's random; 0 where there is none.
    random: u64,
    /// What the secrets of one handshake share; 0 is nothing.
    handshake: u64,
    /// What each byte of the secret was combined with, eight times.
    mask: u64,
}

/// OpenSSL, BoringSSL, GnuTLS.
#[uprobe]
pub(crate) fn tls_secret(ctx: ProbeContext) -> u32 {
    let Some(tgid) = captured() else { return 0 };
    // SAFETY: the registers of the probe.
    let passed = unsafe {
        let registers = &*ctx.regs;
        Passed {
            function: registers.rip,
            label: registers.rsi,
            secret: registers.rdx,
            length: registers.rcx,
            random: 0,
            handshake: registers.rdi,
            mask: 0,
        }
    };
    tell(&passed, tgid);
    0
}

/// Go. Its first argument is the configuration, which all connections share; the random tells handshakes apart.
#[uprobe]
pub(crate) fn tls_secret_go(ctx: ProbeContext) -> u32 {
    let Some(tgid) = captured() else { return 0 };
    // SAFETY: the registers of the probe.
    let passed = unsafe {
        let registers = &*ctx.regs;
        Passed {
            function: registers.rip,
            label: registers.rbx,
            secret: registers.r9,
            length: registers.r10,
            random: if registers.rsi == RANDOM { registers.rdi } else { 0 },
            handshake: 0,
            mask: 0,
        }
    };
    tell(&passed, tgid);
    0
}

/// ring and aws-lc: SHA-256.
#[uprobe]
pub(crate) fn tls_hmac_256(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let blocks = unsafe { (*ctx.regs).rsi };
    let Some(tgid) = followed() else { return 0 };
    // The last quarter first: few blocks end so.
    if !ends_padded(blocks, 48, 2) {
        return 0;
    }
    // TLS 1.2's master secrets reach into the third.
    let length = if ends_padded(blocks, 32, 2) { 32 } else { 48 };
    hmac_key(blocks, length, tgid);
    0
}

/// ring and aws-lc: SHA-384, whose blocks are SHA-512's.
#[uprobe]
pub(crate) fn tls_hmac_512(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let blocks = unsafe { (*ctx.regs).rsi };
    let Some(tgid) = followed() else { return 0 };
    if ends_padded(blocks, 48, 10) {
        hmac_key(blocks, 48, tgid);
    }
    0
}

/// What HMAC combines each byte of its key with, and fills the block with (RFC 2104), eight times.
const PAD: u64 = 0x3636_3636_3636_3636;

/// Whether so many words of a block, from a byte on, are padding.
#[inline(always)]
fn ends_padded(blocks: u64, from: u64, words: u64) -> bool {
    // From behind, where most blocks have something else.
    let mut left = words;
    while left > 0 {
        left -= 1;
        if user(blocks.wrapping_add(from + 8 * left)) != Some(PAD) {
            return false;
        }
    }
    true
}

/// Tells the key of an HMAC, but for the one of zeroes, with which secrets are made.
#[inline(always)]
fn hmac_key(blocks: u64, length: u64, tgid: u32) {
    if user(blocks) == Some(PAD) {
        return;
    }
    let passed = Passed { function: 0, label: 0, secret: blocks, length, random: 0, handshake: 0, mask: PAD };
    put(&passed, label::UNKNOWN, tgid);
}

/// The process, where it is captured and does not hash too much.
#[inline(always)]
fn followed() -> Option<u32> {
    let tgid = captured()?;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(hashing) = HASHING.get_ptr_mut(tgid) else {
        let _ = HASHING.insert(tgid, &Hashing { since_ns: now, entries: 1, told: 0 }, ANY);
        return Some(tgid);
    };
    // SAFETY: a live map value. That two threads may count as one does not matter.
    unsafe {
        if now.wrapping_sub((*hashing).since_ns) > SECOND_NS {
            (*hashing).since_ns = now;
            (*hashing).entries = 0;
            (*hashing).told = 0;
        }
        (*hashing).entries += 1;
        if (*hashing).entries <= MOST_HASHED {
            return Some(tgid);
        }
        if (*hashing).told == 0 {
            (*hashing).told = 1;
            let _ = SECRETS_TOLD.output::<u32>(BUSY | tgid, 0);
        }
    }
    None
}

/// A second.
const SECOND_NS: u64 = 1_000_000_000;

/// Bytes of a client's random.
const RANDOM: u64 = 32;

/// The process, where it is captured.
#[inline(always)]
fn captured() -> Option<u32> {
    let tgid = (task::pid_tgid() >> 32) as u32;
    if tgid == settings().observer_tgid() || !policy::is_selected(tgid) {
        return None;
    }
    count(Counter::KeyPointHit, 1);
    Some(tgid)
}

/// Tells a secret with its label.
#[inline(always)]
fn tell(passed: &Passed, tgid: u32) {
    let known = match KEY_LABELS.get_ptr(label_key(passed.label, passed.function)) {
        // SAFETY: a live map value.
        Some(known) => unsafe { *known },
        None => {
            count(Counter::SecretRefused, 1);
            return;
        }
    };
    if known != label::OPENS_NOTHING {
        put(passed, known, tgid);
    }
}

/// Puts a secret into a slot, and the slot's number into the ring.
#[inline(always)]
fn put(passed: &Passed, label: u32, tgid: u32) {
    if passed.length != 32 && passed.length != 48 {
        count(Counter::SecretRefused, 1);
        return;
    }
    let Ok(Some(slot)) = FREE_SECRETS.pop() else {
        count(Counter::SecretDropped, 1);
        return;
    };
    let Some(entry) = SECRETS.get_ptr_mut(slot) else { return };
    // SAFETY: a live map value, which nobody else has; user addresses, whose fault is reported, and leaves zeroes.
    let is_read = unsafe {
        (*entry).time_ns = bpf_ktime_get_ns();
        // The lowest bits of an address are zero, and two processes may have the same.
        (*entry).handshake = if passed.handshake == 0 { 0 } else { (passed.handshake << 16) ^ u64::from(tgid) };
        (*entry).tgid = tgid;
        (*entry).label = label;
        (*entry).length = passed.length as u32;
        let random = (&raw mut (*entry).client_random).cast();
        let has_random = passed.random != 0 && bpf_probe_read_user(random, 32, passed.random as *const _) == 0;
        (*entry).has_random = u32::from(has_random);
        let secret = (&raw mut (*entry).secret).cast();
        let from = passed.secret as *const _;
        if passed.length == 32 { bpf_probe_read_user(secret, 32, from) == 0 } else { bpf_probe_read_user(secret, 48, from) == 0 }
    };
    if !is_read {
        count(Counter::SecretRefused, 1);
        let _ = FREE_SECRETS.push(slot, ANY);
        return;
    }
    if passed.mask != 0 {
        // SAFETY: as above; the secret begins at a word, and is whole words.
        unsafe {
            let words: *mut u64 = (&raw mut (*entry).secret).cast();
            let mut index = 0;
            while index < LONGEST / 8 {
                // Behind a short secret stay zeroes.
                if passed.length == 48 || index < 4 {
                    let word = words.add(index);
                    word.write_volatile(word.read_volatile() ^ passed.mask);
                }
                index += 1;
            }
        }
    }
    if SECRETS_TOLD.output::<u32>(slot, 0).is_ok() {
        count(Counter::SecretTold, 1);
    } else {
        // Nobody reads it: it must not stay.
        // SAFETY: as above.
        let words: *mut u64 = unsafe { (&raw mut (*entry).secret).cast() };
        let mut index = 0;
        while index < LONGEST / 8 {
            // SAFETY: as above; the secret begins at a word, and is whole words.
            unsafe { words.add(index).write_volatile(0) };
            index += 1;
        }
        count(Counter::SecretDropped, 1);
        let _ = FREE_SECRETS.push(slot, ANY);
    }
}
