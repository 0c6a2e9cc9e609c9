//! From journal events to what the world is told.

use visor_engine::CheckIndex;
use visor_protocol::event::{Expression, News, Notice, Recorded, RunEvent};
use visor_protocol::ids::JobId;
use visor_protocol::outcome::Fault;
use visor_protocol::result::{CheckState, SkipReason};
use visor_protocol::time::Timestamp;

use crate::channel::book::RunBook;

fn notice(book: &RunBook, at: Timestamp, what: News) -> Notice {
    Notice { run: book.run(), channel: book.submission.channel.clone(), at, what }
}

/// What an event that was just applied to the book means for others; none for most.
pub(super) fn of_event(book: &RunBook, recorded: &Recorded) -> Option<Notice> {
    let at = recorded.at;
    match &recorded.event {
        RunEvent::Accepted(_) => {
            let checks = u32::try_from(book.plan.checks().len()).unwrap_or(u32::MAX);
            Some(notice(book, at, News::RunAccepted { checks }))
        }
        RunEvent::Queued { job, check, .. } => Some(notice(
            book,
            at,
            News::Check {
                check: check.clone(),
                state: CheckState::Queued,
                attempt: book.ticket(job.seq).map(|ticket| ticket.attempt),
                job: Some(*job),
                worker: None,
                started_at: None,
                ran_ms: None,
                issues: 0,
                why: None,
            },
        )),
        // The worker's own start is told, not the moment it was recorded.
        RunEvent::Started { ticket, worker, at } => {
            of_job(book, *at, ticket.job, CheckState::Running, |news| {
                if let News::Check { attempt, worker: by, started_at, .. } = news {
                    *attempt = Some(ticket.attempt);
                    *by = Some(worker.clone());
                    *started_at = Some(*at);
                }
            })
        }
        RunEvent::Requeued { job, attempt, why, .. } => {
            of_job(book, at, *job, CheckState::Queued, |news| {
                if let News::Check { attempt: to, why: reason, .. } = news {
                    *to = Some(*attempt);
                    *reason = Some(why.clone());
                }
            })
        }
        RunEvent::Settled { outcome, .. } => {
            let check = book.job(outcome.job.seq)?.check;
            let state = book.check_state(check);
            if !state.is_settled() {
                return None; // its `fail_if` is being evaluated
            }
            let count = book.issue_count(check);
            of_job(book, at, outcome.job, state, |news| {
                if let News::Check { attempt, worker, started_at, ran_ms, issues, why, .. } = news {
                    *attempt = Some(outcome.attempt);
                    *worker = Some(outcome.worker.clone());
                    *started_at = Some(outcome.started_at);
                    let ran = outcome.finished_at.since(outcome.started_at);
                    *ran_ms = Some(ran.as_secs_f64() * 1e3);
                    *issues = count;
                    *why = book.why(check);
                }
            })
        }
        RunEvent::Finished { state } => Some(notice(book, at, News::RunFinished { state: *state })),
        RunEvent::Evaluated {
            check, which: Expression::FailIf | Expression::GlobalFailIf, ..
        } => {
            let check = book.index_of(check)?;
            let (job, entry) = book.job_of(check)?;
            let state = book.check_state(check);
            if !state.is_settled() {
                return None; // one of two expressions
            }
            let ran = entry.ran();
            let count = book.issue_count(check);
            of_job(book, at, job, state, |news| {
                if let News::Check { attempt, worker, started_at, ran_ms, issues, why, .. } = news {
                    *attempt = Some(entry.tries.attempt);
                    *started_at = entry.started_at;
                    *why = book.why(check);
                    worker.clone_from(&entry.worker);
                    *ran_ms = ran.map(|ran| ran.as_secs_f64() * 1e3);
                    *issues = count;
                }
            })
        }
        RunEvent::Evaluated { which: Expression::If, .. }
        | RunEvent::Stale { .. }
        | RunEvent::CancelRequested { .. }
        | RunEvent::TimedOut => None,
    }
}

fn of_job(
    book: &RunBook,
    at: Timestamp,
    job: JobId,
    state: CheckState,
    fill: impl FnOnce(&mut News),
) -> Option<Notice> {
    let check = book.job(job.seq)?.check;
    let mut what = News::Check {
        check: book.check_name(check).clone(),
        state,
        attempt: None,
        job: Some(job),
        worker: None,
        started_at: None,
        ran_ms: None,
        issues: 0,
        why: None,
    };
    fill(&mut what);
    Some(notice(book, at, what))
}

/// A check was skipped: the engine says so, and the journal implies it.
pub(super) fn of_skip(
    book: &RunBook,
    at: Timestamp,
    check: CheckIndex,
    reason: &SkipReason,
) -> Notice {
    let why = book.why_skipped(reason);
    unrun(book, at, check, CheckState::Skipped, why)
}

/// A check failed without having run.
pub(super) fn of_fault(book: &RunBook, at: Timestamp, check: CheckIndex, fault: &Fault) -> Notice {
    unrun(book, at, check, CheckState::Failed, fault.message.clone())
}

fn unrun(
    book: &RunBook,
    at: Timestamp,
    check: CheckIndex,
    state: CheckState,
    why: String,
) -> Notice {
    notice(
        book,
        at,
        News::Check {
            check: book.check_name(check).clone(),
            state,
            attempt: None,
            job: None,
            worker: None,
            started_at: None,
            ran_ms: None,
            issues: 0,
            why: Some(why),
        },
    )
}
