//! An exchange that has not ended yet.

use std::sync::Arc;

use observer_protocol::protocol::Replies;

use super::{Common, Exchange, Incomplete, InferredLink, JoinKey, Times, TraceContext};
use crate::{
    identity::{Address, ConnectionKey, ProcessKey, Role},
    protocol::tls::Tls,
};

/// The sequence numbers at which the positions of a connection's directions are 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bases {
    /// Of what this end sends.
    pub(crate) outbound: u32,
    /// Of what it receives.
    pub(crate) inbound: u32,
    /// It was seen from its establishment.
    pub(crate) from_start: bool,
}

/// What all exchanges of a connection have in common.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The connection.
    pub(crate) key: ConnectionKey,
    /// Which end this is.
    pub(crate) role: Role,
    /// Network namespace inode number, 0 when not known.
    pub(crate) netns: u32,
    /// This end's address.
    pub(crate) local: Address,
    /// The other end's address.
    pub(crate) peer: Address,
    /// Where its directions begin; `None` of a Unix socket, and where that was not told.
    pub(crate) bases: Option<Bases>,
    /// TLS lies below what was read.
    pub(crate) tls: bool,
    /// What its session agreed on, where it is read at the wire.
    pub(crate) session: Option<Arc<Tls>>,
}

impl Ends {
    /// Writes it to one of them.
    pub(crate) fn write(&self, common: &mut Common) {
        common.role = self.role;
        common.connection = self.key;
        common.netns = self.netns;
        common.local.clone_from(&self.local);
        common.peer.clone_from(&self.peer);
        common.tls = self.tls;
        common.session.clone_from(&self.session);
    }
}

/// A socket call, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When, CLOCK_MONOTONIC ns.
    pub(crate) time_ns: u64,
    /// The process that made it.
    pub(crate) process: ProcessKey,
    /// The thread.
    pub(crate) tid: u32,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No head yet.
    Awaited,
    /// Its head was seen.
    Begun,
    /// It ended, or nothing more can be learned about it.
    Ended,
}

/// One request, and its answer as far as it was seen: the exchange as it will be, and what is needed until then.
#[derive(Debug)]
pub(crate) struct Open {
    /// What it becomes. Its ends are written when it is finished: they may be told late.
    pub(super) exchange: Exchange,
    /// What reading the answer depends on.
    pub(super) asked: u64,
    /// Its number, where the protocol has them.
    pub(super) key: u64,
    /// No answer that begins before this position is this request's.
    pub(super) response_from: u64,
    /// When bytes were lost that may have been its answer's, CLOCK_MONOTONIC ns; 0 where none were.
    pub(super) doubted_ns: u64,
    /// By which the client's end of it is found.
    pub(super) join: Option<JoinKey>,
    pub(super) replies: Replies,
    pub(super) request: Progress,
    pub(super) response: Progress,
    /// The sink was told that it started.
    pub(super) announced: bool,
}

impl Open {
    /// A slot that nothing was written to.
    pub(super) fn empty() -> Self {
        Self {
            exchange: Exchange::empty(),
            asked: 0,
            key: 0,
            response_from: 0,
            doubted_ns: 0,
            join: None,
            replies: Replies::One,
            request: Progress::Awaited,
            response: Progress::Awaited,
            announced: false,
        }
    }

    /// Writes a request whose first byte `call` moved; its detail is the protocol's to write.
    pub(super) fn begin(&mut self, call: Call, context: TraceContext) {
        let common = &mut self.exchange.common;
        common.process = call.process;
        common.tid = call.tid;
        common.times = Times {
            request_start: call.time_ns,
            request_end: call.time_ns,
            ..Times::default()
        };
        common.context = context;
        common.incomplete = None;
        self.asked = 0;
        self.key = 0;
        self.response_from = 0;
        self.doubted_ns = 0;
        self.join = None;
        self.replies = Replies::One;
        self.request = Progress::Begun;
        self.response = Progress::Awaited;
        self.announced = false;
    }

    /// When the connection was established and accepted, 0 where that was not seen or this is not its first request.
    pub(super) fn set_established(&mut self, (established_ns, accepted_ns): (u64, u64)) {
        let times = &mut self.exchange.common.times;
        times.connection_established = Some(established_ns).filter(|time| *time != 0);
        times.connection_accepted = Some(accepted_ns).filter(|time| *time != 0);
    }

    /// What this call may have been made for, if it is the one with the span id `call`. Returns whether it is.
    pub(super) fn set_link(&mut self, call: [u8; 8], link: InferredLink) -> bool {
        let context = &mut self.exchange.common.context;
        let is_it = context.span_id == call;
        if is_it {
            context.link = Some(link);
        }
        is_it
    }

    /// More of the request moved at `time_ns` (0: not known).
    pub(super) fn request_moved(&mut self, time_ns: u64) {
        let times = &mut self.exchange.common.times;
        times.request_end = times.request_end.max(time_ns);
    }

    /// Nothing more of the request comes. Of one that gets no answer that is the exchange's end.
    pub(super) fn request_ended(&mut self) {
        self.request = Progress::Ended;
        let times = &mut self.exchange.common.times;
        if self.replies == Replies::None {
            times.response_end = Some(times.request_end);
        }
    }

    pub(super) fn response_began(&mut self, time_ns: u64) {
        self.response = Progress::Begun;
        let times = &mut self.exchange.common.times;
        times.response_start = Some(time_ns.max(times.request_start));
    }

    /// `time_ns`: when its last byte moved; 0 when that is not known.
    pub(super) fn response_ended(&mut self, time_ns: u64) {
        self.response = Progress::Ended;
        let times = &mut self.exchange.common.times;
        times.response_end = match times.response_start {
            Some(start) => Some(time_ns.max(start)),
            None => Some(time_ns).filter(|time| *time != 0),
        };
    }

    /// Notes what is missing, unless something was missing before.
    pub(super) fn mark(&mut self, incomplete: Incomplete) {
        self.exchange.common.incomplete.get_or_insert(incomplete);
    }

    /// The exchange was cut off at `time_ns` before its answer ended. Where the answer may have been lost instead,
    /// nothing is known of its end.
    pub(super) fn cut(&mut self, incomplete: Incomplete, time_ns: u64) {
        if self.doubted_ns != 0 {
            self.mark(Incomplete::LostBytes);
            return;
        }
        self.mark(incomplete);
        let times = &mut self.exchange.common.times;
        times.response_end = Some(time_ns.max(times.request_start));
    }

    /// Nothing more of either message is awaited.
    pub(super) fn is_over(&self) -> bool {
        self.request == Progress::Ended && self.response == Progress::Ended
    }

    /// The sink is told that it started: with what of its ends stays so until it is told that it ended.
    pub(super) fn announce(&mut self, ends: &Ends) {
        self.announced = true;
        let common = &mut self.exchange.common;
        common.role = ends.role;
        common.tls = ends.tls;
    }

    /// Writes what all exchanges of the connection have in common.
    pub(super) fn set_ends(&mut self, ends: &Ends) {
        ends.write(&mut self.exchange.common);
    }
}
