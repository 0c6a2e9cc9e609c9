//! Results for programs.

use serde::Serialize;
use visor_protocol::result::RunReport;

/// The results of a run by group, as existing tools read them.
pub(crate) fn grouped(report: &RunReport) -> String {
    pretty(&report.grouped())
}

/// Any answer as indented JSON with a line break at its end.
pub(crate) fn pretty<T: Serialize>(value: &T) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("answers have text keys and finite numbers");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn json_is_the_results_by_group() {
        insta::assert_snapshot!(grouped(&samples::mixed()));
    }
}
