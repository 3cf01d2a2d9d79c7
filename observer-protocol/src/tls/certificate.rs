//! When a certificate ends. Nothing else of it is read, and nothing is verified.

use der::{Decode as _, Header, SliceReader, Tag, asn1};

use super::wire::Reader;

/// When the sender's own certificate ends, the first of a Certificate message's body (RFC 5246 section 7.4.2, RFC 8446 section
/// 4.4.2), in seconds since 1970; nothing where there is none, or where the body is cut before it. Certificates of raw public
/// keys have no end.
pub(crate) fn not_after_of_message(body: &[u8], version_13: bool) -> Option<u64> {
    let mut body = Reader(body);
    if version_13 {
        body.vector(1)?;
    }
    let mut list = Reader(body.vector_or_part(3)?);
    not_after(list.vector_or_part(3)?)
}

/// When a certificate ends (RFC 5280 section 4.1.2.5), in seconds since 1970. The end of `certificate` may be missing.
pub fn not_after(certificate: &[u8]) -> Option<u64> {
    let mut left = certificate;
    enter(&mut left, Tag::Sequence)?;
    enter(&mut left, Tag::Sequence)?;
    // The version, which is left out where it is 1.
    if left.first()? == &0xa0 {
        skip(&mut left)?;
    }
    // The serial number, the algorithm, the issuer.
    (0..3).try_for_each(|_| skip(&mut left))?;
    enter(&mut left, Tag::Sequence)?;
    skip(&mut left)?;
    let mut rest = left;
    skip(&mut rest)?;
    let time = &left[..left.len() - rest.len()];
    let time = match asn1::UtcTime::from_der(time) {
        Ok(time) => time.to_unix_duration(),
        Err(_) => asn1::GeneralizedTime::from_der(time)
            .ok()?
            .to_unix_duration(),
    };
    Some(time.as_secs())
}

/// Goes into a value of that kind.
fn enter(left: &mut &[u8], tag: Tag) -> Option<()> {
    let (header, content) = header(left)?;
    (header.tag == tag).then(|| *left = content)
}

/// Goes behind a value.
fn skip(left: &mut &[u8]) -> Option<()> {
    let (header, content) = header(left)?;
    *left = content.get(usize::try_from(header.length).ok()?..)?;
    Some(())
}

fn header(left: &[u8]) -> Option<(Header, &[u8])> {
    // The reader takes no more than a header's bytes; it refuses slices beyond 256 MiB.
    let mut reader = SliceReader::new(left).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let read = usize::try_from(der::Reader::position(&reader)).ok()?;
    Some((header, left.get(read..)?))
}
