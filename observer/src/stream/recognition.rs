//! What a connection speaks and which end it is, where the kernel did not tell; and when it is left alone.
//!
//! A protocol is told by a run's first bytes. Until then nothing is read, and runs that no protocol knows are counted; a
//! connection that shows nothing else is left alone. What was only supposed, from too few bytes, is taken back where it
//! turns out wrong.

use observer_abi::{
    connection::{INBOUND, OUTBOUND},
    control::shape,
};
use observer_protocol::{
    Segment,
    protocol::{Joined, Number, Shape, Side, Sniff, Switch},
};

use super::{StreamConfig, connection::Connection, conversation::Conversation};
use crate::{
    exchange::{Findings, Output, Sink},
    identity::Role,
};

/// Runs that no protocol knows before a connection that was picked up in its middle is left alone: it may be in a body.
const MOST_FOREIGN: u32 = 16;
/// The same of one that was seen from its beginning: mail servers and others say this and that before TLS begins.
const MOST_FOREIGN_FIRST: u32 = 8;

/// How it is known which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoleSource {
    /// It is not.
    Unknown,
    /// From what may be a message's first bytes.
    Assumed,
    /// From the kernel, or from a message.
    Certain,
}

/// Runs that no protocol knows, by direction, since the last that one does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Foreign([u32; 2]);

impl Foreign {
    fn count(&mut self, direction: usize) {
        self.0[direction] = self.0[direction].saturating_add(1);
    }

    /// Both directions have shown that they are not understood.
    fn is_enough(&self, from_start: bool, sealed: bool) -> bool {
        let [inbound, outbound] = self.0;
        let enough = match (from_start, sealed) {
            (true, true) => 2,
            (true, false) => MOST_FOREIGN_FIRST,
            (false, _) => MOST_FOREIGN,
        };
        inbound > 0 && outbound > 0 && inbound.saturating_add(outbound) >= enough
    }
}

impl Connection {
    /// Finds out from a run's first bytes what is spoken, and which end this is. `false` when they do not tell.
    pub(super) fn recognise<S: Sink>(
        &mut self,
        direction: u8,
        first: &[u8],
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) -> bool {
        if self.conversation.is_some() {
            return true;
        }
        if first.is_empty() {
            return false;
        }
        let index = usize::from(direction);
        let (side, (sniff, number)) = if self.role == RoleSource::Unknown {
            [Side::Request, Side::Response]
                .map(|side| (side, Conversation::sniff(side, first)))
                .into_iter()
                .reduce(|one, other| if one.1.0 < other.1.0 { other } else { one })
                .unwrap_or((Side::Request, (Sniff::No, Number::default())))
        } else {
            let side = self.side(index);
            (side, Conversation::sniff(side, first))
        };
        let conversation = match sniff {
            Sniff::No => None,
            Sniff::More | Sniff::Yes => Conversation::new(number, config.head_bytes, self.joined()),
        };
        let Some(conversation) = conversation else {
            self.count_foreign(index, out);
            return false;
        };
        if self.role == RoleSource::Unknown {
            self.ends.role = match (side, direction) {
                (Side::Request, INBOUND) | (Side::Response, OUTBOUND) => Role::Server,
                _ => Role::Client,
            };
            self.role = match sniff {
                Sniff::Yes => RoleSource::Certain,
                _ => RoleSource::Assumed,
            };
        }
        self.ask_for(&conversation, out);
        self.begin(conversation);
        true
    }

