use super::*;

/// Histograms keep three digits.
fn near(got: f64, wanted: f64) -> bool {
    (got / wanted - 1.0).abs() < 0.002
}

fn ledger_of(facts: &[Fact]) -> Ledger {
    let mut ledger = Ledger::new(1);
    facts.iter().for_each(|fact| ledger.take(*fact));
    ledger
}

fn whole_run(run: u32, at: Moment) -> [Fact; 5] {
    let ran = Some(Duration::from_micros(100));
    [
        Fact::Intended { run, at },
        Fact::Accepted { run },
        Fact::Started { run, check: 0, at: at + 2_000 },
        Fact::Settled { run, check: 0, passed: true, ran, at: at + 2_600 },
        Fact::Finished { run, passed: true, at: at + 3_000 },
    ]
}

#[test]
fn a_run_that_went_well_adds_up_and_is_measured_from_its_intended_moment() {
    let account = ledger_of(&whole_run(0, 1_000)).close();
    assert!(account.adds_up, "{account:?}");
    assert!(near(account.submit_to_start.max_ms, 2.0), "{account:?}");
    assert!(near(account.finish_to_settled.max_ms, 0.5), "{account:?}");
    assert!(near(account.end_to_end.max_ms, 3.0), "{account:?}");
}

#[test]
fn facts_may_come_in_any_order() {
    let facts = whole_run(0, 1_000);
    let shuffled = [facts[0], facts[4], facts[3], facts[2], facts[1]];
    let ledger = ledger_of(&shuffled);
    assert_eq!(ledger.without_start().count(), 0);
    let account = ledger.close();
    assert!(account.adds_up, "{account:?}");
    // A start that is learned late is measured all the same.
    assert!(near(account.submit_to_start.max_ms, 2.0), "{account:?}");
    assert!(near(account.finish_to_settled.max_ms, 0.5), "{account:?}");
    assert!(near(account.end_to_end.max_ms, 3.0), "{account:?}");
}

#[test]
fn a_lost_run_does_not_add_up() {
    let mut facts = whole_run(0, 0).to_vec();
    facts.extend([Fact::Intended { run: 1, at: 5 }, Fact::Accepted { run: 1 }]);
    let ledger = ledger_of(&facts);
    assert_eq!(ledger.open().collect::<Vec<_>>(), [1]);
    let account = ledger.close();
    assert!(!account.adds_up);
    assert_eq!(account.counts.missing, 1);
}

#[test]
fn settling_or_finishing_twice_is_a_duplicate() {
    let facts = whole_run(0, 0);
    for doubled in [facts[3], facts[4]] {
        let mut facts = facts.to_vec();
        facts.push(doubled);
        let account = ledger_of(&facts).close();
        assert_eq!(account.counts.duplicates, 1);
        assert!(!account.adds_up);
    }
    // A start that is told twice is no second settlement.
    let mut facts = facts.to_vec();
    facts.insert(3, Fact::Started { run: 0, check: 0, at: 9 });
    let account = ledger_of(&facts).close();
    assert!(account.adds_up);
    assert_eq!(account.submit_to_start.count, 1);
}

#[test]
fn a_refused_run_is_a_failure_that_is_accounted_for() {
    let account = ledger_of(&[Fact::Intended { run: 0, at: 0 }, Fact::Refused { run: 0 }]).close();
    assert!(account.adds_up, "{account:?}");
    assert_eq!((account.counts.refused, account.counts.failed), (1, 1));
}

#[test]
fn a_finished_run_whose_check_never_settled_does_not_add_up() {
    let facts = whole_run(0, 0);
    let ledger = ledger_of(&[facts[0], facts[1], facts[4]]);
    assert_eq!(ledger.without_start().count(), 0);
    assert_eq!(ledger.incomplete().collect::<Vec<_>>(), [0]);
    assert_eq!(ledger.close().counts.checks_missing, 1);
}

#[test]
fn news_of_what_we_learned_by_asking_is_no_duplicate_but_its_second_coming_is() {
    let facts = whole_run(0, 0);
    let mut ledger = ledger_of(&facts[..2]);
    facts[2..].iter().for_each(|fact| ledger.fill_in(*fact));
    facts[2..].iter().for_each(|fact| ledger.fill_in(*fact));
    assert_eq!(ledger.open_len(), 0);
    facts[2..].iter().for_each(|fact| ledger.take(*fact));
    assert!(ledger.close().adds_up, "{:?}", ledger.close());
    facts[3..].iter().for_each(|fact| ledger.take(*fact));
    assert_eq!(ledger.close().counts.duplicates, 2);
}

#[test]
fn what_we_never_sent_is_counted_apart() {
    let mut ledger = ledger_of(&whole_run(0, 0));
    ledger.take(Fact::Finished { run: 7, passed: true, at: 1 });
    ledger.take(Fact::Started { run: 0, check: 9, at: 1 });
    let account = ledger.close();
    assert_eq!(account.counts.foreign, 2);
    assert!(account.adds_up);
}

#[test]
fn a_settled_check_whose_start_nobody_told_is_found() {
    let facts = whole_run(0, 0);
    let ledger = ledger_of(&[facts[0], facts[1], facts[3], facts[4]]);
    assert_eq!(ledger.without_start().collect::<Vec<_>>(), [0]);
}
