use super::bounds::{ACCOUNT_SHARE, COPIES, OFFERS_BURST, OFFERS_PER_SECOND, SENDER_SHARE};
use super::*;
use std::collections::{BTreeSet, VecDeque};

fn worker(number: u64) -> WorkerKey {
    WorkerKey(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn account(number: u64) -> AccountKey {
    AccountKey(*blake3::hash(&(number + 1_000_000).to_le_bytes()).as_bytes())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config(number: u64) -> Config {
    Config::new(worker(number), account(number))
}

/// A small generator, so that a run can be told by its seed.
struct Prng(u64);

impl Prng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(*mixed.as_bytes().first_chunk().unwrap()) % bound
    }
}

/// One worker of the test network.
struct Node {
    /// `None`: it has left for ever.
    hold: Option<Custodian>,
    online: bool,
    /// What is on its disk: whether the coordinator is known to have it.
    disk: BTreeMap<Name, bool>,
    next: u64,
}

/// Workers that hold for each other, and a coordinator that is there or not.
struct Net {
    now: Now,
    nodes: Vec<Node>,
    coordinator: bool,
    /// What has reached the coordinator.
    arrived: BTreeSet<Name>,
    /// Batches sent to the coordinator by others than their reporters.
    deliveries: usize,
    dice: Prng,
}

impl Net {
    fn new(seed: u64, count: u64) -> Self {
        println!("seed {seed}");
        let node = |number| {
            let (hold, _) = Custodian::restore(Now::ZERO, config(number), vec![]);
            Node { hold: Some(hold), online: false, disk: BTreeMap::new(), next: 1 }
        };
        let mut net = Self {
            now: Now::ZERO,
            nodes: (0..count).map(node).collect(),
            coordinator: true,
            arrived: BTreeSet::new(),
            deliveries: 0,
            dice: Prng(seed),
        };
        for number in 0..net.nodes.len() {
            net.online(number);
        }
        net
    }

    fn number(&self, key: &WorkerKey) -> usize {
        (0..self.nodes.len()).find(|number| worker(*number as u64) == *key).unwrap()
    }

    fn apply(&mut self, number: usize, event: Event) {
        let mut events = VecDeque::from([(number, event)]);
        while let Some((number, event)) = events.pop_front() {
            let Some(hold) = &mut self.nodes[number].hold else { continue };
            let actions = hold.apply(self.now, event);
            hold.check_invariants().unwrap();
            for action in actions {
                self.act(number, action, &mut events);
            }
        }
    }

    fn act(&mut self, number: usize, action: Action, events: &mut VecDeque<(usize, Event)>) {
        let own = worker(number as u64);
        match action {
            Action::HandOver { peer, sequence } => {
                let to = self.number(&peer);
                let name = Name { worker: own, sequence };
                assert!(
                    self.nodes[number].disk.contains_key(&name),
                    "what is handed over is there"
                );
                let taken = self.nodes[to].online
                    && self.nodes[to].hold.is_some()
                    && self.hand(to, own, sequence, events);
                events.push_back((number, Event::Answered { peer, sequence, taken }));
            }
            Action::Release { peer, sequence } => {
                let to = self.number(&peer);
                events.push_back((to, Event::Released { peer: own, sequences: vec![sequence] }));
            }
            Action::Keep(_) | Action::Refuse { .. } => unreachable!("answered by `hand`"),
            Action::Mark(name) => {
                self.nodes[number].disk.insert(name, true);
            }
            Action::Forget(name) => {
                self.nodes[number].disk.remove(&name);
            }
            Action::Ask(names) => {
                let there = self.coordinator && self.nodes[number].online;
                let event = if there {
                    let wants = |name: Name| (name, !self.arrived.contains(&name));
                    Event::Wanted(names.into_iter().map(wants).collect())
                } else {
                    Event::NotAsked(names)
                };
                events.push_back((number, event));
            }
            Action::Deliver(name) => {
                let done = self.coordinator && self.nodes[number].online;
                assert!(self.nodes[number].disk.contains_key(&name), "what is delivered is there");
                if done {
                    self.arrived.insert(name);
                    self.deliveries += 1;
                }
                events.push_back((number, Event::Delivered { name, done }));
            }
        }
    }

    /// A hand-over, at the receiver.
    fn hand(
        &mut self,
        to: usize,
        from: WorkerKey,
        sequence: u64,
        events: &mut VecDeque<(usize, Event)>,
    ) -> bool {
        let offered = Event::Offered { peer: from, sequence, bytes: 1_000 };
        let hold = self.nodes[to].hold.as_mut().unwrap();
        let actions = hold.apply(self.now, offered);
        hold.check_invariants().unwrap();
        let name = Name { worker: from, sequence };
        let mut taken = false;
        for action in actions {
            match action {
                Action::Keep(kept) if kept == name => {
                    self.nodes[to].disk.insert(name, false);
                    taken = true;
                }
                Action::Refuse { why: Refusal::Held, .. } => taken = true,
                Action::Refuse { .. } => {}
                other => self.act(to, other, events),
            }
        }
        taken
    }

    fn online(&mut self, number: usize) {
        self.nodes[number].online = true;
        for other in 0..self.nodes.len() {
            if other != number && self.nodes[other].online {
                self.meet(number, other);
                self.meet(other, number);
            }
        }
        if self.coordinator {
            self.apply(number, Event::Attached);
        }
    }

    fn meet(&mut self, number: usize, other: usize) {
        let (peer, account) = (worker(other as u64), account(other as u64));
        self.apply(number, Event::PeerCame { peer, account, network: 0 });
    }

    fn offline(&mut self, number: usize) {
        self.nodes[number].online = false;
        self.apply(number, Event::Detached);
        for other in 0..self.nodes.len() {
            if other != number {
                self.apply(other, Event::PeerWent(worker(number as u64)));
                self.apply(number, Event::PeerWent(worker(other as u64)));
            }
        }
    }

    fn leave_for_ever(&mut self, number: usize) {
        self.offline(number);
        self.nodes[number].hold = None;
    }

    fn coordinator(&mut self, there: bool) {
        self.coordinator = there;
        for number in 0..self.nodes.len() {
            if self.nodes[number].online {
                self.apply(number, if there { Event::Attached } else { Event::Detached });
            }
        }
    }

    /// A worker reports: to the coordinator if it is there, and to its peers.
    fn report(&mut self, number: usize) -> Name {
        let name = Name { worker: worker(number as u64), sequence: self.nodes[number].next };
        self.nodes[number].next += 1;
        self.nodes[number].disk.insert(name, false);
        self.apply(number, Event::Reported { sequence: name.sequence, bytes: 1_000 });
        if self.coordinator && self.nodes[number].online {
            self.arrived.insert(name);
            self.apply(number, Event::Acknowledged { sequence: name.sequence });
        }
        name
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let due = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(number, node)| {
                    Some((node.hold.as_ref()?.next_deadline(self.now)?, number))
                })
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, number)) = due else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.apply(number, Event::Wake);
        }
        panic!("time does not pass: somebody is woken for nothing");
    }

    /// Copies of a batch on disks of workers that have not left.
    fn copies(&self, name: &Name) -> usize {
        let has = |node: &&Node| node.hold.is_some() && node.disk.contains_key(name);
        self.nodes.iter().filter(has).count()
    }
}

