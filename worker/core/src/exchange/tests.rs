//! Swarms of many machines, played through from a seed that is printed.

mod world;

use super::{Action, Bits, Config, Event, Message, Now, Source, Swarm, Totals};
use proto::Digest;
use std::time::Duration;
use world::{Kind, World, key};

const MB: u64 = 1 << 20;
/// 20 Mbit/s.
const SPEED: u64 = 2_500_000;

fn seeds() -> impl Iterator<Item = u64> {
    let given = std::env::var("SWARM_SEED").ok().and_then(|seed| seed.parse().ok());
    given.map_or(1..=1, |seed| seed..=seed)
}

fn seconds(time: Option<Duration>) -> f64 {
    time.expect("all have the blob in time").as_secs_f64()
}

#[test]
fn sixteen_that_start_together_take_two_copies_at_most_from_the_coordinator() {
    for seed in seeds() {
        let len = 32 * MB;
        let mut world = World::new(seed, &[Kind::Giver; 16], len, SPEED);
        for index in 0..16 {
            let at = Duration::from_millis(world.below(500));
            world.at(at, index, true);
        }
        world.run(Duration::from_secs(600));
        let last = (0..16).map(|index| seconds(world.done_at(index))).fold(0.0, f64::max);
        let direct = f64::from(u32::try_from(len / SPEED).unwrap());
        println!(
            "seed {seed}: {:.2} copies, {last:.1} s; one direct download {direct:.1} s",
            world.copies()
        );
        assert!(world.copies() <= 2.0);
        // Sixteen direct downloads over the coordinator's line take sixteen times one.
        assert!(last <= 3.0 * direct);
    }
}

#[test]
fn a_hundred_that_know_a_few_each_take_little_more() {
    for seed in seeds().take(1) {
        let mut world = World::new(seed, &[Kind::Giver; 100], 16 * MB, SPEED);
        world.neighbours = 8;
        for index in 0..100 {
            let at = Duration::from_millis(world.below(3_000));
            world.at(at, index, true);
        }
        world.run(Duration::from_secs(600));
        let last = (0..100).map(|index| seconds(world.done_at(index))).fold(0.0, f64::max);
        println!("seed {seed}: {:.2} copies to 100, {last:.1} s", world.copies());
        assert!(world.copies() <= 3.0);
    }
}

#[test]
fn free_riders_get_what_is_left_over() {
    // Where the coordinator's line bounds all, and where it does not.
    for (seed, origin) in seeds().flat_map(|seed| [(seed, 1), (seed, 4)]) {
        let played = |n_riders: usize| {
            let mut kinds = [Kind::Giver; 16];
            kinds[16 - n_riders..].fill(Kind::FreeRider);
            let mut world = World::new(seed, &kinds, 64 * MB, SPEED);
            world.neighbours = 8;
            world.quicken_origin(origin);
            for index in 0..16 {
                let at = Duration::from_millis(world.below(500));
                world.at(at, index, true);
            }
            world.run(Duration::from_secs(1200));
            world
        };
        let mean = |world: &World, range: std::ops::Range<usize>| {
            let n = f64::from(u32::try_from(range.len()).unwrap());
            range.map(|index| seconds(world.done_at(index))).sum::<f64>() / n
        };
        let (without, world) = (played(0), played(4));
        let alone = mean(&without, 0..16);
        let (givers, riders) = (mean(&world, 0..12), mean(&world, 12..16));
        println!(
            "seed {seed}, coordinator x{origin}: {:.2} copies; givers {givers:.1} s, free riders {riders:.1} s, who gave \
             {:.2}; 16 givers: {:.2} copies, {alone:.1} s",
            world.copies(),
            (12..16).map(|index| world.sent_by(index)).sum::<f64>(),
            without.copies(),
        );
        assert!(world.copies() <= 2.0);
        assert!(1.1 * givers < riders, "free riders come last");
        // As long as if all had equal shares of what twelve give.
        assert!(givers < 4.0 / 3.0 * alone, "and cost the others little");
    }
}

