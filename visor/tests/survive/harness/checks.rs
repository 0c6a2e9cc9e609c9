//! Configurations whose checks leave marks, and the marks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use visor_protocol::api::{Selection, Submission};
use visor_protocol::ids::RunId;
use visor_testkit::build::SubmissionBuilder;

use super::client::new_run;

/// A run of command checks. Each writes a line to a file of its own when it begins and when it
/// ends: the attempt it is.
pub(crate) struct Checks {
    pub(crate) run: RunId,
    pub(crate) count: usize,
    marks: Option<PathBuf>,
    work: String,
}

impl Checks {
    /// So many checks, each of which does this between its marks. The marks go to a directory of
    /// the run under this one.
    pub(crate) fn new(under: &Path, count: usize, work: &str) -> Self {
        let run = new_run();
        let marks = under.join(format!("marks-{run}"));
        fs::create_dir(&marks).unwrap();
        Self { run, count, marks: Some(marks), work: work.to_owned() }
    }

    /// The same without marks.
    pub(crate) fn unmarked(count: usize, work: &str) -> Self {
        Self { run: new_run(), count, marks: None, work: work.to_owned() }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> String {
        let mut text = "version: \"1.0\"\nchecks:\n".to_owned();
        for n in 0..self.count {
            let _ = write!(text, "  c{n}:\n    type: command\n    exec: |\n");
            let mark = |kind| match &self.marks {
                Some(marks) => format!("echo \"$VISOR_JOB\" >> {}/c{n}.{kind}", marks.display()),
                None => "true".to_owned(),
            };
            for line in [mark("begin"), self.work.clone(), mark("end")] {
                let _ = writeln!(text, "      {line}");
            }
        }
        text
    }

    /// The submission: as many at once as there are slots.
    pub(crate) fn submission(&self) -> Submission {
        let selection = Selection { max_parallelism: Some(1_000), ..Selection::default() };
        let mut submission = SubmissionBuilder::new(0, self.config()).selection(selection).build();
        submission.run = self.run;
        submission
    }

    fn marks(&self, kind: &str) -> BTreeMap<usize, Vec<String>> {
        let read = |n: usize| {
            let path = self.marks.as_ref().map(|marks| marks.join(format!("c{n}.{kind}")));
            let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
            let lines = text.lines().map(str::to_owned).collect();
            (n, lines)
        };
        (0..self.count).map(read).collect()
    }

    /// How often each check began, over all attempts.
    pub(crate) fn begun(&self) -> BTreeMap<usize, Vec<String>> {
        self.marks("begin")
    }

    /// How many checks have ended at least once.
    pub(crate) fn ended(&self) -> usize {
        self.marks("end").values().filter(|lines| !lines.is_empty()).count()
    }

    /// Every check began and ended exactly once.
    #[track_caller]
    pub(crate) fn assert_ran_once(&self) {
        for (n, begun) in self.begun() {
            assert_eq!(begun.len(), 1, "c{n} ran more than once: {begun:?}");
            assert!(begun[0].ends_with(".1"), "c{n} is no first attempt: {begun:?}");
        }
        assert_eq!(self.ended(), self.count);
    }

    /// Every check ended at least once.
    #[track_caller]
    pub(crate) fn assert_ran(&self) {
        assert_eq!(self.ended(), self.count);
    }
}
