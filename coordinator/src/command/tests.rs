//! What the operator types means what it says, and a slip is explained.

use super::*;

fn parse(line: &str) -> Result<Arguments, String> {
    let words = std::iter::once("starling-coordinator").chain(line.split(' '));
    Arguments::try_parse_from(words).map_err(|error| error.to_string())
}

#[test]
fn the_arguments_are_consistent() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}

#[test]
fn sizes_and_durations_are_written_as_people_do() {
    let arguments = parse(
        "--data /x run --listen 127.0.0.1:0 --account-bytes 5GB --summary 90s --stop-within 1m",
    )
    .unwrap();
    let Command::Run(run) = arguments.command else { panic!("not run") };
    assert_eq!(run.account_bytes.as_u64(), 5_000_000_000);
    assert_eq!((run.summary.as_secs(), run.stop_within.as_secs()), (90, 60));
    assert_eq!(run.address.listen.port(), 0);
}

#[test]
fn a_slip_is_explained() {
    let check = |line: &str, expected: &str| {
        let error = parse(line).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    };
    check("run --summary fast", "write it as in 90s");
    check("run --summary 0s", "at least 1ms");
    check("run --advertise example.org", "write HOST:PORT");
    check("run --connections 0", "1..=1000000");
    check("token issue ada --role king", "researcher, operator");
    check("rum", "run");
}
