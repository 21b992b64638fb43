use super::*;

const LEASE: LeaseId = LeaseId(7);

fn id(unit: u64) -> UnitId {
    UnitId { job: JobId(1), unit: UnitIndex(unit) }
}

fn line(at: u64, text: &str) -> Line {
    Line { at, len: u32::try_from(text.len()).unwrap() + 1, level: 3, text: text.into() }
}

fn seconds(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

/// Units and texts of messages.
fn told(messages: &[pb::KernelLogs]) -> Vec<(u64, Vec<&str>)> {
    let logs = messages.iter().flat_map(|message| &message.logs);
    logs.map(|log| (log.unit, log.lines.iter().map(|line| line.text.as_str()).collect())).collect()
}

#[test]
fn each_line_is_sent_once_while_its_unit_runs_and_the_rest_before_its_report() {
    let mut logs = Logs::default();
    assert!(logs.due().is_none());
    assert!(logs.line(id(1), LEASE, line(0, "one")));
    assert!(!logs.line(id(2), LEASE, line(0, "two")));
    assert_eq!(logs.due(), Some(Now::ZERO));
    assert_eq!(told(&logs.fresh(seconds(1))), [(1, vec!["one"]), (2, vec!["two"])]);
    assert!(logs.due().is_none());
    // Taken up again from a snapshot, a unit says again what it said.
    assert!(!logs.line(id(1), LEASE, line(0, "one")));
    assert!(logs.line(id(1), LEASE, line(4, "more")));
    assert_eq!(logs.due(), Some(seconds(1) + FLUSH_EVERY));
    let reported = logs.reported(seconds(2), [(id(1), false), (id(2), true)].into_iter());
    assert_eq!(told(&reported), [(1, vec!["more"])]);
    assert!(logs.fresh(seconds(4)).is_empty());
}

#[test]
fn after_a_lost_connection_all_is_sent_again_until_it_is_acknowledged() {
    let mut logs = Logs::default();
    logs.line(id(1), LEASE, line(0, "failed"));
    logs.line(id(2), LEASE, line(0, "runs"));
    logs.reported(seconds(1), [(id(1), true)].into_iter());
    logs.fresh(seconds(1));
    logs.attached();
    assert_eq!(told(&logs.fresh(seconds(5))), [(2, vec!["runs"])]);
    let again = logs.reported(seconds(5), [(id(1), true)].into_iter());
    assert_eq!(told(&again), [(1, vec!["failed"])]);
    logs.gone(seconds(6), &[id(1)]);
    logs.attached();
    assert!(logs.reported(seconds(7), [(id(1), true)].into_iter()).is_empty());
    assert_eq!(logs.units.len(), 1);
}

#[test]
fn a_unit_that_is_given_back_is_let_go_first_and_its_log_goes_along() {
    let mut logs = Logs::default();
    logs.line(id(1), LEASE, line(0, "last words"));
    logs.line(id(2), LEASE, line(0, "taken back"));
    logs.gone(seconds(1), &[id(1), id(2)]);
    let returned = logs.returned(seconds(1), [(LEASE, UnitIndex(1))].into_iter());
    assert_eq!(told(&returned), [(1, vec!["last words"])]);
    assert!(logs.fresh(seconds(2)).is_empty());
    assert_eq!(logs.units.len(), 1);
    logs.fresh(seconds(2) + GONE_MAX);
    assert!(logs.units.is_empty() && logs.bytes == 0);
}

#[test]
fn talkers_are_bounded_in_memory_and_on_the_line() {
    let mut logs = Logs::default();
    let text = "x".repeat(4000);
    for unit in 0..10_000 {
        logs.line(id(unit), LEASE, line(0, &text));
    }
    assert!(logs.bytes <= BYTES_MAX);
    assert_eq!(logs.bytes, logs.units.values().map(|entry| entry.log.bytes()).sum::<usize>());
    let sent = |messages: Vec<pb::KernelLogs>| -> usize {
        let bytes =
            |log: &pb::KernelLog| log.lines.iter().map(|line| line.text.len()).sum::<usize>();
        messages
            .iter()
            .map(|message| {
                let all: usize = message.logs.iter().map(bytes).sum();
                assert!(all < LOGS_MESSAGE_BYTES * 2 && message.logs.len() <= LOGS_PER_MESSAGE_MAX);
                all
            })
            .sum()
    };
    let first = sent(logs.fresh(seconds(1)));
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap();
    assert!(first <= bytes(BURST_BYTES) && bytes(BURST_BYTES) / 2 < first);
    logs.attached();
    let second = sent(logs.fresh(seconds(11)));
    assert!(second <= 10 * bytes(BYTES_PER_SECOND));
}

#[test]
fn of_a_job_no_more_is_sent_than_is_kept_but_for_failures() {
    let mut logs = Logs::default();
    let text = "x".repeat(4000);
    let mut now = seconds(0);
    let mut bytes = 0;
    for unit in 0..10_000 {
        now += seconds(1);
        logs.line(id(unit), LEASE, line(0, &text));
        let sent = logs.reported(now, [(id(unit), false)].into_iter());
        bytes += sent.iter().map(|message| message.logs[0].lines[0].text.len()).sum::<usize>();
        if unit % 100 != 0 {
            logs.gone(now, &[id(unit)]);
        }
    }
    let max = usize::try_from(JOB_LOG_BYTES_MAX).unwrap();
    assert!(max / 10 * 9 < bytes && bytes < max / 10 * 11, "{bytes}");
    logs.line(id(20_000), LEASE, line(0, "why"));
    let sent = logs.reported(now, [(id(20_000), true)].into_iter());
    assert_eq!(told(&sent), [(20_000, vec!["why"])]);
}

#[test]
fn what_was_kept_is_sent_by_the_next_run_of_the_program() {
    let mut logs = Logs::default();
    logs.line(id(1), LEASE, line(0, "before"));
    logs.fresh(seconds(1));
    let bytes = postcard::to_allocvec(logs.units()).unwrap();
    let mut logs = Logs::restore(postcard::from_bytes(&bytes).unwrap());
    logs.attached();
    logs.line(id(1), LEASE, line(7, "after"));
    let sent = logs.reported(seconds(1), [(id(1), false)].into_iter());
    assert_eq!(told(&sent), [(1, vec!["before", "after"])]);
}
