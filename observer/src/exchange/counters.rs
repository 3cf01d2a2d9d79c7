//! What a shard counts, of connections and of exchanges: every way in which bytes or exchanges are lost has a name here.

use super::{Incomplete, TlsCounters};

/// Counts since the shard began, except where a field says "now". Plain numbers: the owner of the shard publishes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Records read, malformed ones included.
    pub records: u64,
    /// Records whose sizes contradict each other, or of an unknown kind: dropped.
    pub malformed_records: u64,
    /// Records of a connection that a newer one at the same address had already replaced: dropped.
    pub stale_records: u64,
    /// Records whose bytes the kernel could not read.
    pub unreadable_records: u64,
    /// Times that bytes were missing where the kernel's budget does not explain it.
    pub gaps: u64,
    /// Bytes missing in those gaps.
    pub lost_bytes: u64,
    /// Connections known now.
    pub connections: u64,
    /// Connections seen.
    pub connections_seen: u64,
    /// Connections forgotten because there were too many.
    pub connections_evicted: u64,
    /// Connections whose end was not told, found by their absence or by a successor.
    pub closes_lost: u64,
    /// Connections that speak nothing that is understood.
    pub not_http: u64,
    /// Connections that became a tunnel.
    pub tunnels: u64,
    /// Connections that went on in another protocol.
    pub switches: u64,
    /// Connections seen pipelining.
    pub pipelined: u64,
    /// Exchanges given on, incomplete ones included.
    pub exchanges: u64,
    /// Exchanges for which there was no room while they were open: handed on at once, as having lost bytes.
    pub exchanges_refused: u64,
    /// Unfinished heads that were let go, because all connections together kept too much of them.
    pub heads_released: u64,
    /// Responses whose request was not seen: not given on.
    pub responses_without_request: u64,
    /// Times that a direction's bytes were skipped up to the next run.
    pub resyncs: u64,
    /// Exchanges given on that lost bytes inside a head.
    pub lost_bytes_exchanges: u64,
    /// Exchanges given on whose head was larger than what is captured.
    pub head_too_large: u64,
    /// Exchanges cut off by the connection's end.
    pub closed: u64,
    /// Exchanges cut off by a reset.
    pub reset: u64,
    /// Exchanges open when observer stopped or forgot their connection.
    pub abandoned: u64,
    /// Exchanges with a message that could not be parsed.
    pub malformed: u64,
    /// Exchanges of which no answer was seen.
    pub unanswered: u64,
    /// DNS lookups given on, those without an answer included.
    pub lookups: u64,
    /// Datagrams to or from name servers that are no DNS queries or answers, or malformed: dropped.
    pub not_dns: u64,
    /// DNS answers whose query was not seen, or which came late or twice: dropped.
    pub answers_without_query: u64,
    /// What became of TLS.
    pub tls: TlsCounters,
}

impl StreamCounters {
    /// Counts an exchange that is given on.
    pub(crate) fn count_exchange(&mut self, incomplete: Option<Incomplete>) {
        self.exchanges += 1;
        match incomplete {
            None => {}
            Some(Incomplete::LostBytes) => self.lost_bytes_exchanges += 1,
            Some(Incomplete::HeadTooLarge) => self.head_too_large += 1,
            Some(Incomplete::Closed) => self.closed += 1,
            Some(Incomplete::Reset) => self.reset += 1,
            Some(Incomplete::Abandoned) => self.abandoned += 1,
            Some(Incomplete::Malformed) => self.malformed += 1,
            Some(Incomplete::Unanswered) => self.unanswered += 1,
        }
    }

    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.malformed_records += other.malformed_records;
        self.stale_records += other.stale_records;
        self.unreadable_records += other.unreadable_records;
        self.gaps += other.gaps;
        self.lost_bytes += other.lost_bytes;
        self.connections += other.connections;
        self.connections_seen += other.connections_seen;
        self.connections_evicted += other.connections_evicted;
        self.closes_lost += other.closes_lost;
        self.not_http += other.not_http;
        self.tunnels += other.tunnels;
        self.switches += other.switches;
        self.pipelined += other.pipelined;
        self.exchanges += other.exchanges;
        self.exchanges_refused += other.exchanges_refused;
        self.heads_released += other.heads_released;
        self.responses_without_request += other.responses_without_request;
        self.resyncs += other.resyncs;
        self.lost_bytes_exchanges += other.lost_bytes_exchanges;
        self.head_too_large += other.head_too_large;
        self.closed += other.closed;
        self.reset += other.reset;
        self.abandoned += other.abandoned;
        self.malformed += other.malformed;
        self.unanswered += other.unanswered;
        self.lookups += other.lookups;
        self.not_dns += other.not_dns;
        self.answers_without_query += other.answers_without_query;
        self.tls.add(&other.tls);
    }

    /// Every count by name, less those that have a metric of their own.
    pub const fn named(&self) -> [(&'static str, u64); 26] {
        [
            ("malformed_records", self.malformed_records),
            ("stale_records", self.stale_records),
            ("unreadable_records", self.unreadable_records),
            ("gaps", self.gaps),
            ("lost_bytes", self.lost_bytes),
            ("connections_seen", self.connections_seen),
            ("connections_evicted", self.connections_evicted),
            ("closes_lost", self.closes_lost),
            ("not_http", self.not_http),
            ("tunnels", self.tunnels),
            ("switches", self.switches),
            ("pipelined", self.pipelined),
            ("exchanges_refused", self.exchanges_refused),
            ("heads_released", self.heads_released),
            ("responses_without_request", self.responses_without_request),
            ("resyncs", self.resyncs),
            ("lost_bytes_exchanges", self.lost_bytes_exchanges),
            ("head_too_large", self.head_too_large),
            ("closed", self.closed),
            ("reset", self.reset),
            ("abandoned", self.abandoned),
            ("malformed", self.malformed),
            ("unanswered", self.unanswered),
            ("dns_lookups", self.lookups),
            ("not_dns", self.not_dns),
            ("dns_answers_without_query", self.answers_without_query),
        ]
    }

    /// Incomplete exchanges by the name of their reason ([`Incomplete::as_str`]).
    pub const fn incomplete(&self) -> [(&'static str, u64); 7] {
        [
            (Incomplete::LostBytes.as_str(), self.lost_bytes_exchanges),
            (Incomplete::HeadTooLarge.as_str(), self.head_too_large),
            (Incomplete::Closed.as_str(), self.closed),
            (Incomplete::Reset.as_str(), self.reset),
            (Incomplete::Abandoned.as_str(), self.abandoned),
            (Incomplete::Malformed.as_str(), self.malformed),
            (Incomplete::Unanswered.as_str(), self.unanswered),
        ]
    }
}
