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
    check("run --advertise http://example.org:7700", "without http://");
    check("run --advertise example.org:0", "port 0");
    check("init --advertise 0.0.0.0:7700", "leads others nowhere");
    check("init --advertise [::]:7700", "leads others nowhere");
    check("run --advertise 2001:db8::1:7700", "in brackets");
    check("run --advertise ada@example.org:7700", "neither a host name nor an address");
    check("run --connections 0", "1..=1000000");
    check("token issue ada --role king", "researcher, operator");
    check("rum", "run");
}

#[test]
fn what_is_to_be_typed_is_quoted() {
    assert_eq!(typed(Path::new(DATA), "run"), "starling-coordinator run");
    assert_eq!(
        typed(Path::new("/srv/the grid's"), "token issue NAME"),
        "starling-coordinator --data \"/srv/the grid's\" token issue NAME"
    );
}
