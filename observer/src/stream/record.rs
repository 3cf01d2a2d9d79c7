//! Records from bytes: what the ring hands over is checked before anything believes it, and read where it lies.

use observer_abi::record::{
    ConnectionClosed, ConnectionOpened, Datagram, LinkFound, MAX_DATAGRAM, MAX_PAYLOAD,
    RecordHeader, RunData, RunOpened, flag, kind,
};

/// One record with its payload.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// A run began.
    RunOpened(&'a RunOpened, &'a [u8]),
    /// More of a run.
    RunData(&'a RunData, &'a [u8]),
    /// A connection was seen for the first time.
    ConnectionOpened(&'a ConnectionOpened),
    /// A connection ended.
    ConnectionClosed(&'a ConnectionClosed),
    /// A call may have been made for a request.
    LinkFound(&'a LinkFound),
    /// A datagram to a name server, or from one.
    Datagram(&'a Datagram, &'a [u8]),
    /// A socket for such was closed.
    DatagramsClosed(&'a Datagram),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Fewer bytes than the fixed part, or than the payload that it announces; or not at an [aligned](is_aligned) place.
    Truncated,
    /// A kind that this daemon does not know.
    Kind,
    /// A direction other than inbound and outbound, a range that ends before it starts, or a payload larger than
    /// its range or than [`MAX_PAYLOAD`].
    Range,
}

/// Records lie at multiples of so many bytes.
const ALIGNMENT: usize = 8;

/// Whether bytes begin where records do, as all do in a ring.
pub(super) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

/// Reads one record, which begins at an [aligned](is_aligned) place. Bytes after the payload are ignored: records are
/// reserved in size classes.
///
/// # Errors
///
/// [`Malformed`], when sizes or ranges contradict each other.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let header: &RecordHeader = refer(bytes).ok_or(Malformed::Truncated)?;
    match header.kind {
        kind::RUN_OPENED => {
            let run: &RunOpened = refer(bytes).ok_or(Malformed::Truncated)?;
            let payload = payload::<RunOpened>(bytes, &run.data)?;
            Ok(Record::RunOpened(run, payload))
        }
        kind::RUN_DATA => {
            let data: &RunData = refer(bytes).ok_or(Malformed::Truncated)?;
            let payload = payload::<RunData>(bytes, data)?;
            Ok(Record::RunData(data, payload))
        }
        kind::CONNECTION_OPENED => refer(bytes)
            .map(Record::ConnectionOpened)
            .ok_or(Malformed::Truncated),
        kind::CONNECTION_CLOSED => refer(bytes)
            .map(Record::ConnectionClosed)
            .ok_or(Malformed::Truncated),
        kind::LINK_FOUND => refer(bytes)
            .map(Record::LinkFound)
            .ok_or(Malformed::Truncated),
        kind::DATAGRAM => {
            let datagram: &Datagram = refer(bytes).ok_or(Malformed::Truncated)?;
            let captured = datagram.header.captured as usize;
            if datagram.header.direction > 1 || captured > MAX_DATAGRAM {
                return Err(Malformed::Range);
            }
            let payload = bytes[size_of::<Datagram>()..].get(..captured);
            Ok(Record::Datagram(
                datagram,
                payload.ok_or(Malformed::Truncated)?,
            ))
        }
        kind::DATAGRAMS_CLOSED => refer(bytes)
            .map(Record::DatagramsClosed)
            .ok_or(Malformed::Truncated),
        _ => Err(Malformed::Kind),
    }
}

/// The payload that follows a fixed part `T`.
fn payload<'a, T>(bytes: &'a [u8], data: &RunData) -> Result<&'a [u8], Malformed> {
    let captured = data.header.captured as usize;
    let length = data.end.checked_sub(data.start).ok_or(Malformed::Range)?;
    if data.header.direction > 1 || captured > MAX_PAYLOAD || captured as u64 > length {
        return Err(Malformed::Range);
    }
    let payload = bytes
        .get(size_of::<T>()..size_of::<T>() + captured)
        .ok_or(Malformed::Truncated)?;
    Ok(if data.header.flags & flag::NO_PAYLOAD != 0 {
        &[]
    } else {
        payload
    })
}

/// A plain struct at the start of `bytes`, where it lies; `None` when they are too few, or it may not lie there.
#[inline]
fn refer<T: aya::Pod>(bytes: &[u8]) -> Option<&T> {
    let pointer = bytes.as_ptr().cast::<T>();
    if bytes.len() < size_of::<T>() || !pointer.is_aligned() {
        return None;
    }
    // SAFETY: `bytes` holds at least `size_of::<T>()` initialised bytes at an address that is aligned for a `T`, nothing
    // writes to them while they are borrowed, and `Pod` promises that every bit pattern is a valid `T`.
    Some(unsafe { &*pointer })
}