#[test]
fn each_batch_is_held_by_peers_and_released_when_the_coordinator_has_it() {
    let mut net = Net::new(1, 6);
    let name = net.report(0);
    assert_eq!(net.copies(&name), 1 + COPIES);
    net.pass(secs(3_600));
    assert_eq!(net.deliveries, 0, "the reporter reported itself, and said so");
    for node in net.nodes.iter().filter(|node| node.disk.contains_key(&name)) {
        assert!(node.disk[&name], "every holder knows");
    }
}

#[test]
fn a_reporter_that_leaves_for_ever_loses_nothing() {
    let mut net = Net::new(2, 6);
    net.coordinator(false);
    let names: Vec<Name> = (0..20).map(|_| net.report(0)).collect();
    net.leave_for_ever(0);
    net.pass(secs(86_400));
    assert!(net.arrived.is_empty());
    net.coordinator(true);
    net.pass(secs(3_600));
    assert_eq!(net.arrived, names.into_iter().collect());
    assert_eq!(net.deliveries, 20, "holders ask before they deliver, one after the other");
}

#[test]
fn copies_are_made_anew_when_holders_vanish() {
    let mut net = Net::new(3, 8);
    net.coordinator(false);
    let name = net.report(0);
    for _ in 0..2 {
        let holder =
            (1..8).find(|n| net.nodes[*n].hold.is_some() && net.nodes[*n].disk.contains_key(&name));
        net.leave_for_ever(holder.unwrap());
        net.pass(secs(1_200));
        assert_eq!(net.copies(&name), 1 + COPIES);
    }
    net.coordinator(true);
    net.report(0);
    net.apply(0, Event::Acknowledged { sequence: name.sequence });
    net.arrived.insert(name);
    net.pass(secs(3_600));
    assert_eq!(net.deliveries, 0);
}

