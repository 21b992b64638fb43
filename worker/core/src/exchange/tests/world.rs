//! Many swarms in one thread: lines with a speed each, a coordinator, and peers that do not play by the rules.

use crate::exchange::meter::Prng;
use crate::exchange::{
    Action, Bits, Config, Event, Fault, Message, Now, Numbers, RequestId, Source, Swarm, Ticket,
};
use proto::pieces::Cut;
use proto::{Digest, WorkerKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

/// How somebody behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the rules.
    Giver,
    /// Takes, and gives a kilobyte a second.
    FreeRider,
    /// Says that it has all, and gives wrong bytes.
    Poisoner,
    /// Says that it has all, and never answers.
    Staller,
}

#[derive(Debug)]
struct Upload {
    to: usize,
    request: RequestId,
    bytes: u64,
    outcome: Outcome,
    /// Of the giver's swarm, if it was told of the request.
    counted: bool,
}

#[derive(Clone, Debug)]
enum Outcome {
    Piece,
    List,
    Wrong,
}

#[derive(Debug)]
struct Machine {
    kind: Kind,
    swarm: Swarm,
    up: Line,
    /// To machines of the same house.
    lan: Line,
    house: Option<usize>,
    here: bool,
    done_at: Option<Now>,
    wake_at: Option<Now>,
    tickets: BTreeMap<Ticket, (usize, RequestId, u64)>,
    /// Requests that were not cancelled.
    asked: BTreeSet<RequestId>,
    n_wrong: usize,
}

/// One direction of a line: one piece after the other.
#[derive(Debug, Default)]
struct Line {
    bytes_per_second: u64,
    queue: VecDeque<Upload>,
    busy: bool,
    sent: u64,
}

#[derive(Debug)]
enum Happening {
    Tell(usize, Event),
    Wake(usize),
    /// The head of a queue is through.
    Sent(Way),
    Join(usize),
    Leave(usize),
}

/// Whose line, and which.
#[derive(Clone, Copy, Debug)]
enum Way {
    Origin,
    Up(usize),
    Lan(usize),
}

impl Way {
    const fn machine(self) -> Option<usize> {
        match self {
            Self::Origin => None,
            Self::Up(of) | Self::Lan(of) => Some(of),
        }
    }
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) digest: Digest,
    cut: Cut,
    machines: Vec<Machine>,
    origin: Line,
    queue: BinaryHeap<Reverse<(Now, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    n_happenings: u64,
    next_ticket: Ticket,
    dice: Prng,
    /// Whether the coordinator answers.
    pub(super) origin_here: bool,
    latency: Duration,
    /// Bytes that the coordinator gives before it says "ask your peers", and when that was reckoned.
    allowance: (u64, Now),
    /// Whoever joins is connected to so many, drawn by lot.
    pub(super) neighbours: usize,
    /// Whether machines of one house know that they are.
    pub(super) houses_known: bool,
    /// Bytes that each house got from outside.
    outside: BTreeMap<usize, u64>,
}

/// 1 Gbit/s.
const LAN: u64 = 125_000_000;

pub(super) fn key(index: usize) -> WorkerKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(index as u64).to_be_bytes());
    WorkerKey(key)
}

fn index(key: WorkerKey) -> usize {
    usize::try_from(u64::from_be_bytes(key.0[..8].try_into().unwrap())).unwrap()
}

impl World {
    /// A blob of `len` bytes, lines of `speed` bytes per second up and much more down.
    pub(super) fn new(seed: u64, kinds: &[Kind], len: u64, speed: u64) -> Self {
        let machine = |(index, kind): (usize, &Kind)| Machine {
            kind: *kind,
            swarm: Swarm::new(Config {
                me: key(index),
                seed: seed ^ (index as u64) << 32,
                ..Config::default()
            }),
            up: Line {
                bytes_per_second: if *kind == Kind::FreeRider { 1024 } else { speed },
                ..Line::default()
            },
            lan: Line { bytes_per_second: LAN, ..Line::default() },
            house: None,
            here: false,
            done_at: None,
            wake_at: None,
            tickets: BTreeMap::new(),
            asked: BTreeSet::new(),
            n_wrong: 0,
        };
        Self {
            now: Now::ZERO,
            digest: Digest::of(b"input"),
            cut: Cut::of(len).unwrap(),
            machines: kinds.iter().enumerate().map(machine).collect(),
            origin: Line { bytes_per_second: speed, ..Line::default() },
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            n_happenings: 0,
            next_ticket: 0,
            dice: Prng(seed),
            origin_here: true,
            latency: Duration::from_millis(20),
            allowance: (len / 2 * 3, Now::ZERO),
            neighbours: usize::MAX,
            houses_known: true,
            outside: BTreeMap::new(),
        }
    }

