//! Key points: the one function of a TLS library through which each traffic secret passes.
//!
//! In: an ELF file of x86-64, which may be stripped, cut or crafted.
//! Out: where in the file a breakpoint would see the secrets, in which registers, and where the labels stand that name
//! them; or why there is no such place.
//! Owns: what was found in each file ([`Cache`]).
//!
//! Nothing here sets a breakpoint. What is not certain is not given: a breakpoint in the wrong place reads a stranger's
//! memory, and one inside an instruction breaks the program.
//!
//! | library | the function | found by |
//! |---|---|---|
//! | OpenSSL 1.1.1 to 3.x, BoringSSL | `ssl_log_secret(ssl, label, secret, length)` | its symbol; else the function that is called with the labels in the second argument |
//! | GnuTLS | the writer of its key log, with the same arguments | the labels |
//! | Go | `crypto/tls.(*Config).writeKeyLog` | the table of functions |
//! | ring, aws-lc and others | the block functions of SHA-256 and SHA-512 | symbols, else the constants that they name; only where there is nothing else |

mod build_id;
mod cache;
mod calls;
mod flow;
mod frames;
mod go;
mod labels;
#[cfg(test)]
mod made;
mod references;
mod segments;
mod sha2;
mod symbol;
#[cfg(test)]
mod tests;

use std::fs::File;

pub use self::{
    build_id::BuildId,
    cache::{Cache, Found},
    labels::{Label, LabelString},
};
use crate::elf::Image;

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPoints {
    /// At least one, in the order of their addresses; all of one [`Kind`], but for the two widths of SHA-2.
    pub points: Vec<KeyPoint>,
    /// Each copy of each label in the file. A label is known by its address: whether its page is in memory is not said.
    pub labels: Vec<LabelString>,
    /// What the linker called the file.
    pub build_id: Option<BuildId>,
}

/// A place where secrets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPoint {
    /// Whose function it is.
    pub kind: Kind,
    /// Where in the file the function begins, bytes: what a breakpoint is set at.
    pub offset: u64,
    /// The same as an address of the file, before it is loaded somewhere.
    pub address: u64,
    /// How it was found.
    pub found_by: FoundBy,
}

/// What a function is, and with it what its arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `ssl_log_secret(ssl, label, secret, length)` of OpenSSL and BoringSSL, or GnuTLS' writer.
    LogSecret,
    /// Go's `writeKeyLog(config, label, clientRandom, secret)`. Its stack may be grown at its entry, and then it is
    /// entered twice.
    GoWriteKeyLog,
    /// A block function of SHA-256: `(state, blocks, count)`, blocks of 64 bytes.
    Sha256Blocks,
    /// A block function of SHA-512 and SHA-384: the same, blocks of 128 bytes.
    Sha512Blocks,
}

impl Kind {
    /// Where its arguments are when it is entered.
    pub fn arguments(self) -> Arguments {
        match self {
            Self::LogSecret => Arguments::LabelledSecret {
                label: Register::Rsi,
                label_length: None,
                secret: Register::Rdx,
                length: Register::Rcx,
                client_random: None,
            },
            // A slice is three registers: pointer, length, capacity (ABIInternal of Go 1.17 onward).
            Self::GoWriteKeyLog => Arguments::LabelledSecret {
                label: Register::Rbx,
                label_length: Some(Register::Rcx),
                secret: Register::R9,
                length: Register::R10,
                client_random: Some((Register::Rdi, Register::Rsi)),
            },
            Self::Sha256Blocks => Arguments::Blocks {
                blocks: Register::Rsi,
                count: Register::Rdx,
                size: 64,
            },
            Self::Sha512Blocks => Arguments::Blocks {
                blocks: Register::Rsi,
                count: Register::Rdx,
                size: 128,
            },
        }
    }
}

/// Where a function's arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// A secret and what it is.
    LabelledSecret {
        /// Address of the label.
        label: Register,
        /// Its length; without it ends with a NUL.
        label_length: Option<Register>,
        /// Address of the secret.
        secret: Register,
        /// Its length, bytes.
        length: Register,
        /// Address and length of the client's random.
        client_random: Option<(Register, Register)>,
    },
    /// Blocks that are hashed: an HMAC's key is a block that ends in 0x36 bytes.
    Blocks {
        /// Address of the first.
        blocks: Register,
        /// How many.
        count: Register,
        /// Bytes of each.
        size: u32,
    },
}

