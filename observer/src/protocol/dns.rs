//! DNS over UDP: lookups, seen where they are made.

use observer_protocol::dns::{Question, ResponseCode};

/// What a DNS lookup adds: a query and its answer over UDP, seen where it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsExchange {
    /// What was asked.
    pub question: Question,
    /// What the name server answered; `None` where no answer was seen.
    pub response_code: Option<ResponseCode>,
    /// How often the query was sent.
    pub attempts: u32,
}
