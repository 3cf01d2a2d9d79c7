//! The streams of a connection that are open.

use std::collections::HashMap;

use super::{
    frame::{HEADER, Header, kind},
    messages::Messages,
};
use crate::protocol::Side;

/// Streams that are followed at a time: beyond, bodies are not measured.
const MOST: usize = 10_000;

/// One stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// By [`Side::index`].
    pub(super) flows: [Flow; 2],
    /// Its answer's head was seen.
    pub(super) answered: bool,
    /// Its data is messages.
    pub(super) has_messages: bool,
}

/// One direction of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    /// Of data, padding excluded.
    pub(super) bytes: u64,
    /// More may have passed.
    pub(super) missed: bool,
    pub(super) ended: bool,
    pub(super) messages: Messages,
}

impl Stream {
    pub(super) fn flow(&mut self, side: Side) -> &mut Flow {
        &mut self.flows[side.index()]
    }

    /// Bytes may have passed unread.
    fn lose(&mut self, side: Side) {
        let flow = self.flow(side);
        if !flow.ended {
            flow.missed = true;
            flow.messages.lose();
        }
    }
}

/// All that are open, by number.
#[derive(Debug, Default)]
pub(super) struct Streams(HashMap<u32, Stream, foldhash::fast::RandomState>);

impl Streams {
    /// A client opened one.
    pub(super) fn open(&mut self, id: u32, stream: Stream) {
        if self.0.len() < MOST || self.0.contains_key(&id) {
            self.0.insert(id, stream);
        }
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.0.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        self.0.remove(&id)
    }

    /// Bytes of a side may have passed unread.
    pub(super) fn lose(&mut self, side: Side) {
        self.0.values_mut().for_each(|stream| stream.lose(side));
    }

    /// Those above `last`, in order.
    pub(super) fn above(&self, last: u32) -> Vec<u32> {
        let mut ids: Vec<u32> = self.0.keys().copied().filter(|id| *id > last).collect();
        ids.sort_unstable();
        ids
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where in bytes behind a loss a frame begins. Those at their beginning are taken for one if they may be; later ones only if they
    /// are an open stream's and another frame follows them.
    pub(super) fn resumes(&self, bytes: &[u8]) -> Option<usize> {
        let usual = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            let header = Header::read(bytes);
            // A block that goes on is of no use without its beginning.
            let is_one = Header::is_usual(bytes, &header) && header.kind != kind::CONTINUATION;
            is_one.then_some(header)
        };
        if usual(0).is_some() {
            return Some(0);
        }
        (1..bytes.len()).find(|at| {
            usual(*at).is_some_and(|header| {
                let next = at + HEADER + header.length as usize;
                self.0.contains_key(&header.stream) && usual(next).is_some()
            })
        })
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u32, Stream)> + '_ {
        self.0.drain()
    }
}
