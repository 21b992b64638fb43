//! Hosts and routers made of network namespaces, for tests that need more than loopback: routers that translate
//! addresses, partitions, delay. Nothing outside the namespaces is touched, and all of it goes when it is dropped.

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a router translates the addresses of those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// A machine keeps its port towards everybody, as most routers of homes do: holes can be punched.
    Friendly,
    /// Another port for each that is spoken to: no hole can be punched.
    Symmetric,
}

/// A machine with a public address, the only one of its network.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its namespace.
    pub namespace: String,
    /// Where it is reached.
    pub address: Ipv4Addr,
}

/// An internet of its own: one public network, houses behind routers, and machines with lines of their own.
#[derive(Debug)]
pub struct Internet {
    prefix: String,
    namespaces: Vec<String>,
    houses: u8,
    machines: u8,
}

impl Internet {
    /// The address of the public machine, on which coordinators and seeds may run.
    pub const PUBLIC: &'static str = "198.51.100.1";

    /// Why this machine does not allow it, if so.
    #[must_use]
    pub fn missing() -> Option<String> {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let name = format!("stl{}t{}", std::process::id(), TRIED.fetch_add(1, Ordering::Relaxed));
        let tried = || -> Result<()> {
            run(&["ip", "netns", "add", &name])?;
            inside(&name, "ip link add wire0 type veth peer name wire1")?;
            inside(&name, "ip link add bridge0 type bridge")?;
            inside(&name, "nft add table ip nat")?;
            inside(
                &name,
                "nft add chain ip nat post { type nat hook postrouting priority 100 ; }",
            )?;
            inside(&name, "nft add rule ip nat post masquerade fully-random")
        };
        let tried = tried().err().map(|error| format!("{error:#}"));
        let _ = Command::new("ip").args(["netns", "del", &name]).output();
        tried
    }