#[test]
fn machines_of_one_house_fetch_a_blob_once_from_outside() {
    for seed in seeds() {
        let [apart, together] = [false, true].map(|houses_known| {
            // Twelve outside, of which four have it.
            let mut world = World::new(seed, &[Kind::Giver; 16], 32 * MB, SPEED);
            world.houses_known = houses_known;
            world.house(12..16);
            (0..4).for_each(|index| world.has(index));
            for index in 0..16 {
                let at = Duration::from_millis(world.below(500));
                world.at(at, index, true);
            }
            world.run(Duration::from_secs(600));
            let last = |of: std::ops::Range<usize>| {
                of.map(|index| seconds(world.done_at(index))).fold(0.0, f64::max)
            };
            println!(
                "seed {seed}, a house of four, known {houses_known}: {:.2} copies from outside, {:.1} s; others {:.1} s",
                world.outside(12),
                last(12..16),
                last(4..12),
            );
            world.outside(12)
        });
        assert!(together <= 1.3 && together < apart);
    }
}

#[test]
fn poisoners_and_stallers_cost_a_few_pieces_and_stop_nobody() {
    for seed in seeds() {
        let mut kinds = [Kind::Giver; 16];
        (kinds[0], kinds[1]) = (Kind::Poisoner, Kind::Staller);
        let mut world = World::new(seed, &kinds, 32 * MB, SPEED);
        (0..16).for_each(|index| world.at(Now::ZERO, index, true));
        world.run(Duration::from_secs(1200));
        let last = (2..16).map(|index| seconds(world.done_at(index))).fold(0.0, f64::max);
        println!(
            "seed {seed}: {:.2} copies, {last:.1} s, {} wrong pieces",
            world.copies(),
            world.n_wrong()
        );
        assert!(0 < world.n_wrong() && world.n_wrong() <= 2 * 14, "two for each victim at most");
        assert!(world.copies() <= 2.0);
        assert!(last < 90.0);
    }
}

#[test]
fn half_of_the_swarm_comes_and_goes_and_all_get_the_blob() {
    for seed in seeds() {
        let mut world = World::new(seed, &[Kind::Giver; 16], 32 * MB, SPEED);
        for index in 0..16 {
            let at = Duration::from_millis(world.below(20_000));
            world.at(at, index, true);
            if index % 2 == 0 {
                let gone = at + Duration::from_millis(1_000 + world.below(8_000));
                world.at(gone, index, false);
                let back = gone + Duration::from_millis(1_000 + world.below(20_000));
                world.at(back, index, true);
            }
        }
        world.run(Duration::from_secs(1200));
        let last = (0..16).map(|index| seconds(world.done_at(index))).fold(0.0, f64::max);
        println!("seed {seed}: {:.2} copies, {last:.1} s", world.copies());
        assert!(world.copies() <= 2.0);
    }
}

#[test]
fn with_the_coordinator_away_peers_alone_do() {
    for seed in seeds() {
        let mut world = World::new(seed, &[Kind::Giver; 8], 8 * MB, SPEED);
        world.origin_here = false;
        world.has(0);
        (0..8).for_each(|index| world.at(Now::ZERO, index, true));
        world.run(Duration::from_secs(600));
        let last = (0..8).map(|index| seconds(world.done_at(index))).fold(0.0, f64::max);
        println!(
            "seed {seed}: {last:.1} s, the one that had it gave {:.2} copies",
            world.sent_by(0)
        );
        assert!(world.copies() == 0.0 && world.sent_by(0) < 3.0);
        // What the owner is told adds up.
        let numbers: Vec<_> = (0..8).map(|index| world.numbers(index)).collect();
        for (index, told) in numbers.iter().enumerate() {
            assert_eq!((told.whole, told.arriving, told.peers), (1, 0, 7));
            let fetched = if index == 0 { 0 } else { 8 * MB };
            assert_eq!(told.totals.from_coordinator_bytes, 0);
            assert!(fetched <= told.totals.from_peers_bytes, "{told:?}");
        }
        let sum = |of: fn(&Totals) -> u64| numbers.iter().map(|told| of(&told.totals)).sum::<u64>();
        assert!(sum(|totals| totals.from_peers_bytes) <= sum(|totals| totals.to_peers_bytes));
        assert_eq!(sum(|totals| totals.wrong_pieces + totals.dropped_peers), 0);
    }
}

