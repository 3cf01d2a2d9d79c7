//! The report as text.

use super::{Report, State};
use crate::cli::{
    escape::{push, push_column},
    palette::{Colour, Palette},
};

impl Report {
    /// For a person: verdict, tiers, findings with what to change.
    pub(super) fn text(&self, palette: Palette) -> String {
        let mut out = String::new();
        match self.chosen {
            Some(tier) => {
                palette.paint(&mut out, Colour::Bold, "observer can trace on this machine");
                out.push_str(&format!(", with tier {tier}."));
            }
            None => palette.paint(
                &mut out,
                Colour::Bold,
                "observer cannot trace on this machine.",
            ),
        }
        out.push_str(" Kernel ");
        push(&mut out, &self.kernel);
        out.push_str(".\n");
        if !self.tiers.is_empty() {
            out.push_str("\nCapture tiers, best first\n");
        }
        for tier in &self.tiers {
            let is_chosen = self.chosen == Some(tier.name);
            let (mark, colour) = match (tier.usable, is_chosen) {
                (true, true) => ("chosen", Colour::Green),
                (true, false) => ("usable", Colour::Green),
                (false, _) => ("no", Colour::Dim),
            };
            line(
                &mut out,
                palette,
                mark,
                colour,
                tier.name,
                tier.why_not.as_deref().unwrap_or_default(),
            );
        }
        out.push_str("\nWhat was looked at\n");
        for finding in &self.findings {
            let (mark, colour) = match finding.state {
                State::Ok => ("ok", Colour::Green),
                State::Degraded => ("degraded", Colour::Yellow),
                State::Missing => ("missing", Colour::Red),
            };
            line(
                &mut out,
                palette,
                mark,
                colour,
                &finding.name,
                &finding.detail,
            );
            if let Some(remedy) = &finding.remedy {
                out.push_str(&" ".repeat(38));
                palette.start(&mut out, Colour::Cyan);
                out.push_str("→ ");
                push(&mut out, remedy);
                palette.end(&mut out);
                out.push('\n');
            }
        }
        out
    }
}

fn line(out: &mut String, palette: Palette, mark: &str, colour: Colour, name: &str, detail: &str) {
    out.push_str("  ");
    palette.paint(out, colour, &format!("{mark:<8}"));
    out.push_str("  ");
    push_column(out, name, 24, 60);
    out.push_str("  ");
    push(out, detail);
    out.truncate(out.trim_end().len());
    out.push('\n');
}
