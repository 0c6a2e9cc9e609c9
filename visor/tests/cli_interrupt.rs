//! Ctrl-C: everything that was started ends, whatever it does.

mod support;

use rustix::process::Signal;
use support::{Project, Running, processes, until};

/// A check that starts what a check should not: children in the background and in sessions of
/// their own, some of them deaf to requests. `marker` names its processes.
fn config(marker: &str) -> String {
    format!(
        r#"
version: "1.0"
checks:
  plain: {{ type: command, exec: "sleep {marker}1; echo end" }}
  deaf: {{ type: command, exec: "trap '' TERM INT HUP; sleep {marker}2 & sleep {marker}3; sleep {marker}4" }}
  daemon: {{ type: command, exec: "setsid sleep {marker}5 & setsid sh -c 'trap \"\" TERM; sleep {marker}6; sleep {marker}6' & sleep {marker}7" }}
  later: {{ type: command, exec: "touch later-ran", depends_on: [plain] }}
"#
    )
}

/// Sleeps no other test has, so that they can be told apart.
fn marker(number: u32) -> String {
    format!("{}.{}{number}", 77_777, std::process::id())
}

#[test]
fn one_ctrl_c_cancels_the_run_and_leaves_nothing() {
    let marker = marker(1);
    let project = Project::new(&config(&marker));
    let visor = Running::start(&mut project.command(&["run"]));
    until("every check runs", || {
        (1..8).filter(|&n| n != 4).all(|n| !processes(&format!("sleep {marker}{n}")).is_empty())
    });
    visor.signal(Signal::INT);
    let said = visor.end().ended(130);
    assert!(said.err.contains("cancelling 3 running checks"), "{}", said.err);
    assert!(said.out.contains("3 cancelled"), "{}", said.out);
    assert_eq!(processes(&marker), Vec::<String>::new());
    assert!(!project.file("later-ran").exists());
}

#[test]
fn a_second_ctrl_c_does_not_wait_and_leaves_nothing_either() {
    let marker = marker(2);
    let project = Project::new(&config(&marker));
    let visor = Running::start(&mut project.command(&["run"]));
    until("the deaf check runs", || !processes(&format!("sleep {marker}3")).is_empty());
    visor.signal(Signal::INT);
    visor.signal(Signal::INT);
    visor.end().ended(130);
    until("nothing is left", || processes(&marker).is_empty());
}

#[test]
fn a_termination_request_is_obeyed_like_ctrl_c() {
    let marker = marker(3);
    let project = Project::new(&config(&marker));
    let visor = Running::start(&mut project.command(&["run", "--quiet"]));
    until("a check runs", || !processes(&format!("sleep {marker}1")).is_empty());
    visor.signal(Signal::TERM);
    visor.end().ended(130);
    assert_eq!(processes(&marker), Vec::<String>::new());
}

#[test]
fn what_a_killed_run_started_ends_too() {
    let marker = marker(4);
    let project = Project::new(&config(&marker));
    let visor = Running::start(&mut project.command(&["run"]));
    until("every check runs", || {
        (1..8).filter(|&n| n != 4).all(|n| !processes(&format!("sleep {marker}{n}")).is_empty())
    });
    // The helper that outlives us is started once a check has run for a while.
    until("the helper is there", || visor.children().iter().any(|line| line.contains("__warden")));
    visor.signal(Signal::KILL);
    until("nothing is left", || processes(&marker).is_empty());
}
