//! Who may knock: connections in all, of one address, and how often. Pure: time is an argument.

use proto::bucket::Bucket;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Attempts of one address per second in the long run, and at once. A house of a few machines behind one address opens a
/// few connections each, and then keeps them.
const ADDRESS_PER_SECOND: u64 = 10;
const ADDRESS_BURST: u64 = 100;
/// Attempts of all addresses per second in the long run, and at once: a handshake takes under a millisecond of CPU, so
/// that a flood takes a few percent of a core.
const ALL_PER_SECOND: u64 = 50;
const ALL_BURST: u64 = 400;
/// Addresses remembered at a time: a few hundred kilobytes. More are turned away while it is full.
const ADDRESSES_MAX: usize = 4096;

/// Bounds on connections from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once.
    pub all: usize,
    /// Connections open at once of one address (of one /64 of IPv6).
    pub address: usize,
}

/// What becomes of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Come in.
    Open,
    /// Too many, or too fast.
    Shut,
}

#[derive(Debug)]
struct Visitor {
    open: usize,
    bucket: Bucket,
}

/// Counts those who knock and those who are in.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    visitors: BTreeMap<IpAddr, Visitor>,
    open: usize,
    bucket: Bucket,
}

impl Door {
    /// Nobody has knocked.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let bucket = Bucket::new(ALL_PER_SECOND, ALL_BURST);
        Self { limits, visitors: BTreeMap::new(), open: 0, bucket }
    }

    /// Somebody knocks.
    pub fn knock(&mut self, now: Duration, address: IpAddr) -> Answer {
        let address = house(address);
        if ADDRESSES_MAX <= self.visitors.len() && !self.visitors.contains_key(&address) {
            self.visitors.retain(|_, visitor| 0 < visitor.open || !visitor.bucket.is_whole(now));
            if ADDRESSES_MAX <= self.visitors.len() {
                return Answer::Shut;
            }
        }
        let visitor = self.visitors.entry(address).or_insert_with(|| Visitor {
            open: 0,
            bucket: Bucket::new(ADDRESS_PER_SECOND, ADDRESS_BURST),
        });
        let room = self.open < self.limits.all && visitor.open < self.limits.address;
        if room && visitor.bucket.passes(now, 1) && self.bucket.passes(now, 1) {
            Answer::Open
        } else {
            Answer::Shut
        }
    }

    /// A connection of this address is open now; whether there is room for it.
    pub fn enter(&mut self, now: Duration, address: IpAddr) -> bool {
        let visitor = self.visitors.entry(house(address)).or_insert_with(|| Visitor {
            open: 0,
            bucket: Bucket::new(ADDRESS_PER_SECOND, ADDRESS_BURST),
        });
        if self.limits.all <= self.open || self.limits.address <= visitor.open {
            if visitor.open == 0 && visitor.bucket.is_whole(now) {
                self.visitors.remove(&house(address));
            }
            return false;
        }
        visitor.open += 1;
        self.open += 1;
        true
    }

    /// A connection that had entered has ended.
    pub fn leave(&mut self, address: IpAddr) {
        if let Some(visitor) = self.visitors.get_mut(&house(address))
            && 0 < visitor.open
        {
            visitor.open -= 1;
            self.open -= 1;
        }
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }
}

/// What one machine or house commonly holds: an IPv4 address, a /64 of IPv6.
fn house(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new(Limits { all: 300, address: 20 })
    }

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_flood_from_one_address_is_shut_out_and_others_come_in() {
        let mut door = door();
        let opened = (0..1000).filter(|_| door.knock(Duration::ZERO, ip(1)) == Answer::Open);
        assert_eq!(opened.count(), usize::try_from(ADDRESS_BURST).unwrap());
        assert_eq!(door.knock(Duration::ZERO, ip(2)), Answer::Open);
        assert_eq!((0..1000).filter(|_| door.enter(Duration::ZERO, ip(1))).count(), 20);
        assert!(door.enter(Duration::ZERO, ip(2)));
        assert_eq!(door.open(), 21);
        (0..2000).for_each(|_| door.leave(ip(1)));
        assert_eq!(door.open(), 1);
    }

    #[test]
    fn memory_is_bounded_however_many_addresses_knock() {
        let mut door = door();
        for second in 0..200 {
            for address in 0..100 {
                door.knock(
                    Duration::from_secs(second),
                    ip(1 + address * 1_000_000 + u32::try_from(second).unwrap()),
                );
            }
            assert!(door.visitors.len() <= ADDRESSES_MAX);
        }
        assert_eq!(door.knock(Duration::from_secs(1_000), ip(7)), Answer::Open);
        (0..5_000).for_each(|address| {
            door.enter(Duration::from_secs(1_000), ip(address));
        });
        assert_eq!(door.open(), 300);
    }

    #[test]
    fn a_house_of_ipv6_counts_as_one() {
        assert_eq!(
            house("2001:db8::1".parse().unwrap()),
            house("2001:db8::ffff:2".parse().unwrap())
        );
        assert_ne!(
            house("2001:db8::1".parse().unwrap()),
            house("2001:db8:0:1::1".parse().unwrap())
        );
        assert_eq!(
            house("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}
