//! A reason to stop, as a person is told it: what is wrong, where, and what to do.

use std::fmt::Write as _;

use crate::exit_code::ExitCode;
use crate::render::style::Style;
use crate::render::text;

/// Why a command ends without doing what it was asked.
///
/// One pointer wide: it is the rare half of almost every result here.
#[derive(Debug)]
pub(crate) struct Failure(Box<Details>);

#[derive(Debug)]
struct Details {
    exit: ExitCode,
    code: String,
    what: String,
    causes: Vec<String>,
    help: Option<String>,
    rendered: Option<String>,
}

impl Failure {
    /// A mistake of the caller: a wrong flag, a file that is not there, an unknown id.
    pub(crate) fn usage(code: &str, what: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, code, what)
    }

    /// Something outside that does not answer, refuses, or cannot be had just now.
    pub(crate) fn unavailable(code: &str, what: impl Into<String>) -> Self {
        Self::new(ExitCode::Unavailable, code, what)
    }

    pub(crate) fn new(exit: ExitCode, code: &str, what: impl Into<String>) -> Self {
        Self(Box::new(Details {
            exit,
            code: code.into(),
            what: what.into(),
            causes: Vec::new(),
            help: None,
            rendered: None,
        }))
    }

    /// Something that has its own form, for example mistakes with the lines they are on.
    pub(crate) fn rendered(exit: ExitCode, text: String) -> Self {
        let mut failure = Self::new(exit, "", "");
        failure.0.rendered = Some(text);
        failure
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the error that led here, with everything that led to it.
    #[must_use]
    pub(crate) fn because(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if !self.0.causes.last().is_some_and(|earlier| earlier.contains(&text)) {
                self.0.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// The status the process ends with.
    pub(crate) fn exit(&self) -> ExitCode {
        self.0.exit
    }

    /// The text for standard error.
    pub(crate) fn render(&self, style: Style) -> String {
        if let Some(text) = &self.0.rendered {
            return text.clone();
        }
        let mut out = format!("{}\n", style.dim(&self.0.code));
        push_block(&mut out, &style.red("×"), "  × ", &self.0.what);
        for cause in &self.0.causes {
            push_block(&mut out, "because:", "  because: ", cause);
        }
        if let Some(help) = &self.0.help {
            push_block(&mut out, &style.cyan("help:"), "  help: ", help);
        }
        out
    }
}

/// One labelled paragraph; its further lines are indented under the first.
fn push_block(out: &mut String, label: &str, plain_lead: &str, body: &str) {
    let body = text::clean(body);
    let mut lines = body.lines();
    let _ = writeln!(out, "  {label} {}", lines.next().unwrap_or_default());
    let indent = " ".repeat(plain_lead.chars().count());
    for line in lines {
        let _ = writeln!(out, "{indent}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let cause = std::io::Error::other("no such file");
        let failure = Failure::usage("visor::cli::config", "cannot read `a.yaml`")
            .because(&cause)
            .help("give the path with --config\nor write one with `visor init`");
        insta::assert_snapshot!(failure.render(Style::plain()), @r"
        visor::cli::config
          × cannot read `a.yaml`
          because: no such file
          help: give the path with --config
                or write one with `visor init`
        ");
    }
}