/// One swarm that is talked to by hand.
struct Bench {
    swarm: Swarm,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self { swarm: Swarm::new(Config { seed: 1, ..Config::default() }), now: Now::ZERO }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.swarm.apply(self.now, event);
        self.swarm.check_invariants();
        actions
    }

    fn says(&mut self, peer: usize, message: Message) -> Vec<Action> {
        self.tell(Event::Said { peer: key(peer), message })
    }

    fn after(&mut self, seconds: u64) -> Vec<Action> {
        self.now += Duration::from_secs(seconds);
        self.tell(Event::Wake)
    }
}

fn sources(actions: &[Action]) -> Vec<Source> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Ask { source, .. } => Some(*source),
            _ => None,
        })
        .collect()
}

#[test]
fn the_coordinator_is_not_asked_for_what_a_peer_has_or_gets() {
    let digest = Digest::of(b"x");
    let mut bench = Bench::new();
    bench.tell(Event::Origin { here: true });
    bench.tell(Event::Connected { peer: key(1) });
    bench.tell(Event::Begin { digest, len: Some(2 * MB) });
    let mut pieces = Bits::all(8);
    pieces.clear(5);
    bench.says(1, Message::Holds { digest, len: 2 * MB, pieces });
    let asked = bench.tell(Event::Listed { request: 0, len: 2 * MB, have: Bits::none(8) });
    assert_eq!(sources(&asked), [], "the peer chokes, and the others may yet say what they have");
    let origin = |actions: &[Action]| {
        let of = |action: &Action| match action {
            Action::Ask { source: Source::Origin, piece, .. } => Some(*piece),
            _ => None,
        };
        actions.iter().filter_map(of).collect::<Vec<_>>()
    };
    bench.says(1, Message::Gets { digest, piece: 5 });
    assert_eq!(origin(&bench.after(1)), [] as [u32; 0]);
    assert_eq!(origin(&bench.after(10)).len(), 1, "nothing has come for too long");
}

#[test]
fn a_list_that_a_peer_withholds_comes_from_the_coordinator() {
    let digest = Digest::of(b"x");
    let mut bench = Bench::new();
    bench.tell(Event::Origin { here: true });
    for peer in 1..=3 {
        bench.tell(Event::Connected { peer: key(peer) });
    }
    bench.tell(Event::Begin { digest, len: Some(2 * MB) });
    let mut asked = Vec::new();
    for peer in 1..=3 {
        asked
            .extend(bench.says(peer, Message::Holds { digest, len: 2 * MB, pieces: Bits::all(8) }));
    }
    asked.extend(bench.after(7));
    asked.extend(bench.after(1));
    let of = |action: &Action| match action {
        Action::AskList { source, .. } => Some(*source),
        _ => None,
    };
    let lists: Vec<_> = asked.iter().filter_map(of).collect();
    assert!(matches!(lists[..], [Source::Peer(_), Source::Origin]), "{lists:?}");
}

#[test]
fn what_a_silent_peer_was_asked_for_comes_from_the_coordinator_soon() {
    let digest = Digest::of(b"x");
    let mut bench = Bench::new();
    bench.tell(Event::Origin { here: true });
    bench.tell(Event::Connected { peer: key(1) });
    bench.tell(Event::Begin { digest, len: Some(MB / 2) });
    bench.says(1, Message::Holds { digest, len: MB / 2, pieces: Bits::all(2) });
    bench.says(1, Message::Unchoke);
    let asked = bench.tell(Event::Listed { request: 0, len: MB / 2, have: Bits::none(2) });
    assert_eq!(sources(&asked), [Source::Peer(key(1)); 2]);
    let patient = Config::default();
    assert!(patient.unproven + Duration::from_secs(1) < patient.request);
    let asked = bench.after(patient.unproven.as_secs() + 1);
    assert_eq!(sources(&asked), [Source::Origin; 2]);
}