    /// Acts on what was found out from `read`, which was the last that was given to the conversation.
    pub(super) fn take_findings<S: Sink>(
        &mut self,
        read: Option<(Side, Segment<'_>)>,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        let findings = conversation.take_findings();
        if conversation.take_understood() {
            self.understood = true;
            self.foreign = Foreign::default();
            if self.role == RoleSource::Assumed {
                self.role = RoleSource::Certain;
            }
        }
        if let Some(findings) = findings {
            self.act(findings, read, config, out);
        }
    }

    #[cold]
    fn act<S: Sink>(
        &mut self,
        findings: Findings,
        read: Option<(Side, Segment<'_>)>,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        if let Some(switch) = findings.switch {
            self.switch(switch, read, config, out);
            return;
        }
        if (findings.pipelined || findings.head_too_large) && !self.full {
            out.counters.pipelined += u64::from(findings.pipelined);
            self.full = true;
            // Of TLS, records are shipped whole up to a budget a run: there is no more to ask for.
            if !self.sealed {
                out.sink.set_mode(self.ends.key, shape::FULL, 0);
            }
        }
        for side in [Side::Request, Side::Response] {
            if findings.foreign[side.index()] {
                let direction = usize::from(self.side(usize::from(INBOUND)) != side);
                if !self.understood {
                    self.abandon(out);
                    if self.role == RoleSource::Assumed {
                        self.role = RoleSource::Unknown;
                    }
                }
                self.count_foreign(direction, out);
            }
        }
    }

    /// Goes on in another protocol.
    fn switch<S: Sink>(
        &mut self,
        switch: Switch,
        read: Option<(Side, Segment<'_>)>,
        config: &StreamConfig,
        out: &mut Output<'_, S>,
    ) {
        let position = |side| {
            let conversation = self.conversation.as_ref();
            conversation.map_or(0, |conversation| conversation.position(side))
        };
        let positions = [Side::Request, Side::Response].map(position);
        let next = switch
            .to
            .and_then(|number| Conversation::new(number, config.head_bytes, Joined::AtStart));
        let goes_on = switch.continues.filter(|_| next.is_some());
        let goes_on = goes_on.zip(self.conversation.as_mut());
        let goes_on =
            goes_on.and_then(|(key, before)| Some((key, before.hand_over(&self.ends, out)?)));
        self.abandon(out);
        let Some(mut next) = next else {
            out.counters.tunnels += 1;
            self.ignore(out);
            return;
        };
        out.counters.switches += 1;
        if let Some((key, slot)) = goes_on {
            next.take_over(key, slot, &self.ends, out);
        }
        self.ask_for(&next, out);
        for side in [Side::Request, Side::Response] {
            let at = switch.from[side.index()].unwrap_or(positions[side.index()]);
            next.run_started(side, at, self.call, &self.ends, out);
        }
        let known = self.directions.map(|direction| direction.known);
        self.begin(next);
        for (direction, known) in self.directions.iter_mut().zip(known) {
            direction.known = known;
        }
        // What of the call lies behind the switch is the new protocol's.
        if let Some((side, mut segment)) = read
            && let Some(at) = switch.from[side.index()]
            && at < segment.end
            && let Some(conversation) = &mut self.conversation
        {
            segment.advance_to(at);
            conversation.bytes(side, segment, self.call, &self.ends, out);
            self.take_findings(None, config, out);
        }
    }

    /// Has the kernel ship what the protocol needs.
    fn ask_for<S: Sink>(&mut self, conversation: &Conversation, out: &mut Output<'_, S>) {
        if self.sealed {
            // Of TLS, records are shipped, whatever is inside.
            return;
        }
        let wanted = match conversation.shape() {
            // What it ships of a connection that nothing was said about.
            Shape::Head if !self.full => return,
            Shape::Head => shape::HEAD,
            Shape::HeadTail => shape::HEAD_TAIL,
            Shape::Frames => shape::FRAMES,
            Shape::Full => shape::FULL,
            Shape::Ignore => shape::IGNORE,
        };
        self.full = matches!(wanted, shape::FULL | shape::FRAMES);
        self.framed = wanted == shape::FRAMES;
        out.sink
            .set_mode(self.ends.key, wanted, conversation.number().0);
    }

    fn count_foreign<S: Sink>(&mut self, direction: usize, out: &mut Output<'_, S>) {
        self.foreign.count(direction);
        if self.foreign.is_enough(self.from_start, self.sealed) && !self.ignored {
            out.counters.not_http += 1;
            self.ignore(out);
        }
    }

    pub(super) fn ignore<S: Sink>(&mut self, out: &mut Output<'_, S>) {
        self.abandon(out);
        if let (Role::Client, Some(wire)) = (self.ends.role, self.ends.wire()) {
            out.joins.forget(wire);
        }
        self.ignored = true;
        // Whose the bytes of TLS are is followed all the same.
        let wanted = if self.sealed {
            shape::OPAQUE
        } else {
            shape::IGNORE
        };
        out.sink.set_mode(self.ends.key, wanted, 0);
    }
}
