//! How mistakes are shown: miette's graphical form for terminals and documents, one line each for
//! logs and programs.

use std::fmt::{self, Write};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, ThemeCharacters,
    ThemeStyles,
};

use super::{Diagnostic, Diagnostics, Level};

/// How mistakes are shown. Whoever writes them knows whether a terminal reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The text with the place marked, in colour.
    Colour,
    /// The same without colour.
    Plain,
    /// The same without colour and without characters beyond ASCII.
    Ascii,
    /// One line each.
    Line,
}

/// A snippet with longer lines is more noise than help.
const MAX_SNIPPET_BYTES: usize = 2_000;
/// More than these in one go helps nobody.
const MAX_SHOWN: usize = 50;

pub(super) fn render(all: &Diagnostics, style: Style, width: usize) -> String {
    let mut out = String::new();
    // A String takes whatever is written to it.
    let _ = write_all(all, style, width, &mut out);
    out
}

fn write_all(all: &Diagnostics, style: Style, width: usize, out: &mut String) -> fmt::Result {
    if style == Style::Line {
        for item in all.iter().take(MAX_SHOWN) {
            write_line(all, item, out)?;
        }
    } else {
        let theme = theme(style);
        let handler = GraphicalReportHandler::new_themed(theme.clone())
            .with_width(width.clamp(40, 200))
            .without_syntax_highlighting();
        let source = NamedSource::new(shown(&all.source.name), printable(&all.source.text));
        for (position, item) in all.iter().take(MAX_SHOWN).enumerate() {
            if position > 0 {
                out.push('\n');
            }
            let code_style = match item.level {
                Level::Error => theme.styles.error,
                Level::Warning => theme.styles.warning,
            };
            writeln!(out, "{}", code_style.style(item.code))?;
            let shown = Shown { item, source: &source, snippet: has_snippet(all, item) };
            handler.render_report(out, &shown)?;
            if !shown.snippet
                && let Some((line, column)) = all.place(item)
            {
                writeln!(out, "    at {}:{line}:{column}", all.source.name)?;
            }
        }
    }
    let hidden = all.iter().count().saturating_sub(MAX_SHOWN) + all.uncounted();
    if hidden > 0 {
        writeln!(out, "… and {hidden} more like these")?;
    }
    Ok(())
}

fn write_line(all: &Diagnostics, item: &Diagnostic, out: &mut String) -> fmt::Result {
    let level = match item.level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    write!(out, "{}", shown(&all.source.name))?;
    if let Some((line, column)) = all.place(item) {
        write!(out, ":{line}:{column}")?;
    }
    write!(out, ": {level}: {} [{}]", item.message, item.code)?;
    // The label says it where there is no room for the line it belongs to.
    let label = item.labels.first().map(|label| &label.text);
    if let Some(help) = item.help.as_ref().or(label) {
        write!(out, " ({help})")?;
    }
    out.push('\n');
    Ok(())
}

fn theme(style: Style) -> GraphicalTheme {
    match style {
        Style::Colour => GraphicalTheme {
            characters: ThemeCharacters { warning: "!".into(), ..ThemeCharacters::unicode() },
            styles: ThemeStyles::ansi(),
        },
        Style::Plain | Style::Line => GraphicalTheme {
            characters: ThemeCharacters { warning: "!".into(), ..ThemeCharacters::unicode() },
            styles: ThemeStyles::none(),
        },
        Style::Ascii => GraphicalTheme {
            characters: ThemeCharacters {
                error: "x".into(),
                warning: "!".into(),
                advice: ">".into(),
                ..ThemeCharacters::ascii()
            },
            styles: ThemeStyles::none(),
        },
    }
}

/// Whether the lines around the labels are few and short enough to be shown.
fn has_snippet(all: &Diagnostics, item: &Diagnostic) -> bool {
    let text = all.source.text.as_str();
    !item.labels.is_empty()
        && item.labels.iter().all(|label| {
            let (Some(before), Some(after)) =
                (text.get(..label.span.start), text.get(label.span.end..))
            else {
                return false;
            };
            let start = before.rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at);
            let end = after.match_indices('\n').nth(1).map_or(after.len(), |(at, _)| at);
            before.len() - start + label.span.len() + end <= MAX_SNIPPET_BYTES
        })
}

/// The text without characters that would do something to a terminal, each replaced by one of as
/// many bytes so that places stay where they are.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            // Invisible at the end of a line, harmful within one.
            '\r' => ' ',
            c if c.is_control() => match c.len_utf8() {
                1 => '?',
                _ => '¿',
            },
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[derive(Debug)]
struct Shown<'a> {
    item: &'a Diagnostic,
    source: &'a NamedSource<String>,
    snippet: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.item.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(match self.item.level {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.item.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.snippet.then_some(self.source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.snippet.then(|| {
            let labels = self.item.labels.iter().enumerate().map(|(position, label)| {
                let text = Some(label.text.clone()).filter(|text| !text.is_empty());
                let span = label.span.clone();
                if position == 0 {
                    LabeledSpan::new_primary_with_span(text, span)
                } else {
                    LabeledSpan::new_with_span(text, span)
                }
            });
            Box::new(labels) as Box<dyn Iterator<Item = LabeledSpan>>
        })
    }
}