#[test]
fn a_free_rider_that_comes_back_is_still_one() {
    let (digest, len) = (Digest::of(b"x"), 8 * MB);
    let bits = |pieces: std::ops::Range<u32>| {
        let mut bits = Bits::none(32);
        for piece in pieces {
            bits.set(piece);
        }
        bits
    };
    let mut bench = Bench::new();
    // The second of the two could use what is here as well.
    let comes = |bench: &mut Bench, peer| {
        let mut actions = bench.tell(Event::Connected { peer: key(peer) });
        actions.extend(bench.says(peer, Message::Want { digest }));
        actions.extend(bench.says(peer, Message::Holds { digest, len, pieces: bits(20..21) }));
        actions
    };
    let gives_to = |actions: &[Action], peer| {
        let unchoke = Action::Send { peer: key(peer), message: Message::Unchoke };
        actions.contains(&unchoke)
    };
    bench.tell(Event::Begin { digest, len: Some(len) });
    comes(&mut bench, 1);
    comes(&mut bench, 2);
    let listed = bench.tell(Event::Listed { request: 0, len, have: bits(0..16) });
    assert!(gives_to(&listed, 1) && gives_to(&listed, 2));
    bench.tell(Event::Served { peer: key(1), bytes: 2 * MB });
    bench.tell(Event::Gone { peer: key(1) });
    bench.tell(Event::Gone { peer: key(2) });
    let mut actions = comes(&mut bench, 2);
    actions.extend(comes(&mut bench, 1));
    actions.extend((0..8).flat_map(|_| bench.after(2)));
    assert!(gives_to(&actions, 2) && !gives_to(&actions, 1));
    // Once nobody else wants anything, it gets what is left over.
    let actions = bench.says(2, Message::Unwant { digest });
    assert!(gives_to(&actions, 1));
}

#[test]
fn what_cannot_be_drops_its_sender() {
    let digest = Digest::of(b"x");
    let holds = |len, pieces| Message::Holds { digest, len, pieces };
    for message in
        [holds(2 * MB, Bits::all(9)), holds(0, Bits::none(0)), holds(u64::MAX, Bits::all(8))]
    {
        let mut bench = Bench::new();
        bench.tell(Event::Connected { peer: key(1) });
        bench.tell(Event::Begin { digest, len: Some(2 * MB) });
        let dropped = bench.says(1, message);
        assert!(matches!(dropped[..], [Action::Drop { .. }]), "{dropped:?}");
    }
    let mut bench = Bench::new();
    bench.tell(Event::Connected { peer: key(1) });
    let flood = (0..100_u32).map(|n| Message::Want { digest: Digest::of(&n.to_be_bytes()) });
    let dropped = flood.flat_map(|message| bench.says(1, message)).collect::<Vec<_>>();
    assert!(matches!(dropped[..], [Action::Drop { .. }]), "{dropped:?}");
    let mut bench = Bench::new();
    bench.tell(Event::Connected { peer: key(1) });
    let n = (0..20_000).find(|_| !bench.says(1, Message::Choke).is_empty());
    assert!(n.is_some_and(|n| 8_000 < n), "{n:?}");
}

#[test]
fn messages_are_pinned() {
    let digest = Digest([7; 32]);
    let mut pieces = Bits::none(9);
    pieces.set(8);
    let bytes = |message: &Message| {
        data_encoding::HEXLOWER.encode(&postcard::to_allocvec(message).unwrap())
    };
    let of = "07".repeat(32);
    assert_eq!(bytes(&Message::Want { digest }), format!("00{of}"));
    assert_eq!(bytes(&Message::Unwant { digest }), format!("01{of}"));
    assert_eq!(bytes(&Message::Holds { digest, len: 300, pieces }), format!("02{of}ac0209018002"));
    assert_eq!(bytes(&Message::Has { digest, piece: 300 }), format!("03{of}ac02"));
    assert_eq!(bytes(&Message::Gets { digest, piece: 1 }), format!("04{of}01"));
    assert_eq!(bytes(&Message::Choke), "05");
    assert_eq!(bytes(&Message::Unchoke), "06");
}
