//! What `docs/kernels.md` was made with, and how much of the matrix must run since that changed.

use anyhow::{Result, ensure};

use crate::ebpf;

/// What loads and attaches the programs.
const LOADER: &str = "observer/src/kernel";
/// Digits of a digest that the page shows.
const SHOWN: usize = 16;

/// The kernel programs and their loader, by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    object: String,
    loader: String,
}

/// What of the matrix must run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The page still tells of these programs and this loader.
    Nothing,
    /// Some kernels, for this reason.
    Some(String),
}

impl Made {
    /// Of the work tree.
    ///
    /// # Errors
    /// When a file can't be read, or there is no loader.
    pub(super) fn of_tree() -> Result<Self> {
        let folder = crate::workspace::root().join(LOADER);
        ensure!(
            folder.is_dir(),
            "{LOADER} is no folder: where is the loader?"
        );
        let shown = |digest: String| digest.chars().take(SHOWN).collect();
        Ok(Self {
            object: shown(ebpf::object_digest()?),
            loader: shown(ebpf::folder_digest(LOADER)?),
        })
    }

    /// As a committed page says it. `None` when it does not.
    pub(super) fn of_page(page: &str) -> Option<Self> {
        let after = |words: &str| {
            let (_, rest) = page.split_once(words)?;
            let digest: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            (digest.len() == SHOWN).then_some(digest)
        };
        Some(Self {
            object: after(OBJECT)?,
            loader: after(LOADED_BY)?,
        })
    }

    /// For the page.
    pub(super) fn line(&self) -> String {
        format!("{OBJECT}{}`, {LOADED_BY}{}`.", self.object, self.loader)
    }

    /// What must run, `page` being what the committed page says.
    pub(super) fn extent_since(&self, page: Option<&Self>) -> Extent {
        let Some(page) = page else {
            return Extent::Some("the page does not say what it was made with".to_owned());
        };
        let changed: Vec<&str> = [
            (self.object != page.object, "the eBPF object"),
            (self.loader != page.loader, "the loader"),
        ]
        .into_iter()
        .filter_map(|(changed, what)| changed.then_some(what))
        .collect();
        match changed.is_empty() {
            true => Extent::Nothing,
            false => Extent::Some(format!(
                "{} changed since the page was made",
                changed.join(" and ")
            )),
        }
    }
}

const OBJECT: &str = "Made with the eBPF object `";
const LOADED_BY: &str = "loaded by `observer/src/kernel/` `";

#[cfg(test)]
mod tests {
    use super::*;

    fn made(object: char, loader: char) -> Made {
        Made {
            object: object.to_string().repeat(SHOWN),
            loader: loader.to_string().repeat(SHOWN),
        }
    }

    fn reason(extent: Extent) -> String {
        match extent {
            Extent::Nothing => String::new(),
            Extent::Some(reason) => reason,
        }
    }

    #[test]
    fn a_page_gives_back_what_it_was_made_with() {
        let made = made('a', '7');
        let page = format!("# Kernels\n\nWhich tier\n\n{}\n\n| `c` |", made.line());
        assert_eq!(Made::of_page(&page), Some(made));
    }

    #[test]
    fn a_page_that_does_not_say_it_has_none() {
        for page in [
            "",
            "# Kernels\n",
            "Made with the eBPF object `12`, loaded by `observer/src/kernel/` `34`.",
        ] {
            assert_eq!(Made::of_page(page), None, "{page}");
        }
    }

    #[test]
    fn with_nothing_changed_nothing_runs() {
        let now = made('a', 'b');
        assert_eq!(now.extent_since(Some(&now.clone())), Extent::Nothing);
    }

    #[test]
    fn what_changed_is_named() {
        let page = made('a', 'b');
        let since = |now: Made| reason(now.extent_since(Some(&page)));
        assert_eq!(
            since(made('c', 'b')),
            "the eBPF object changed since the page was made"
        );
        assert_eq!(
            since(made('a', 'c')),
            "the loader changed since the page was made"
        );
        assert!(since(made('c', 'c')).starts_with("the eBPF object and the loader changed"));
        assert!(reason(page.extent_since(None)).contains("does not say"));
    }

    #[test]
    fn the_work_tree_has_an_object_and_a_loader() {
        let made = Made::of_tree().unwrap();
        assert_eq!(Made::of_page(&made.line()), Some(made));
    }
}
