//! DNS over UDP: lookups, seen where they are made.

use observer_protocol::dns::{Dns, Message, Question, ResponseCode};

use super::{DatagramAccount, Detail};

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

impl DatagramAccount for Dns {
    fn detail(question: Question, answer: Option<&Message>, attempts: u32) -> Detail {
        Detail::Dns(DnsExchange {
            question,
            response_code: answer.map(|answer| answer.response_code),
            attempts,
        })
    }
}
