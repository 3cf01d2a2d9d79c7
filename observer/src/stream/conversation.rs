//! What a connection speaks: one ledger of the protocol that its first bytes told.
//!
//! Generated from the list of protocols, so that nothing here names one.

use observer_abi::context::Context;
use observer_protocol::{
    Segment,
    protocol::{Joined, Key, Next, Number, Protocol, Shape, Side, Sniff},
};

use crate::exchange::{
    Call, Ends, Findings, InferredLink, Ledger, Output, Sink, Slab, Slot, Unseen,
};

macro_rules! conversation {
    ($($(#[$attribute:meta])* $Name:ident => $Protocol:ty, $rows:expr;)*) => {
        /// The exchanges of one connection, in one of the protocols.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "most speak the largest, and a connection has a place of its own")]
        pub(super) enum Conversation {
            $($(#[$attribute])* $Name(Ledger<$Protocol>),)*
        }

        impl Conversation {
            /// One in the protocol with that number; `None` where it is not read.
            pub(super) fn new(number: Number, head_bytes: usize, joined: Joined) -> Option<Self> {
                $($(#[$attribute])* if number == <$Protocol>::NUMBER {
                    return Some(Self::$Name(Ledger::new(head_bytes, joined)));
                })*
                None
            }

            /// Which protocol a message of `side` begins that begins with these bytes: the first that is certain, else the
            /// first that may be.
            pub(super) fn sniff(side: Side, first: &[u8]) -> (Sniff, Number) {
                let mut found = (Sniff::No, Number::default());
                $($(#[$attribute])* match <$Protocol>::sniff(side, first) {
                    Sniff::Yes => return (Sniff::Yes, <$Protocol>::NUMBER),
                    Sniff::More if found.0 == Sniff::No => found = (Sniff::More, <$Protocol>::NUMBER),
                    Sniff::More | Sniff::No => {}
                })*
                found
            }

            /// The protocol that both ends agreed on under this name; `None` where it is not read.
            pub(super) fn agreed(name: &[u8]) -> Option<Number> {
                $($(#[$attribute])* if <$Protocol>::ALPN.contains(&name) {
                    return Some(<$Protocol>::NUMBER);
                })*
                None
            }

            pub(super) fn number(&self) -> Number {
                match self { $($(#[$attribute])* Self::$Name(_) => <$Protocol>::NUMBER,)* }
            }

            pub(super) fn shape(&self) -> Shape {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.shape(),)* }
            }

            pub(super) fn awaits_run_end(&self, side: Side) -> bool {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.awaits_run_end(side),)* }
            }

            pub(super) fn take_understood(&mut self) -> bool {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.take_understood(),)* }
            }

            pub(super) fn take_findings(&mut self) -> Option<Findings> {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.take_findings(),)* }
            }

            pub(super) fn position(&self, side: Side) -> u64 {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.position(side),)* }
            }

            pub(super) fn needs_entry(&self, opens: &Slab) -> bool {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.needs_entry(opens),)* }
            }

            pub(super) fn set_established(&mut self, established: (u64, u64)) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.set_established(established),)* }
            }

            pub(super) fn set_context(&mut self, context: &Context) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.set_context(context),)* }
            }

            pub(super) fn link(&mut self, call: [u8; 8], link: InferredLink, opens: &mut Slab) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.link(call, link, opens),)* }
            }

            pub(super) fn hand_over<S: Sink>(
                &mut self,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) -> Option<Slot> {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.hand_over(ends, out),)* }
            }

            pub(super) fn take_over<S: Sink>(
                &mut self,
                key: Key,
                slot: Slot,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.take_over(key, slot, ends, out),)* }
            }

            pub(super) fn run_started<S: Sink>(
                &mut self,
                side: Side,
                at: u64,
                call: Call,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => ledger.run_started(side, at, call, ends, out),)*
                }
            }

            pub(super) fn bytes<S: Sink>(
                &mut self,
                side: Side,
                segment: Segment<'_>,
                call: Call,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => ledger.bytes(side, segment, call, ends, out),)*
                }
            }

            pub(super) fn skip<S: Sink>(
                &mut self,
                side: Side,
                unseen: Unseen,
                call: Call,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => ledger.skip(side, unseen, call, ends, out),)*
                }
            }

            pub(super) fn end_of_run<S: Sink>(
                &mut self,
                side: Side,
                last: Call,
                tail: u64,
                next: Next<'_>,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => {
                        ledger.end_of_run(side, last, tail, next, ends, out);
                    })*
                }
            }

            pub(super) fn stop_awaiting_request<S: Sink>(
                &mut self,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => ledger.stop_awaiting_request(ends, out),)*
                }
            }

            pub(super) fn expire<S: Sink>(&mut self, now_ns: u64, ends: &Ends, out: &mut Output<'_, S>) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.expire(now_ns, ends, out),)* }
            }

            pub(super) fn close<S: Sink>(
                self,
                time_ns: u64,
                response_ns: u64,
                reset: bool,
                call: Call,
                ends: &Ends,
                out: &mut Output<'_, S>,
            ) {
                match self {
                    $($(#[$attribute])* Self::$Name(ledger) => {
                        ledger.close(time_ns, response_ns, reset, call, ends, out);
                    })*
                }
            }

            pub(super) fn abandon<S: Sink>(self, ends: &Ends, out: &mut Output<'_, S>) {
                match self { $($(#[$attribute])* Self::$Name(ledger) => ledger.abandon(ends, out),)* }
            }
        }
    };
}

crate::protocol::streams!(conversation);
