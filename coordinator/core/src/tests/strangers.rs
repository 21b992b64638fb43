//! Keys are free: what those get who have shown nothing yet, and how they get in.

use super::env::{Env, honest, spec};
use crate::admission::Admission;
use crate::event::{Event, Hello, Refused, Reply};
use crate::token::{Role, Token, TokenId};
use proto::job::{Input, JobSpec, Limits};
use proto::report::Ack;
use proto::{Digest, JobId};

impl Env {
    /// A worker of another network, connected.
    fn worker_in(&mut self, network: u64, account: u8) -> usize {
        let worker = self.worker(account);
        let hello = Hello { network, ..self.hello(worker) };
        self.try_connect(hello).unwrap();
        worker
    }

    fn invite(&mut self, text: &str, accounts: u32) {
        let token = Token {
            id: TokenId(text.into()),
            digest: Digest::of(text.as_bytes()),
            account: "friends".into(),
            role: Role::Volunteer { accounts },
            issued_at_ms: 0,
        };
        assert!(matches!(self.apply(Event::IssueToken(token)), Reply::Done));
    }

    /// A worker that has not connected yet says hello, with an invitation and work.
    fn greet(&mut self, worker: usize, invitation: &str, work_bits: u32) -> Result<(), Refused> {
        let invitation = Some(Digest::of(invitation.as_bytes()));
        self.try_connect(Hello { invitation, work_bits, ..self.hello(worker) })
    }
}

#[test]
fn newcomers_of_one_network_hold_little_together() {
    let mut env = Env::new();
    let job = env.submit(spec(100_000, 1));
    let many: Vec<usize> = (1..=20).map(|account| env.worker_in(7, account)).collect();
    for &worker in &many {
        env.lease(worker, 100);
    }
    assert_eq!(env.status(job).leased, 1024);
    let said = env.workers[many[19]].heard.last().unwrap();
    assert!(said.contains("newcomers of its network"), "{said}");
    let elsewhere = env.worker_in(8, 30);
    assert_eq!(env.lease(elsewhere, 100), ["j1 1024..1088"]);
    // Whoever reports makes room, and is none of them any more.
    env.report_all(many[0], job);
    env.lease(many[19], 100);
    assert_eq!(env.status(job).leased, 1024 + 64);
    env.lease(many[0], 100);
    assert_eq!(env.status(job).leased, 1024 + 64 + 100);
    env.crash();
    env.core.check_invariants().unwrap();
}

#[test]
fn what_is_held_and_not_computed_is_lent_again_soon() {
    let mut env = Env::new();
    let job = env.submit(spec(70, 1));
    let hoarder = env.worker(1);
    env.lease(hoarder, 64);
    let (honest, other) = (env.worker(2), env.worker(3));
    env.lease(honest, 64);
    env.report_all(honest, job);
    // Far less than a quarter of the lease.
    env.pass(6_000);
    assert_eq!(env.lease(other, 64), [""; 0]);
    assert_eq!(env.lease(honest, 64), ["j1 0..64"]);
    env.report_all(honest, job);
    assert!(env.is_done(job));
}

#[test]
fn who_may_still_be_fetching_an_input_is_waited_for() {
    let mut env = Env::new();
    let input = Input { name: "a".into(), digest: Digest([5; 32]), len: 1_000_000 };
    env.submit(JobSpec { inputs: vec![input], ..spec(70, 1) });
    let (newcomer, honest) = (env.worker(1), env.worker(2));
    env.lease(newcomer, 64);
    env.lease(honest, 64);
    env.report_all(honest, JobId(1));
    // A megabyte takes eight seconds at a megabit a second.
    env.pass(7_000);
    assert_eq!(env.lease(honest, 64), [""; 0]);
    env.pass(2_000);
    assert_eq!(env.lease(honest, 64), ["j1 0..64"]);
}

#[test]
fn nobody_is_credited_for_what_its_cores_cannot_burn() {
    let mut env = Env::new();
    let job = env
        .submit(JobSpec { limits: Limits { fuel: 1 << 62, ..spec(1, 1).limits }, ..spec(10, 1) });
    let liar = env.worker(1);
    let hello = Hello { cores: 2, ..env.hello(liar) };
    env.try_connect(hello).unwrap();
    env.lease(liar, 8);
    // Two cores, and two moments ahead: 400e9.
    let claim =
        |env: &mut Env, unit: u64, fuel: u64| env.report(liar, job, unit, (honest(unit).0, fuel));
    assert_eq!(claim(&mut env, 0, 300_000_000_000), Ack::Accepted);
    assert_eq!(claim(&mut env, 1, 200_000_000_000), Ack::Invalid);
    env.pass(1_000);
    assert_eq!(claim(&mut env, 2, 200_000_000_000), Ack::Accepted);
    assert_eq!(claim(&mut env, 3, 1 << 62), Ack::Invalid);
    assert_eq!(env.status(job).credit, 500_000_000_000);
    // Nobody knows since when it has held the rest.
    env.crash();
    env.connect(liar);
    assert_eq!(claim(&mut env, 4, 2_000_000_000_000), Ack::Accepted);
}

#[test]
fn an_invitation_lets_in_as_many_accounts_as_it_says() {
    let mut env = Env::new();
    let known = env.worker(1);
    env.core.set_admission(Admission::Invited);
    env.connect(known);
    env.invite("friends", 2);
    let strangers: Vec<usize> = (2..7).map(|account| env.stranger(account)).collect();
    assert_eq!(env.greet(strangers[0], "foes", 99), Err(Refused::NotInvited));
    assert_eq!(env.greet(strangers[0], "friends", 0), Ok(()));
    // Another machine of it, and the same again.
    let twin = env.stranger(2);
    assert_eq!(env.greet(twin, "", 0), Ok(()));
    assert_eq!(env.greet(strangers[0], "friends", 0), Ok(()));
    env.crash();
    env.core.set_admission(Admission::Invited);
    assert_eq!(env.greet(strangers[1], "friends", 0), Ok(()));
    assert_eq!(env.greet(strangers[2], "friends", 0), Err(Refused::InvitationUsed));
    assert!(matches!(
        env.apply(Event::RevokeToken(TokenId("friends".into()))),
        Reply::Revoked(true)
    ));
    assert_eq!(env.greet(strangers[3], "friends", 0), Err(Refused::NotInvited));
    // Nobody who was let in is forgotten.
    env.crash();
    env.core.set_admission(Admission::Invited);
    assert_eq!(env.greet(strangers[1], "", 0), Ok(()));
}

#[test]
fn work_is_asked_of_accounts_that_are_not_known() {
    let mut env = Env::new();
    env.core.set_admission(Admission::Work(20));
    let stranger = env.stranger(1);
    assert_eq!(env.greet(stranger, "", 19), Err(Refused::NoWork(20)));
    assert_eq!(env.greet(stranger, "", 20), Ok(()));
    assert_eq!(env.greet(stranger, "", 0), Ok(()));
}