    pub(super) fn at(&mut self, at: Now, index: usize, joins: bool) {
        self.schedule(at, if joins { Happening::Join(index) } else { Happening::Leave(index) });
    }

    fn schedule(&mut self, at: Now, happening: Happening) {
        self.queue.push(Reverse((at.max(self.now), self.n_happenings)));
        self.happenings.insert(self.n_happenings, happening);
        self.n_happenings += 1;
    }

    /// These machines are in one house, which they know, or know not.
    pub(super) fn house(&mut self, of: std::ops::Range<usize>) {
        let house = of.start;
        of.for_each(|index| self.machines[index].house = Some(house));
    }

    /// What the house of a machine got from outside, in copies of the blob.
    pub(super) fn outside(&self, of: usize) -> f64 {
        let house = self.machines[of].house.unwrap();
        copies(self.outside.get(&house).copied().unwrap_or(0), self.cut.bytes())
    }

    fn are_near(&self, one: usize, other: usize) -> bool {
        let house = self.machines[one].house;
        house.is_some() && house == self.machines[other].house
    }

    /// Bytes that the coordinator sent, in copies of the blob.
    pub(super) fn copies(&self) -> f64 {
        copies(self.origin.sent, self.cut.bytes())
    }

    pub(super) fn sent_by(&self, index: usize) -> f64 {
        copies(self.machines[index].up.sent, self.cut.bytes())
    }

    pub(super) fn numbers(&self, index: usize) -> Numbers {
        self.machines[index].swarm.numbers(self.now)
    }

    pub(super) fn done_at(&self, index: usize) -> Option<Duration> {
        self.machines[index].done_at
    }

    pub(super) fn n_wrong(&self) -> usize {
        self.machines.iter().map(|machine| machine.n_wrong).sum()
    }

    pub(super) fn all_done(&self) -> bool {
        let honest = |m: &&Machine| matches!(m.kind, Kind::Giver | Kind::FreeRider) && m.here;
        self.machines.iter().filter(honest).all(|machine| machine.done_at.is_some())
    }

    /// Runs until all have the blob, or until `end`.
    pub(super) fn run(&mut self, end: Now) {
        let mut n = 0_u64;
        while let Some(Reverse((at, id))) = self.queue.pop() {
            self.now = at;
            if end < at {
                return;
            }
            match self.happenings.remove(&id).unwrap() {
                Happening::Tell(to, event) => self.tell(to, event),
                Happening::Wake(to) => {
                    self.machines[to].wake_at = None;
                    self.tell(to, Event::Wake);
                }
                Happening::Sent(way) => self.sent(way),
                Happening::Join(of) => self.join(of),
                Happening::Leave(of) => self.leave(of),
            }
            n += 1;
            if n.is_multiple_of(1024) {
                self.machines.iter().for_each(|machine| machine.swarm.check_invariants());
            }
            let joins = self.happenings.values().any(|h| matches!(h, Happening::Join(_)));
            if !joins && self.all_done() {
                return;
            }
        }
    }

    fn join(&mut self, of: usize) {
        self.machines[of].here = true;
        let here = |other: &usize| *other != of && self.machines[*other].here;
        let mut others: Vec<_> = (0..self.machines.len()).filter(here).collect();
        while self.neighbours < others.len() {
            let one = self.dice.below(others.len() as u64);
            others.swap_remove(usize::try_from(one).unwrap());
        }
        for other in others {
            self.tell(other, Event::Connected { peer: key(of) });
            self.tell(of, Event::Connected { peer: key(other) });
            if self.houses_known && self.are_near(of, other) {
                self.tell(other, Event::Near { peer: key(of), near: true });
                self.tell(of, Event::Near { peer: key(other), near: true });
            }
        }
        let here = self.origin_here;
        self.tell(of, Event::Origin { here });
        if self.machines[of].done_at.is_none() {
            let len = Some(self.cut.bytes());
            self.tell(of, Event::Begin { digest: self.digest, len });
        }
    }

    /// Has the blob from the beginning.
    pub(super) fn has(&mut self, of: usize) {
        self.machines[of].done_at = Some(Now::ZERO);
        let event = Event::Offer { digest: self.digest, len: self.cut.bytes() };
        self.tell(of, event);
    }