/// Reads a plain struct from the start of `bytes`; `None` when they are too few.
pub(crate) fn read_pod<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: `bytes` holds at least `size_of::<T>()` initialised bytes, `read_unaligned` asks for no alignment, and
    // `Pod` promises that every bit pattern is a valid `T`.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

/// Room to which a record is copied that does not lie as in a ring.
#[derive(Debug, Default)]
pub(super) struct Aligned(Vec<u8>);

impl Aligned {
    /// The same bytes at an [aligned](is_aligned) place.
    pub(super) fn with<R>(&mut self, bytes: &[u8], then: impl FnOnce(&[u8]) -> R) -> R {
        self.0.clear();
        self.0.resize(ALIGNMENT, 0);
        // It does not move while there is room.
        self.0.reserve(bytes.len());
        let from = ALIGNMENT - self.0.as_ptr().addr() % ALIGNMENT;
        self.0.truncate(from);
        self.0.extend_from_slice(bytes);
        then(&self.0[from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, captured: u32) -> RecordHeader {
        RecordHeader {
            kind,
            captured,
            ..RecordHeader::default()
        }
    }

    fn run_data(captured: u32, start: u64, end: u64, payload: &[u8]) -> Vec<u8> {
        let data = RunData {
            header: header(kind::RUN_DATA, captured),
            start,
            end,
            tid: 1,
            tgid: 1,
        };
        let mut bytes = super::super::script::bytes_of(&data);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// What is read of bytes that lie as in a ring.
    fn with<R>(bytes: &[u8], then: impl FnOnce(Result<Record<'_>, Malformed>) -> R) -> R {
        Aligned::default().with(bytes, |bytes| then(read(bytes)))
    }

    fn error(bytes: &[u8]) -> Option<Malformed> {
        with(bytes, |read| read.err())
    }

    #[test]
    fn bytes_that_do_not_lie_as_in_a_ring_are_refused_or_moved() {
        let whole = run_data(5, 0, 5, b"hello");
        let mut shifted = Vec::new();
        for shift in 0..16 {
            shifted.clear();
            shifted.resize(shift, 0);
            shifted.extend_from_slice(&whole);
            let bytes = &shifted[shift..];
            assert_eq!(read(bytes).is_ok(), is_aligned(bytes), "{shift}");
            with(bytes, |read| {
                assert!(matches!(read, Ok(Record::RunData(_, b"hello"))));
            });
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_malformed_and_never_read() {
        let whole = run_data(5, 0, 5, b"hello");
        for length in 0..whole.len() {
            let error = error(&whole[..length]);
            assert!(error.is_some(), "{length} of {} bytes", whole.len());
        }
        with(&whole, |read| {
            assert!(matches!(read, Ok(Record::RunData(_, b"hello"))));
        });
    }

    #[test]
    fn a_link_cut_anywhere_is_malformed() {
        let link = LinkFound {
            header: header(kind::LINK_FOUND, 0),
            call_span_id: [1; 8],
            span_id: [2; 8],
            trace_id: [3; 16],
        };
        let whole = super::super::script::bytes_of(&link);
        for length in 0..whole.len() {
            assert!(error(&whole[..length]).is_some(), "{length} bytes");
        }
        with(&whole, |read| {
            assert!(matches!(read, Ok(Record::LinkFound(found)) if found.span_id == [2; 8]));
        });
    }

    #[test]
    fn the_slack_of_a_size_class_is_not_payload() {
        let bytes = run_data(2, 0, 9, b"hello garbage");
        with(&bytes, |read| {
            assert!(matches!(read, Ok(Record::RunData(_, b"he"))));
        });
    }

    #[test]
    fn ranges_that_contradict_the_payload_are_refused() {
        assert_eq!(error(&run_data(5, 0, 4, b"hello")), Some(Malformed::Range));
        assert_eq!(error(&run_data(0, 5, 4, b"")), Some(Malformed::Range));
        let large = vec![b'x'; MAX_PAYLOAD + 1];
        let large = run_data(large.len() as u32, 0, 1 << 20, &large);
        assert_eq!(error(&large), Some(Malformed::Range));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut bytes = run_data(0, 0, 0, b"");
        bytes[28] = 77;
        assert_eq!(error(&bytes), Some(Malformed::Kind));
    }
}
