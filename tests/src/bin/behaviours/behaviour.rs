//! What a behaviour is.

use observer_tests::{Page, Span};

use crate::stage::Stage;

/// One claim about observer, driven beside the others and checked when all is over.
pub(crate) struct Behaviour {
    /// How it is called in the table; its claim in few words.
    pub(crate) name: &'static str,
    /// Does what is to be observed.
    pub(crate) drive: fn(&Stage) -> Drive,
}

/// Looks for what was driven; panics where it is not as it must be.
type Check = Box<dyn FnOnce(&Evidence)>;

/// What driving came to.
pub(crate) enum Drive {
    /// It happened: so many exchanges of traced servers, which the check knows.
    Check { served: u64, check: Check },
    /// It can't happen on this machine, with the reason.
    Skip(String),
}

impl Drive {
    /// Something that made a number of exchanges at traced servers.
    pub(crate) fn check(served: usize, check: impl FnOnce(&Evidence) + 'static) -> Self {
        Self::Check {
            served: served as u64,
            check: Box::new(check),
        }
    }

    /// Exchanges of traced servers.
    pub(crate) fn served(&self) -> u64 {
        match self {
            Self::Check { served, .. } => *served,
            Self::Skip(_) => 0,
        }
    }
}

/// What the daemon told.
pub(crate) struct Evidence {
    /// Every span, in the order of their starts.
    pub(crate) spans: Vec<Span>,
    /// Its metrics before it was asked to end.
    pub(crate) page: Page,
    /// Exchanges that were driven.
    pub(crate) driven: u64,
}

impl Evidence {
    /// Calls that the kernel ran neither a program nor its spare for, at most.
    pub(crate) fn missed(&self) -> u64 {
        self.page.missed()
    }

    /// Spans of the server on this port whose path begins so.
    pub(crate) fn served(&self, port: u16, path: &str) -> Vec<&Span> {
        let fits = |span: &&Span| {
            span.kind() == "server"
                && span.attribute("server.port") == port
                && span.path().starts_with(path)
        };
        self.spans.iter().filter(fits).collect()
    }
}

/// These spans are exactly the exchanges on these paths, all answered with this status and seen whole.
pub(crate) fn assert_exact(spans: &[&Span], paths: &[String], status: u64) {
    let mut found: Vec<&str> = spans.iter().map(|span| span.path()).collect();
    let mut expected: Vec<&str> = paths.iter().map(String::as_str).collect();
    found.sort_unstable();
    expected.sort_unstable();
    let (missing, extra) = (without(&expected, &found), without(&found, &expected));
    assert!(
        found == expected,
        "{} of {} exchanges; missing {missing:?}, too many {extra:?}",
        found.len(),
        expected.len()
    );
    for span in spans {
        assert_eq!(span.status_code(), Some(status), "{span:?}");
        assert!(!span.is_incomplete(), "incomplete: {span:?}");
    }
}

/// The first few of `these` that are not among `those`; both are sorted.
fn without<'a>(these: &[&'a str], those: &[&str]) -> Vec<&'a str> {
    let mut those = those.iter().peekable();
    let mut left = Vec::new();
    for this in these {
        while those.next_if(|that| *that < this).is_some() {}
        if those.next_if(|that| *that == this).is_none() {
            left.push(*this);
        }
    }
    left.truncate(5);
    left
}
