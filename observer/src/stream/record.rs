//! Records from bytes: what the ring hands over is checked before anything believes it.

use observer_abi::record::{
    ConnectionClosed, ConnectionOpened, Datagram, LinkFound, MAX_DATAGRAM, MAX_PAYLOAD,
    RecordHeader, RunData, RunOpened, flag, kind,
};

/// One record with its payload.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// A run began.
    RunOpened(RunOpened, &'a [u8]),
    /// More of a run.
    RunData(RunData, &'a [u8]),
    /// A connection was seen for the first time.
    ConnectionOpened(ConnectionOpened),
    /// A connection ended.
    ConnectionClosed(ConnectionClosed),
    /// A call may have been made for a request.
    LinkFound(LinkFound),
    /// A datagram to a name server, or from one.
    Datagram(Datagram, &'a [u8]),
    /// A socket for such was closed.
    DatagramsClosed(Datagram),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Fewer bytes than the fixed part, or than the payload that it announces.
    Truncated,
    /// A kind that this daemon does not know.
    Kind,
    /// A direction other than inbound and outbound, a range that ends before it starts, or a payload larger than
    /// its range or than [`MAX_PAYLOAD`].
    Range,
}

/// Reads one record. Bytes after the payload are ignored: records are reserved in size classes.
///
/// # Errors
///
/// [`Malformed`], when sizes or ranges contradict each other.
pub(super) fn read(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let header: RecordHeader = read_pod(bytes).ok_or(Malformed::Truncated)?;
    match header.kind {
        kind::RUN_OPENED => {
            let run: RunOpened = read_pod(bytes).ok_or(Malformed::Truncated)?;
            let payload = payload::<RunOpened>(bytes, &run.data)?;
            Ok(Record::RunOpened(run, payload))
        }
        kind::RUN_DATA => {
            let data: RunData = read_pod(bytes).ok_or(Malformed::Truncated)?;
            let payload = payload::<RunData>(bytes, &data)?;
            Ok(Record::RunData(data, payload))
        }
        kind::CONNECTION_OPENED => read_pod(bytes)
            .map(Record::ConnectionOpened)
            .ok_or(Malformed::Truncated),
        kind::CONNECTION_CLOSED => read_pod(bytes)
            .map(Record::ConnectionClosed)
            .ok_or(Malformed::Truncated),
        kind::LINK_FOUND => read_pod(bytes)
            .map(Record::LinkFound)
            .ok_or(Malformed::Truncated),
        kind::DATAGRAM => {
            let datagram: Datagram = read_pod(bytes).ok_or(Malformed::Truncated)?;
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
        kind::DATAGRAMS_CLOSED => read_pod(bytes)
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

/// Reads a plain struct from the start of `bytes`; `None` when they are too few.
pub(crate) fn read_pod<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: `bytes` holds at least `size_of::<T>()` initialised bytes, `read_unaligned` asks for no alignment, and
    // `Pod` promises that every bit pattern is a valid `T`.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
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

    #[test]
    fn a_record_cut_anywhere_is_malformed_and_never_read() {
        let whole = run_data(5, 0, 5, b"hello");
        for length in 0..whole.len() {
            assert!(
                read(&whole[..length]).is_err(),
                "{length} of {} bytes",
                whole.len()
            );
        }
        assert!(matches!(read(&whole), Ok(Record::RunData(_, b"hello"))));
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
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(matches!(read(&whole), Ok(Record::LinkFound(found)) if found.span_id == [2; 8]));
    }

    #[test]
    fn the_slack_of_a_size_class_is_not_payload() {
        let bytes = run_data(2, 0, 9, b"hello garbage");
        assert!(matches!(read(&bytes), Ok(Record::RunData(_, b"he"))));
    }

    #[test]
    fn ranges_that_contradict_the_payload_are_refused() {
        assert_eq!(
            read(&run_data(5, 0, 4, b"hello")).err(),
            Some(Malformed::Range)
        );
        assert_eq!(read(&run_data(0, 5, 4, b"")).err(), Some(Malformed::Range));
        let large = vec![b'x'; MAX_PAYLOAD + 1];
        assert_eq!(
            read(&run_data(large.len() as u32, 0, 1 << 20, &large)).err(),
            Some(Malformed::Range)
        );
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut bytes = run_data(0, 0, 0, b"");
        bytes[28] = 77;
        assert_eq!(read(&bytes).err(), Some(Malformed::Kind));
    }
}