    fn leave(&mut self, of: usize) {
        let machine = &mut self.machines[of];
        machine.here = false;
        for line in [&mut machine.up, &mut machine.lan] {
            line.queue.truncate(usize::from(line.busy));
        }
        self.tell(of, Event::Origin { here: false });
        for other in 0..self.machines.len() {
            if other != of && self.machines[other].here {
                self.tell(other, Event::Gone { peer: key(of) });
            }
            self.tell(of, Event::Gone { peer: key(other) });
        }
    }

    /// An event reaches a machine, which acts on it.
    fn tell(&mut self, to: usize, event: Event) {
        match self.machines[to].kind {
            Kind::Giver | Kind::FreeRider => {}
            Kind::Poisoner | Kind::Staller => return self.lie(to, event),
        }
        let asked = |id: &RequestId| self.machines[to].asked.contains(id);
        match &event {
            Event::Listed { request, .. }
            | Event::Arrived { request }
            | Event::Failed { request, .. }
                if !asked(request) =>
            {
                return;
            }
            Event::Failed { fault: Fault::Wrong, .. } => self.machines[to].n_wrong += 1,
            _ => {}
        }
        let now = self.now;
        let machine = &mut self.machines[to];
        let actions = machine.swarm.apply(now, event);
        for action in actions {
            self.act(to, action);
        }
        let due = self.machines[to].swarm.next_deadline();
        if let Some(due) = due.filter(|_| self.machines[to].wake_at.is_none()) {
            // Never the same instant again.
            let due = due.max(now + Duration::from_millis(1));
            self.machines[to].wake_at = Some(due);
            self.schedule(due, Happening::Wake(to));
        }
    }

    /// What a poisoner or staller makes of an event.
    fn lie(&mut self, of: usize, event: Event) {
        let Event::Said { peer, message: Message::Want { digest } } = event else { return };
        let pieces = Bits::all(self.cut.n_pieces());
        let holds = Message::Holds { digest, len: self.cut.bytes(), pieces };
        for message in [holds, Message::Unchoke] {
            let event = Event::Said { peer: key(of), message };
            self.schedule(self.now + self.latency, Happening::Tell(index(peer), event));
        }
    }

    fn act(&mut self, of: usize, action: Action) {
        let from = key(of);
        let soon = self.now + self.latency;
        match action {
            Action::Send { peer, message } => {
                let to = index(peer);
                if self.machines[to].here {
                    self.schedule(soon, Happening::Tell(to, Event::Said { peer: from, message }));
                }
            }
            Action::AskList { request, source, .. } => {
                self.machines[of].asked.insert(request);
                let bytes = u64::from(self.cut.n_pieces()) * 32;
                let outcome = Outcome::List;
                self.upload(source, Upload { to: of, request, bytes, outcome, counted: false });
            }
            Action::Ask { request, source, piece, last, .. } => {
                self.machines[of].asked.insert(request);
                if source == Source::Origin && !self.allows(last, self.cut.len_of(piece)) {
                    let event = Event::Failed { request, fault: Fault::AskPeers };
                    return self.schedule(soon, Happening::Tell(of, event));
                }
                self.ask(of, request, source, piece);
            }
            Action::Cancel { request } => {
                self.machines[of].asked.remove(&request);
                self.cancel(of, request);
            }
            Action::Serve { ticket, piece, .. } => {
                let (to, request, bytes) = self.machines[of].tickets.remove(&ticket).unwrap();
                debug_assert_eq!(bytes, self.cut.len_of(piece));
                let outcome = Outcome::Piece;
                let upload = Upload { to, request, bytes, outcome, counted: true };
                self.upload(Source::Peer(from), upload);
            }
            Action::Refuse { ticket, why, .. } => {
                let (to, request, _) = self.machines[of].tickets.remove(&ticket).unwrap();
                let fault = match why {
                    crate::exchange::Refusal::Choked => Fault::Choked,
                    crate::exchange::Refusal::Lacks => Fault::Lacks,
                    crate::exchange::Refusal::Busy => Fault::Busy,
                };
                self.schedule(soon, Happening::Tell(to, Event::Failed { request, fault }));
            }
            Action::Drop { peer, .. } => {
                self.schedule(soon, Happening::Tell(index(peer), Event::Gone { peer: from }));
            }
            Action::Done { digest } => {
                assert_eq!(digest, self.digest);
                self.machines[of].done_at = Some(self.now);
            }
            Action::GiveUp { digest, .. } => {
                // As the worker does: it is tried again.
                let event = Event::Begin { digest, len: Some(self.cut.bytes()) };
                self.schedule(self.now + Duration::from_secs(2), Happening::Tell(of, event));
            }
        }
    }

