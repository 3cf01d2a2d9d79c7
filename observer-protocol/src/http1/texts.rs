//! Texts of a request's head, one behind the other in room that is used again.

use super::head::push_text;

/// How many there may be.
const COUNT: usize = 4;
/// Most bytes that are kept of each. A longer `traceparent` is malformed, and still is when it is cut.
pub(super) const LIMITS: [usize; COUNT] = [2048, 256, 256, 256];

/// What a request asks for, of whom, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    room: String,
    /// Where each ends, and whether it is there.
    places: [(u16, bool); COUNT],
}

impl Texts {
    /// Of a request to this target; of each text so much as is kept of those that are read.
    pub fn new(target: &str, host: Option<&str>, user_agent: Option<&str>) -> Self {
        let mut texts = Self::default();
        let (host, user_agent) = (host.map(str::as_bytes), user_agent.map(str::as_bytes));
        texts.write([Some(target.as_bytes()), host, user_agent, None]);
        texts
    }

    /// Request target as it was sent, query included, at most 2 KiB of it.
    #[inline]
    pub fn target(&self) -> &str {
        self.get(0).unwrap_or_default()
    }

    /// `Host` header, else the authority of an absolute or authority-form target; at most 256 bytes.
    #[inline]
    pub fn host(&self) -> Option<&str> {
        self.get(1)
    }

    /// `User-Agent` header, at most 256 bytes.
    #[inline]
    pub fn user_agent(&self) -> Option<&str> {
        self.get(2)
    }

    /// `traceparent` as it was sent, not checked; `None` where there is none or more than one.
    #[inline]
    pub fn traceparent(&self) -> Option<&str> {
        self.get(3)
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&str> {
        let (end, is_there) = self.places[index];
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.places[before].0);
        let text = self.room.get(usize::from(start)..usize::from(end));
        text.filter(|_| is_there)
    }

    /// Writes all, in that order, over what was there. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn write(&mut self, parts: [Option<&[u8]>; COUNT]) {
        let mut bytes = std::mem::take(&mut self.room).into_bytes();
        bytes.clear();
        let mut whole = true;
        for ((part, place), limit) in parts.iter().zip(&mut self.places).zip(LIMITS) {
            if let Some(part) = part {
                whole &= part.len() <= limit;
                bytes.extend_from_slice(&part[..part.len().min(limit)]);
            }
            *place = (bytes.len() as u16, part.is_some());
        }
        // All are judged at once: the last of one and the first of the next may only together be a character.
        let all = String::from_utf8(bytes);
        let apart = |text: &String| {
            let mut ends = self.places.iter().map(|(end, _)| usize::from(*end));
            ends.all(|end| text.is_char_boundary(end))
        };
        match all {
            Ok(text) if whole && apart(&text) => self.room = text,
            Ok(text) => self.write_each(text, parts),
            Err(_) => self.write_each(String::new(), parts),
        }
    }

    /// The same, one by one.
    #[cold]
    fn write_each(&mut self, mut room: String, parts: [Option<&[u8]>; COUNT]) {
        room.clear();
        for ((part, place), limit) in parts.iter().zip(&mut self.places).zip(LIMITS) {
            let mut text = String::new();
            push_text(&mut text, part.unwrap_or_default(), limit);
            room.push_str(&text);
            place.0 = room.len() as u16;
        }
        self.room = room;
    }

    /// Where the texts lie.
    #[cfg(test)]
    pub(super) fn place(&self) -> *const u8 {
        self.room.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as it is alone.
    fn alone(part: Option<&[u8]>, limit: usize) -> Option<String> {
        let mut text = String::new();
        push_text(&mut text, part?, limit);
        Some(text)
    }

    #[test]
    fn each_text_is_what_it_is_alone() {
        let long = "é".repeat(2000);
        let parts: [Option<&[u8]>; 11] = [
            None,
            Some(b""),
            Some(b"a"),
            Some(b"/a?b"),
            Some("é".as_bytes()),
            Some(b"\xc3"),
            Some(b"\xa9"),
            Some(b"a\xffb"),
            Some(&long.as_bytes()[..255]),
            Some(&long.as_bytes()[..257]),
            Some(long.as_bytes()),
        ];
        let mut texts = Texts::default();
        for target in parts {
            for host in parts {
                for agent in parts {
                    for parent in [parts[0], parts[3], parts[6]] {
                        texts.write([target, host, agent, parent]);
                        let expected = [target, host, agent, parent];
                        let found = [0, 1, 2, 3].map(|index| texts.get(index));
                        for index in 0..COUNT {
                            let expected = alone(expected[index], LIMITS[index]);
                            assert_eq!(found[index], expected.as_deref(), "{index}");
                        }
                    }
                }
            }
        }
    }
}