#[test]
fn with_churn_and_half_of_all_leaving_for_ever_all_but_a_few_batches_arrive() {
    for seed in 0..4 {
        let mut net = Net::new(seed, 24);
        net.coordinator(false);
        let mut names = Vec::new();
        for _ in 0..120 {
            let number = usize::try_from(net.dice.below(24)).unwrap();
            match net.dice.below(4) {
                0 if net.nodes[number].online => net.offline(number),
                1 if !net.nodes[number].online => net.online(number),
                _ => names.push(net.report(number)),
            }
            let time = net.dice.below(400);
            net.pass(secs(time));
        }
        // Everybody is there once more, and then half of all are gone at the same moment.
        (0..24)
            .filter(|n| !net.nodes[*n].online)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|n| net.online(n));
        net.pass(secs(120));
        for number in 0..12 {
            net.leave_for_ever(number * 2);
        }
        net.coordinator(true);
        net.pass(secs(7_200));
        // What is left of those who are still there they report themselves.
        let lost = names
            .iter()
            .filter(|name| {
                net.number(&name.worker).is_multiple_of(2) && !net.arrived.contains(name)
            })
            .count();
        assert!(lost * 4 <= names.len(), "seed {seed}: {lost} of {} lost", names.len());
        let gone = names.iter().filter(|name| !net.arrived.contains(name) && 0 < net.copies(name));
        for name in gone {
            assert_eq!(
                net.number(&name.worker) % 2,
                1,
                "seed {seed}: a held batch was not delivered"
            );
        }
    }
}

#[test]
fn holders_do_not_stampede_when_the_coordinator_is_back() {
    let mut net = Net::new(5, 40);
    net.coordinator(false);
    for number in 0..20 {
        net.report(number);
    }
    for number in 0..20 {
        net.leave_for_ever(number);
    }
    net.pass(secs(86_400));
    net.coordinator(true);
    let mut most = 0;
    for _ in 0..60 {
        let before = net.deliveries;
        net.pass(secs(1));
        most = most.max(net.deliveries - before);
    }
    net.pass(secs(10));
    assert_eq!(net.deliveries, 20, "each once");
    assert!(most <= 6, "{most} of 20 within a second of a minute");
}

#[test]
fn a_flood_from_one_sender_stays_within_its_share() {
    let config = Config { others_bytes: 1 << 20, ..config(0) };
    let (mut hold, _) = Custodian::restore(Now::ZERO, config, vec![]);
    let come = |hold: &mut Custodian, number| {
        let (peer, account) = (worker(number), account(number % 7));
        let _ = hold.apply(Now::ZERO, Event::PeerCame { peer, account, network: 0 });
    };
    come(&mut hold, 1);
    let mut kept = 0;
    for second in 0..2_000 {
        for sequence in 0..50 {
            let sequence = second * 50 + sequence;
            let offered = Event::Offered { peer: worker(1), sequence, bytes: 300 };
            let actions = hold.apply(secs(second), offered);
            kept += actions.iter().filter(|action| matches!(action, Action::Keep(_))).count();
        }
        hold.check_invariants().unwrap();
    }
    assert!(hold.numbers().others_bytes <= (1 << 20) / SENDER_SHARE);
    assert!(kept as u64 <= OFFERS_BURST + 2_000 * OFFERS_PER_SECOND);
    // A hundred workers of seven owners: each owner stays within its own share, and somebody new finds room.
    for number in 2..102 {
        come(&mut hold, number);
        for sequence in 0..100 {
            let offered = Event::Offered { peer: worker(number), sequence, bytes: 1_000 };
            let _ = hold.apply(secs(3_000), offered);
        }
        hold.check_invariants().unwrap();
    }
    assert!(hold.numbers().others_bytes <= (1 << 20) * 7 / ACCOUNT_SHARE);
    let (peer, account) = (worker(999), account(999));
    let _ = hold.apply(secs(3_001), Event::PeerCame { peer, account, network: 0 });
    let actions = hold.apply(secs(3_001), Event::Offered { peer, sequence: 1, bytes: 1_000 });
    assert_eq!(actions, [Action::Keep(Name { worker: peer, sequence: 1 })]);
}

#[test]
fn when_all_is_full_the_largest_owner_gives_way() {
    let config = Config { others_bytes: 64_000, ..config(0) };
    let (mut hold, _) = Custodian::restore(Now::ZERO, config, vec![]);
    for number in 1..=9 {
        let (peer, account) = (worker(number), account(number.min(8) % 8));
        let _ = hold.apply(Now::ZERO, Event::PeerCame { peer, account, network: 0 });
    }
    // Eight owners fill it, each with what one sender may have or, with two senders, twice that.
    for number in 1..=9 {
        for sequence in 0..100 {
            let offered = Event::Offered { peer: worker(number), sequence, bytes: 500 };
            let _ = hold.apply(secs(1), offered);
        }
    }
    hold.check_invariants().unwrap();
    let full = hold.numbers().others_bytes;
    for number in 20..40 {
        let (peer, account) = (worker(number), account(number));
        let _ = hold.apply(secs(2), Event::PeerCame { peer, account, network: 0 });
        for sequence in 0..3 {
            let offered = Event::Offered { peer, sequence, bytes: 500 };
            let actions = hold.apply(secs(2), offered);
            assert!(
                actions.contains(&Action::Keep(Name { worker: peer, sequence })),
                "{number}: {actions:?}"
            );
            hold.check_invariants().unwrap();
        }
    }
    assert!(full <= 64_000 && hold.numbers().others_bytes <= 64_000);
}

