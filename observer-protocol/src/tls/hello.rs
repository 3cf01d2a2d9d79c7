//! Hellos: what the sides offer and choose (RFC 8446 section 4.1, RFC 5246 section 7.4.1).

use super::wire::Reader;

/// What is kept of ALPN's names: clients offer two or three.
const PROTOCOLS: usize = 16;

/// The `random` of a ServerHello that asks for another ClientHello (RFC 8446 section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// TLS 1.2.
    pub const TLS_12: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS_13: Self = Self(0x0304);

    /// As `tls.protocol.version` has it: `1.2`, `1.3`; nothing for drafts and for SSL.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0301 => "1.0",
            0x0302 => "1.1",
            0x0303 => "1.2",
            0x0304 => "1.3",
            _ => return None,
        })
    }
}

/// What a client offers. What stood behind a cut is missing: empty, false or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The client's random bytes.
    pub random: [u8; 32],
    /// The highest version it offers, GREASE (RFC 8701) left out.
    pub version: Version,
    /// The session that it would resume (TLS 1.2), or bytes that mean nothing.
    pub session_id: Vec<u8>,
    /// The host that it asks for (RFC 6066 section 3), in lower case. Under Encrypted Client Hello this is the outer name.
    pub server_name: Option<String>,
    /// The application protocols that it offers (RFC 7301), the first sixteen.
    pub protocols: Vec<Vec<u8>>,
    /// It brings a session ticket (RFC 5077).
    pub ticket: bool,
    /// It offers a key that both have (RFC 8446 section 4.2.11): a resumption, mostly.
    pub pre_shared_key: bool,
    /// It sends data before the handshake ends (RFC 8446 section 4.2.10).
    pub early_data: bool,
    /// All of the message was there.
    pub whole: bool,
}

impl ClientHello {
    /// Reads the body of the message; nothing where not even the random is there.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let version = Version(body.u16()?);
        let mut hello = Self {
            random: body.take(32)?.try_into().ok()?,
            version,
            ..Self::default()
        };
        hello.whole = hello.read_rest(body).is_some();
        Some(hello)
    }

    fn read_rest(&mut self, mut body: Reader<'_>) -> Option<()> {
        self.session_id = body.vector(1)?.to_vec();
        body.vector(2)?;
        body.vector(1)?;
        extensions(body, |number, mut content| {
            match number {
                0 => {
                    let mut names = Reader(content.vector(2)?);
                    // Zero is the only kind of name.
                    if names.number(1)? == 0 {
                        self.server_name = host(names.vector(2)?);
                    }
                }
                16 => self.protocols = protocols(content)?,
                35 => self.ticket = !content.0.is_empty(),
                41 => self.pre_shared_key = true,
                42 => self.early_data = true,
                43 => {
                    let mut versions = Reader(content.vector(1)?);
                    while let Some(version) = versions.u16() {
                        if version >> 8 == 3 {
                            self.version = self.version.max(Version(version));
                        }
                    }
                }
                _ => {}
            }
            Some(())
        })
    }
}

/// What a server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// The server's random bytes.
    pub random: [u8; 32],
    /// The version that both speak.
    pub version: Version,
    /// The number of the cipher suite.
    pub suite: u16,
    /// The session's name (TLS 1.2); the client's own where that session is resumed.
    pub session_id: Vec<u8>,
    /// It is no answer but asks for another hello.
    pub retry: bool,
    /// The application protocol that it chose (TLS 1.2; TLS 1.3 says it encrypted).
    pub protocol: Option<Vec<u8>>,
    /// It took the key that the client offered: a resumption, mostly (TLS 1.3).
    pub pre_shared_key: bool,
    /// CBC records carry their MAC outside of what is encrypted (RFC 7366).
    pub encrypt_then_mac: bool,
    /// The master secret is bound to the handshake (RFC 7627).
    pub extended_master_secret: bool,
    /// All of the message was there.
    pub whole: bool,
}

impl ServerHello {
    /// Reads the body of the message; nothing where it is cut before the suite.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let version = Version(body.u16()?);
        let random: [u8; 32] = body.take(32)?.try_into().ok()?;
        let session_id = body.vector(1)?.to_vec();
        let mut hello = Self {
            random,
            version,
            session_id,
            suite: body.u16()?,
            retry: random == RETRY,
            ..Self::default()
        };
        hello.whole = hello.read_rest(body).is_some();
        Some(hello)
    }

    fn read_rest(&mut self, mut body: Reader<'_>) -> Option<()> {
        // The compression.
        body.take(1)?;
        extensions(body, |number, mut content| {
            match number {
                16 => self.protocol = protocols(content)?.pop(),
                22 => self.encrypt_then_mac = true,
                23 => self.extended_master_secret = true,
                41 => self.pre_shared_key = true,
                43 => self.version = Version(content.u16()?),
                _ => {}
            }
            Some(())
        })
    }
}

/// What TLS 1.3's EncryptedExtensions say: the protocol that the server chose, and whether it takes early data.
pub(crate) fn encrypted_extensions(body: &[u8]) -> (Option<Vec<u8>>, bool) {
    let (mut protocol, mut early_data) = (None, false);
    extensions(Reader(body), |number, content| {
        match number {
            16 => protocol = protocols(content)?.pop(),
            42 => early_data = true,
            _ => {}
        }
        Some(())
    });
    (protocol, early_data)
}

/// Says each extension; nothing where one is cut or malformed. A hello may end before them.
fn extensions<'a>(
    mut body: Reader<'a>,
    mut say: impl FnMut(u16, Reader<'a>) -> Option<()>,
) -> Option<()> {
    if body.0.is_empty() {
        return Some(());
    }
    let length = body.number(2)?;
    let whole = length == body.0.len();
    let mut body = Reader(&body.0[..length.min(body.0.len())]);
    while !body.0.is_empty() {
        let number = body.u16()?;
        say(number, Reader(body.vector(2)?))?;
    }
    whole.then_some(())
}

/// ALPN's list.
fn protocols(mut content: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(content.vector(2)?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector(1)?;
        if protocols.len() < PROTOCOLS {
            protocols.push(name.to_vec());
        }
    }
    Some(protocols)
}

/// A host's name as DNS has it: letters, digits, dots, dashes, underscores, at most 255.
fn host(name: &[u8]) -> Option<String> {
    let fits = !name.is_empty()
        && name.len() <= 255
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte));
    fits.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}