    /// Only the public machine.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("stl{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut internet = Self { prefix, namespaces: Vec::new(), houses: 0, machines: 0 };
        let wan = internet.add("wan")?;
        inside(&wan, "ip link add br0 type bridge")?;
        inside(&wan, &format!("ip addr add {}/24 dev br0", Self::PUBLIC))?;
        inside(&wan, "ip link set br0 up")?;
        // Multicast needs a way out too; whatever else goes there is nobody's.
        inside(&wan, "ip route add default dev br0")?;
        Ok(internet)
    }

    /// A machine behind a router of its own; the machine's namespace.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add_house(&mut self, nat: Nat) -> Result<String> {
        self.houses += 1;
        let n = self.houses;
        let (wan, router) = (self.namespace("wan"), self.add(&format!("r{n}"))?);
        let host = self.add(&format!("h{n}"))?;
        connect(&wan, &format!("p{n}"), &router, "wan0")?;
        inside(&wan, &format!("ip link set p{n} master br0"))?;
        inside(&router, &format!("ip addr add 198.51.100.{}/24 dev wan0", 10 + n))?;
        connect(&router, "lan0", &host, "eth0")?;
        inside(&router, &format!("ip addr add 10.{n}.0.1/24 dev lan0"))?;
        inside(&host, &format!("ip addr add 10.{n}.0.2/24 dev eth0"))?;
        inside(&host, &format!("ip route add default via 10.{n}.0.1"))?;
        inside(&router, &format!("ip route add default via {}", Self::PUBLIC))?;
        forward(&router)?;
        inside(&router, "nft add table ip nat")?;
        inside(&router, "nft add chain ip nat post { type nat hook postrouting priority 100 ; }")?;
        let translate = match nat {
            Nat::Friendly => "masquerade",
            Nat::Symmetric => "masquerade fully-random",
        };
        inside(&router, &format!("nft add rule ip nat post oifname wan0 {translate}"))?;
        // Whatever comes from outside and answers nothing stays outside.
        inside(&router, "nft add table ip filter")?;
        inside(
            &router,
            "nft add chain ip filter forward { type filter hook forward priority 0 ; policy drop ; }",
        )?;
        inside(
            &router,
            "nft add chain ip filter input { type filter hook input priority 0 ; policy accept ; }",
        )?;
        inside(&router, "nft add rule ip filter input iifname wan0 ct state new drop")?;
        inside(&router, "nft add rule ip filter forward iifname lan0 accept")?;
        inside(&router, "nft add rule ip filter forward ct state established,related accept")?;
        Ok(host)
    }

    /// A machine on a line of its own, `mbit` million bits a second each way; as fast as the system is when absent. A line
    /// has a queue of a tenth of a second, as those of homes have.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add_machine(&mut self, mbit: Option<u32>) -> Result<Machine> {
        self.machines += 1;
        let n = self.machines;
        let (wan, namespace) = (self.namespace("wan"), self.add(&format!("m{n}"))?);
        let port = format!("m{n}");
        connect(&wan, &port, &namespace, "eth0")?;
        // A network for each: the grid treats those of one network as one crowd.
        let address = Ipv4Addr::new(198, 18, n, 2);
        inside(&wan, &format!("ip addr add 198.18.{n}.1/24 dev {port}"))?;
        inside(&namespace, &format!("ip addr add {address}/24 dev eth0"))?;
        inside(&namespace, &format!("ip route add default via 198.18.{n}.1"))?;
        forward(&wan)?;
        for (end, device) in [(&wan, port.as_str()), (&namespace, "eth0")] {
            if let Some(mbit) = mbit {
                let line = format!(
                    "tc qdisc add dev {device} root tbf rate {mbit}mbit burst 64kb latency 100ms"
                );
                inside(end, &line)?;
            }
        }
        Ok(Machine { namespace, address })
    }

    /// Cuts these machines from all others; among themselves they go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn part(&self, machines: &[&Machine]) -> Result<()> {
        let wan = self.namespace("wan");
        let away: Vec<String> =
            machines.iter().map(|machine| machine.address.to_string()).collect();
        let away = away.join(",");
        inside(&wan, "nft add table ip cut")?;
        inside(&wan, "nft add chain ip cut forward { type filter hook forward priority 0 ; }")?;
        for rule in
            ["ip saddr { A } ip daddr != { A } drop", "ip saddr != { A } ip daddr { A } drop"]
        {
            inside(&wan, &format!("nft add rule ip cut forward {}", rule.replace('A', &away)))?;
        }
        Ok(())
    }

    /// Ends what [`Self::part`] has cut.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn heal(&self) -> Result<()> {
        inside(&self.namespace("wan"), "nft delete table ip cut")
    }

    /// The namespace of the public machine.
    #[must_use]
    pub fn public(&self) -> String {
        self.namespace("wan")
    }

    /// Lets nothing pass between a house and the public network, or lets it pass again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_cut(&self, house: u8, cut: bool) -> Result<()> {
        let state = if cut { "down" } else { "up" };
        inside(&self.namespace("wan"), &format!("ip link set p{house} {state}"))
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add(&mut self, name: &str) -> Result<String> {
        let name = self.namespace(name);
        run(&["ip", "netns", "add", &name])?;
        self.namespaces.push(name.clone());
        inside(&name, "ip link set lo up")?;
        Ok(name)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// The thread's stay in a namespace: what it connects, binds and starts meanwhile is there. For tests whose runtime is one
/// thread, which stays that thread.
#[derive(Debug)]
pub struct Stay {
    home: File,
    this_thread: PhantomData<*const ()>,
}

impl Stay {
    /// Enters.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enter(namespace: &str) -> Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let there = File::open(format!("/run/netns/{namespace}"))?;
        move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(Self { home, this_thread: PhantomData })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        back.expect("a thread may go back to where it came from");
    }
}

/// Bytes that the machine of a namespace has received over its line.
///
/// # Errors
/// When they cannot be read.
pub fn received(namespace: &str) -> Result<u64> {
    let mut command = command(namespace, "cat".as_ref());
    let output = command.arg("/sys/class/net/eth0/statistics/rx_bytes").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// A command that runs `program` in a namespace.
#[must_use]
pub fn command(namespace: &str, program: &std::path::Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// A wire between two namespaces.
fn connect(one: &str, name: &str, other: &str, other_name: &str) -> Result<()> {
    let line = format!("ip link add {name} type veth peer name {other_name} netns {other}");
    inside(one, &line)?;
    inside(one, &format!("ip link set {name} up"))?;
    inside(other, &format!("ip link set {other_name} up"))
}

/// Has a namespace pass on what is for others.
fn forward(namespace: &str) -> Result<()> {
    let line = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    run(&["ip", "netns", "exec", namespace, "sh", "-c", line])
}

fn inside(namespace: &str, line: &str) -> Result<()> {
    let mut words = vec!["ip", "netns", "exec", namespace];
    words.extend(line.split(' '));
    run(&words)
}

fn run(words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("a command has a name")?;
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} cannot be run: is it installed?"))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
