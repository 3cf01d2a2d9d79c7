//! Label selectors as the API and kubectl write them: `app=shop,tier!=db,track in (stable, canary),!legacy`.

use std::{collections::BTreeMap, str::FromStr};

/// All of its requirements hold, or it does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// A missing label is not in, too.
    NotIn(Vec<String>),
}

/// A selector that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a label selector: write for example app=shop, tier!=db, track in (stable,canary), app or !app, with commas between them"
)]
pub struct InvalidLabelSelector(pub String);

impl LabelSelector {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether these labels fit.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|Requirement { key, test }| {
            let value = labels.get(key);
            match test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = InvalidLabelSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let requirements = requirements(text)
            .into_iter()
            .map(|one| requirement(one.trim()));
        let requirements = requirements.collect::<Option<Vec<_>>>();
        match requirements {
            Some(requirements) if !requirements.is_empty() => Ok(Self {
                text: text.to_owned(),
                requirements,
            }),
            _ => Err(InvalidLabelSelector(
                text.chars().take(80).flat_map(char::escape_debug).collect(),
            )),
        }
    }
}

/// At the commas outside of parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    let (key, test) = if let Some(key) = text.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value_of(value)?]))
    } else if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (key, Test::In(vec![value_of(value)?]))
    } else if let Some((words, values)) = text.split_once('(') {
        let values = values.strip_suffix(')')?.split(',').map(value_of);
        let values = values.collect::<Option<Vec<_>>>()?;
        let (key, word) = words.trim_end().rsplit_once(char::is_whitespace)?;
        match word {
            "in" => (key, Test::In(values)),
            "notin" => (key, Test::NotIn(values)),
            _ => return None,
        }
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.len() <= 317 && key.chars().all(is_key)).then(|| Requirement {
        key: key.to_owned(),
        test,
    })
}

/// A label's value may be empty.
fn value_of(text: &str) -> Option<String> {
    let text = text.trim();
    let is_value = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (text.len() <= 63 && text.chars().all(is_value)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_matches_as_kubectls_does() {
        let labels = [("app", "shop"), ("track", "canary"), ("a.b/c", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        for (text, matches) in [
            ("app=shop", true),
            ("app==shop", true),
            ("app = shop , track", true),
            ("app=shop,track=stable", false),
            ("app!=db", true),
            ("tier!=db", true),
            ("app!=shop", false),
            ("tier", false),
            ("!tier", true),
            ("!app", false),
            ("track in (stable, canary),app", true),
            ("track in (stable)", false),
            ("track notin (stable)", true),
            ("tier notin (a,b)", true),
            ("a.b/c=", true),
            ("a.b/c", true),
        ] {
            let selector: LabelSelector = text.parse().unwrap();
            assert_eq!(selector.matches(&labels), matches, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_by_name() {
        for text in [
            "",
            ",",
            "app=shop,",
            "=shop",
            "a b",
            "app in shop",
            "app in (a",
            "app near (a)",
            "app=a=b",
            "!",
            "app=ü",
        ] {
            let error = text.parse::<LabelSelector>().unwrap_err();
            assert!(error.to_string().contains("app=shop"), "{text}");
        }
    }
}
