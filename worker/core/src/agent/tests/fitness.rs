//! Machines that can run nothing: nobody's unit is spent on them.

use super::*;

fn machine(reason: &str) -> End {
    End::Trouble { reason: reason.into(), remedy: Remedy::Mend }
}

/// Started as the task does it: nothing is known of the machine.
fn started() -> World {
    let mut world = World::new();
    world.fit = false;
    world.on(Event::Doubt("it has just started".into()));
    world.attach();
    world.on(Event::Job { id: JobId(1), spec: spec("one", 64).encode() });
    world
}

fn try_out(world: &mut World, result: Result<(), String>) {
    assert!(std::mem::take(&mut world.trying), "the trial unit is to run");
    world.on(Event::Tried(result));
}

fn wants(world: &World) -> usize {
    let wants = |message: &&Message| matches!(message, Message::Want { units: 1.., .. });
    world.sent.iter().filter(wants).count()
}

#[test]
fn nothing_is_asked_for_before_the_trial_unit_has_run() {
    let mut world = started();
    world.pass(Duration::from_secs(60));
    assert_eq!(wants(&world), 0);
    assert!(
        world.agent.why(world.now)[0].contains("trial unit"),
        "{:?}",
        world.agent.why(world.now)
    );
    try_out(&mut world, Ok(()));
    assert_eq!(wants(&world), 1);
    assert!(!world.agent.why(world.now)[0].contains("trial unit"));
}

#[test]
fn a_machine_that_cannot_run_the_trial_unit_says_why_and_tries_again_later_and_later() {
    let mut world = started();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let before = world.now;
        try_out(&mut world, Err("no process could be started".into()));
        let why = world.agent.why(world.now);
        assert!(why[0].contains("no process could be started"), "{why:?}");
        assert_eq!(world.agent.status(world.now).why, why);
        while !world.trying {
            let deadline = world.agent.next_deadline().unwrap();
            world.pass(deadline - world.now);
        }
        waits.push((world.now - before).as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
    assert_eq!(wants(&world), 0);
    assert!(world.said.iter().any(|said| said.contains("no process could be started")));
    try_out(&mut world, Ok(()));
    assert!(world.said.last().unwrap().contains("again"));
    assert_eq!(wants(&world), 1);
}

#[test]
fn units_of_a_machine_that_fell_ill_are_given_back_unharmed() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 6));
    world.fit = false;
    world.end(unit(1, 0), machine("cannot allocate memory"));
    assert!(!world.running().contains(&unit(1, 0)), "not before the trial unit has run");
    assert!(world.running().contains(&unit(1, 1)), "what runs goes on");
    let wanted = wants(&world);
    try_out(&mut world, Err("cannot allocate memory".into()));
    assert!(world.returns().is_empty(), "it may be over in a moment");
    world.pass(Duration::from_secs(10));
    try_out(&mut world, Err("cannot allocate memory".into()));
    let returns = world.returns();
    assert_eq!(returns.len(), 5, "{returns:?}");
    assert!(returns.iter().all(|(_, failure)| !failure), "{returns:?}");
    world.end(unit(1, 1), done(1));
    assert_eq!(units(&world.batch()), [1]);
    assert_eq!(wants(&world), wanted, "and none are asked for");
}

#[test]
fn a_unit_that_meets_the_machines_faults_again_and_again_is_given_back_unharmed() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    for _ in 0..2 {
        world.end(unit(1, 0), machine("killed"));
        assert_eq!(world.running(), [unit(1, 0)], "the trial unit ran, so it is tried again");
    }
    world.end(unit(1, 0), machine("killed"));
    assert_eq!(world.returns(), [(0, false)]);
}

#[test]
fn faults_of_the_machine_do_not_add_to_those_that_may_be_the_units() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    for remedy in [Remedy::Mend, Remedy::Again, Remedy::Mend, Remedy::Again] {
        world.end(unit(1, 0), End::Trouble { reason: "killed".into(), remedy });
        assert_eq!(world.running(), [unit(1, 0)]);
    }
    world.end(unit(1, 0), machine("killed"));
    assert_eq!(world.returns(), [(0, false)]);
}

#[test]
fn a_job_that_this_machine_lacks_something_for_is_given_back_unharmed() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    let end = End::Trouble { reason: "too little memory".into(), remedy: Remedy::MendWholeJob };
    world.end(unit(1, 0), end);
    assert_eq!(world.returns(), [(0, false), (1, false), (2, false), (3, false)]);
    assert!(!world.trying, "the machine is as well as before");
}

#[test]
fn a_stop_waits_for_no_trial() {
    let mut world = started();
    try_out(&mut world, Err("no memory".into()));
    world.on(Event::Stop);
    world.on(Event::Stopped);
    assert!(world.exited);
    world.pass(Duration::from_secs(3600));
    assert!(!world.trying);
}
