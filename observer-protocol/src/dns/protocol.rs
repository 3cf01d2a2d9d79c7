//! DNS over UDP as [`Datagrams`].

use super::{Message, Question, parse};
use crate::protocol::{self, Datagrams, Number};

/// Standard queries and their answers.
#[derive(Debug)]
pub enum Dns {}

impl Datagrams for Dns {
    const NUMBER: Number = Number(2);
    type Request = Question;
    type Response = Message;

    fn read(bytes: &[u8]) -> Option<protocol::Message<Question, Message>> {
        let message = parse(bytes).ok()?;
        let id = u64::from(message.id);
        if message.is_response {
            let response = message;
            return Some(protocol::Message::Response { id, response });
        }
        // Dynamic updates and notifications ask nothing.
        let request = message.question.filter(|_| message.opcode == 0)?;
        Some(protocol::Message::Request { id, request })
    }

    /// Some answers, to what could not be understood, do not repeat the question.
    fn answers(request: &Question, response: &Message) -> bool {
        let question = response.question.as_ref();
        question.is_none_or(|question| question == request)
    }
}