#[test]
fn strangers_replays_and_giants_cost_nothing() {
    let (mut hold, _) = Custodian::restore(Now::ZERO, config(0), vec![]);
    let offer = |sequence, bytes| Event::Offered { peer: worker(1), sequence, bytes };
    let refused = |actions: Vec<Action>| match &actions[..] {
        [Action::Refuse { why, .. }] => *why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(hold.apply(secs(1), offer(1, 500))), Refusal::TooFast, "nobody we know");
    let (peer, account) = (worker(1), account(1));
    let _ = hold.apply(secs(1), Event::PeerCame { peer, account, network: 0 });
    assert_eq!(refused(hold.apply(secs(1), offer(1, u32::MAX))), Refusal::TooLarge);
    assert_eq!(hold.apply(secs(1), offer(1, 500)).len(), 1);
    assert_eq!(refused(hold.apply(secs(1), offer(1, 500))), Refusal::Held);
    let _ = hold.apply(secs(1), Event::NotCome(Name { worker: peer, sequence: 1 }));
    assert_eq!(hold.numbers().others, 0, "what did not come takes no room");
    // Releases, answers and logs of batches that nobody holds change nothing.
    let none = Name { worker: worker(5), sequence: 5 };
    let events = [
        Event::Released { peer: worker(5), sequences: (0..1_000).collect() },
        Event::Wanted(vec![(none, true)]),
        Event::Delivered { name: none, done: true },
        Event::Logged(vec![none, Name { worker: worker(0), sequence: 5 }]),
        Event::Answered { peer: worker(5), sequence: 5, taken: true },
        Event::Acknowledged { sequence: 5 },
    ];
    for event in events {
        assert_eq!(hold.apply(secs(2), event), []);
        hold.check_invariants().unwrap();
    }
}

#[test]
fn owners_and_networks_of_holders_differ_where_they_can() {
    let (mut hold, _) = Custodian::restore(Now::ZERO, config(0), vec![]);
    let own = account(0);
    let peers = [
        (1, own, 0),
        (2, account(2), 7),
        (3, account(2), 8),
        (4, account(4), 7),
        (5, account(5), 9),
    ];
    for (number, account, network) in peers {
        let peer = worker(number);
        let _ = hold.apply(Now::ZERO, Event::PeerCame { peer, account, network });
    }
    let actions = hold.apply(secs(1), Event::Reported { sequence: 1, bytes: 100 });
    let chosen: BTreeSet<WorkerKey> = actions
        .iter()
        .map(|action| match action {
            Action::HandOver { peer, .. } => *peer,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(chosen.len(), COPIES);
    assert!(!chosen.contains(&worker(1)), "its own owner's machine is the last to be asked");
    assert!(!(chosen.contains(&worker(2)) && chosen.contains(&worker(3))), "one of one owner");
}

#[test]
fn what_is_on_disk_is_taken_up_again() {
    let stored = |number, sequence, known, age| Stored {
        name: Name { worker: worker(number), sequence },
        account: account(number),
        bytes: 100,
        known,
        age,
    };
    let day = secs(86_400);
    let all = vec![
        stored(0, 1, true, day),
        stored(0, 2, false, day),
        stored(1, 1, false, day),
        stored(1, 2, true, day),
        stored(1, 3, false, 31 * day),
    ];
    let (mut hold, actions) = Custodian::restore(secs(5), config(0), all);
    assert_eq!(actions, [Action::Forget(Name { worker: worker(1), sequence: 3 })]);
    let numbers = hold.numbers();
    assert_eq!((numbers.own, numbers.own_waiting), (2, 1));
    assert_eq!((numbers.others, numbers.others_waiting), (2, 1));
    let event = Event::PeerCame { peer: worker(9), account: account(9), network: 0 };
    let actions = hold.apply(secs(6), event);
    assert_eq!(actions, [Action::HandOver { peer: worker(9), sequence: 2 }]);
    hold.check_invariants().unwrap();
    // The other one's batch is told of once its reporter has had time, and the coordinator some rest.
    assert_eq!(hold.apply(secs(6), Event::Attached), []);
    let at = hold.next_deadline(secs(6)).unwrap();
    assert_eq!(
        hold.apply(at.max(secs(700)), Event::Wake),
        [Action::Ask(vec![Name { worker: worker(1), sequence: 1 }])]
    );
    let mut gone = hold.apply(40 * day, Event::Wake);
    gone.retain(|action| matches!(action, Action::Forget(_)));
    assert_eq!(gone.len(), 4);
    hold.check_invariants().unwrap();
}