/// A register of x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called what they are")]
pub enum Register {
    Rbx,
    Rcx,
    Rdx,
    Rdi,
    Rsi,
    R9,
    R10,
}

/// How a point was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The function's own name.
    Symbol,
    /// This many different labels are passed to it.
    Labels(usize),
    /// Go's table of functions.
    FunctionTable,
    /// The tables of constants that it names.
    Constants,
}

/// Why a file has no key point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No ELF file of x86-64, or one that is cut.
    #[error("not a 64-bit x86 program or library, or cut short")]
    NotElf,
    /// Bytes that a header promises are not there.
    #[error("the file ends before its own headers say so")]
    Cut,
    /// Too many bytes are loaded.
    #[error("TLS library not known: {0} MB are loaded from the file, more than are searched")]
    TooLarge(u64),
    /// None of the labels is inside.
    #[error("no TLS library inside that is known")]
    NoLabels,
    /// More than a library has.
    #[error("TLS library not known: too many {0}")]
    TooMany(&'static str),
    /// Go, without the function.
    #[error("a Go program without TLS")]
    GoWithoutTls,
    /// Go, with a table that is not read.
    #[error(
        "TLS library not known: a Go program whose table of functions is of no known version, or too long to be read"
    )]
    GoTable,
    /// The labels are there, the call is not.
    #[error(
        "TLS library not known: it has the labels of a key log, but no function is called with them"
    )]
    NoCall,
    /// The labels lead to several functions.
    #[error("TLS library not known: the labels of a key log lead to {0} functions")]
    Ambiguous(usize),
    /// The labels lead to what does not look like the function.
    #[error(
        "TLS library not known: the labels of a key log lead to what is no function of four arguments"
    )]
    NoFunction,
}

/// So many different labels stand in what speaks TLS, and in nothing else.
const OF_TLS: usize = 5;

/// Finds the key points of a file.
///
/// Envoy (107 MB) takes 75 ms from the page cache and 0.6 MB, Node (99 MB) 40 ms and 7 MB, Caddy (52 MB) 30 ms and 18 MB,
/// OpenSSL's library 0.4 ms and 0.3 MB; what [`Cache`] knows by its build id, 0.04 ms. Memory does not grow with the file,
/// but for the dynamic symbols and Go's table of functions, which are read whole up to a limit; so is the full table of
/// symbols, in files that have nothing else. More than 512 MB of loaded segments are not searched.
///
/// # Errors
/// Why there are none.
pub fn find(file: &File) -> Result<KeyPoints, Unknown> {
    let image = Image::read(file).ok_or(Unknown::NotElf)?;
    let (points, labels) = if go::is_go(&image) {
        (
            vec![go::point(&image)?],
            labels::find(&image, labels::End::Any)?.strings,
        )
    } else {
        points(&image)?
    };
    Ok(KeyPoints {
        points,
        labels,
        build_id: BuildId::of(&image),
    })
}

fn points(image: &Image<'_>) -> Result<(Vec<KeyPoint>, Vec<LabelString>), Unknown> {
    let labels::Labels { strings, others } = labels::find(image, labels::End::Nul)?;
    // rustls' texts end with their lengths.
    let is_of_tls = !strings.is_empty() || others.len() >= OF_TLS;
    let labelled = if strings.is_empty() {
        Err(if is_of_tls {
            Unknown::NoCall
        } else {
            Unknown::NoLabels
        })
    } else {
        symbol::exported(image)
            .and_then(|found| found.map_or_else(|| calls::point(image, &strings), Ok))
    };
    let reason = match labelled {
        Ok(point) => return Ok((vec![point], strings)),
        Err(reason) => reason,
    };
    let mut points = sha2::points(image);
    if points.is_empty() && is_of_tls {
        points = sha2::by_tables(image)?;
    }
    if points.is_empty() {
        return Err(reason);
    }
    Ok((points, strings))
}