    fn ask(&mut self, of: usize, request: RequestId, source: Source, piece: u32) {
        let bytes = self.cut.len_of(piece);
        let upload = |outcome| Upload { to: of, request, bytes, outcome, counted: false };
        let Source::Peer(peer) = source else {
            return self.upload(source, upload(Outcome::Piece));
        };
        let giver = index(peer);
        match self.machines[giver].kind {
            Kind::Staller => {}
            Kind::Poisoner => self.upload(source, upload(Outcome::Wrong)),
            Kind::Giver | Kind::FreeRider => {
                if !self.machines[giver].here {
                    return;
                }
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.machines[giver].tickets.insert(ticket, (of, request, bytes));
                let digest = self.digest;
                let event = Event::Asked { peer: key(of), ticket, digest, piece };
                self.schedule(self.now + self.latency, Happening::Tell(giver, event));
            }
        }
    }

    /// As the coordinator does: one and a half copies at once, then one a minute, and always the last resort.
    fn allows(&mut self, last: bool, bytes: u64) -> bool {
        let (allowance, at) = self.allowance;
        let millis = u64::try_from((self.now - at).as_millis()).unwrap();
        let len = self.cut.bytes();
        let allowance = (allowance + len * millis / 60_000).min(len / 2 * 3);
        let allows = last || bytes <= allowance;
        self.allowance = (allowance.saturating_sub(if allows { bytes } else { 0 }), self.now);
        allows
    }

    /// The coordinator's line is so many times as fast as the others'.
    pub(super) fn quicken_origin(&mut self, times: u64) {
        self.origin.bytes_per_second *= times;
    }

    fn line(&mut self, way: Way) -> &mut Line {
        match way {
            Way::Up(of) => &mut self.machines[of].up,
            Way::Lan(of) => &mut self.machines[of].lan,
            Way::Origin => &mut self.origin,
        }
    }

    fn upload(&mut self, source: Source, upload: Upload) {
        let way = match source {
            Source::Peer(peer) if self.are_near(index(peer), upload.to) => Way::Lan(index(peer)),
            Source::Peer(peer) => Way::Up(index(peer)),
            Source::Origin => Way::Origin,
        };
        let of = way.machine();
        if of.is_some_and(|of| !self.machines[of].here || self.machines[of].kind == Kind::Staller) {
            return;
        }
        self.line(way).queue.push_back(upload);
        self.next(way);
    }

    fn next(&mut self, way: Way) {
        let line = self.line(way);
        if line.busy {
            return;
        }
        let Some(head) = line.queue.front() else { return };
        line.busy = true;
        let time = Duration::from_micros(head.bytes * 1_000_000 / line.bytes_per_second);
        let at = self.now + time;
        self.schedule(at, Happening::Sent(way));
    }

    fn sent(&mut self, way: Way) {
        let of = way.machine();
        let here = of.is_none_or(|of| self.machines[of].here);
        let line = self.line(way);
        line.busy = false;
        if let Some(upload) = line.queue.pop_front() {
            line.sent += upload.bytes;
            let Upload { to, request, bytes, outcome, counted } = upload;
            if let Some(of) = of.filter(|_| counted) {
                self.tell(of, Event::Served { peer: key(to), bytes });
            }
            if let (Some(house), Way::Origin | Way::Up(_)) = (self.machines[to].house, way) {
                *self.outside.entry(house).or_default() += bytes;
            }
            let len = self.cut.bytes();
            let event = match outcome {
                Outcome::Piece => Event::Arrived { request },
                Outcome::List => {
                    Event::Listed { request, len, have: Bits::none(self.cut.n_pieces()) }
                }
                Outcome::Wrong => Event::Failed { request, fault: Fault::Wrong },
            };
            if here {
                self.schedule(self.now + self.latency, Happening::Tell(to, event));
            }
        }
        self.next(way);
    }

    /// What was not begun is not sent.
    fn cancel(&mut self, of: usize, request: RequestId) {
        let machines = 0..self.machines.len();
        let ways = machines.flat_map(|of| [Way::Up(of), Way::Lan(of)]).chain([Way::Origin]);
        for way in ways {
            let line = self.line(way);
            let first = usize::from(line.busy);
            let found = line
                .queue
                .iter()
                .skip(first)
                .position(|upload| upload.to == of && upload.request == request);
            let Some(found) = found else { continue };
            let upload = line.queue.remove(first + found).unwrap();
            if let Some(giver) = way.machine().filter(|_| upload.counted) {
                self.tell(giver, Event::Served { peer: key(of), bytes: 0 });
            }
            return;
        }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.dice.below(n)
    }
}

fn copies(bytes: u64, len: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap()) / f64::from(u32::try_from(len >> 10).unwrap())
}
