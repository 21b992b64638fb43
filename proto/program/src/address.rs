//! Addresses that people write down for others: `HOST:PORT` and `HOST`, checked where they are written.

use std::net::{IpAddr, Ipv6Addr};

/// Longest host name of the domain name system, bytes.
const HOST_BYTES_MAX: usize = 253;
/// Longest part of a host name between two dots, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Why others could not reach an address, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing, or no port.
    #[error("write HOST:PORT, as in grid.example.org:7700")]
    NoPort,
    /// `http://` or the like in front.
    #[error("write it without {0}://, as in grid.example.org:7700")]
    Scheme(String),
    /// The port is no number, or beyond the last.
    #[error("\"{0}\" is no port: write a number from 1 to 65535")]
    Port(String),
    /// Port 0 means any port.
    #[error("port 0 is no port that others can reach: write the one that is listened at")]
    PortZero,
    /// A host alone was asked for.
    #[error("write the host alone, without \":{0}\": the port is given apart")]
    PortTooMany(String),
    /// `0.0.0.0` and `::`.
    #[error(
        "{0} means all addresses of this machine and leads others nowhere: write its name, or the one address under which others reach it"
    )]
    Unspecified(IpAddr),
    /// Multicast and broadcast.
    #[error(
        "{0} is not the address of one machine: write a name, or the address under which others reach this one"
    )]
    Many(IpAddr),
    /// Colons that are not in brackets.
    #[error("write an IPv6 address in brackets, as in [2001:db8::1]:7700")]
    Brackets,
    /// Not a name.
    #[error(
        "\"{0}\" is neither a host name nor an address: names have letters, digits, - and _ between dots (other letters as xn--...)"
    )]
    Host(String),
}

/// Checks a `HOST:PORT` at which others are to reach a program.
///
/// # Errors
/// [`Refusal`]: it has a scheme, no port, port 0, or a host that is none.
pub fn host_and_port(text: &str) -> Result<String, Refusal> {
    no_scheme(text)?;
    let (host, port) = split(text)?;
    let port = port.ok_or(Refusal::NoPort)?;
    match port.parse::<u16>() {
        Ok(0) => return Err(Refusal::PortZero),
        // A sign is no part of a port, though a number may have one.
        Ok(_) if port.bytes().all(|byte| byte.is_ascii_digit()) => {}
        _ => return Err(Refusal::Port(port.to_owned())),
    }
    check_host(host)?;
    Ok(text.to_owned())
}

/// Checks a host name or address, without a port, at which others are to reach a program. IPv6 with or without brackets;
/// what is returned has them.
///
/// # Errors
/// [`Refusal`]: it has a scheme or a port, or is none.
pub fn host(text: &str) -> Result<String, Refusal> {
    no_scheme(text)?;
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        one_machine(ip.into())?;
        return Ok(format!("[{ip}]"));
    }
    let (host, port) = split(text)?;
    if let Some(port) = port {
        return Err(Refusal::PortTooMany(port.to_owned()));
    }
    check_host(host)?;
    Ok(text.to_owned())
}

fn no_scheme(text: &str) -> Result<(), Refusal> {
    match text.split_once("://") {
        Some((scheme, _)) => Err(Refusal::Scheme(scheme.to_owned())),
        None => Ok(()),
    }
}

/// The host, in its brackets if it has some, and the port.
fn split(text: &str) -> Result<(&str, Option<&str>), Refusal> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(Refusal::Brackets)? + 1;
        let (host, rest) = text.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(Refusal::Brackets),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err(Refusal::Brackets),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn check_host(host: &str) -> Result<(), Refusal> {
    if host.is_empty() {
        return Err(Refusal::NoPort);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let ip = inner.parse::<Ipv6Addr>().map_err(|_| Refusal::Host(host.to_owned()))?;
        return one_machine(ip.into());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return one_machine(ip);
    }
    if is_name(host) { Ok(()) } else { Err(Refusal::Host(host.to_owned())) }
}

fn one_machine(ip: IpAddr) -> Result<(), Refusal> {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    match ip {
        ip if ip.to_canonical().is_unspecified() => Err(Refusal::Unspecified(ip)),
        ip if ip.is_multicast() || broadcast => Err(Refusal::Many(ip)),
        _ => Ok(()),
    }
}

fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last part of a name is no number: what looks like an address and is none is a slip.
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= HOST_BYTES_MAX
        && host.split('.').all(label)
        && host.rsplit('.').next().is_some_and(|last| !number(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_a_port_are_taken() {
        for text in [
            "grid.example.org:7700",
            "grid:1",
            "my_host-2.lan.:65535",
            "192.0.2.7:7700",
            "127.0.0.1:7700",
            "[2001:db8::1]:7700",
            "xn--bcher-kva.example:7700",
        ] {
            assert_eq!(host_and_port(text), Ok(text.to_owned()));
        }
        for (text, taken) in
            [("grid.example.org", "grid.example.org"), ("::1", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host(text), Ok(taken.to_owned()));
        }
    }

    #[test]
    fn each_slip_is_refused_with_what_to_write() {
        let check = |text: &str, expected: &str| {
            let refusal = host_and_port(text).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{text}: {refusal}");
        };
        check("", "write HOST:PORT");
        check("grid.example.org", "write HOST:PORT");
        check(":7700", "write HOST:PORT");
        check("https://grid.example.org:7700", "without https://");
        check("starling://grid.example.org:7700/ab#cd", "without starling://");
        check("grid.example.org:", "\"\" is no port");
        check("grid.example.org:http", "\"http\" is no port");
        check("grid.example.org:70000", "\"70000\" is no port");
        check("grid.example.org:+7", "\"+7\" is no port");
        check("grid.example.org:7700/", "\"7700/\" is no port");
        check("grid.example.org:0", "port 0");
        check("0.0.0.0:7700", "leads others nowhere");
        check("[::]:7700", "leads others nowhere");
        check("[::ffff:0.0.0.0]:7700", "leads others nowhere");
        check("255.255.255.255:7700", "not the address of one machine");
        check("224.0.0.1:7700", "not the address of one machine");
        check("2001:db8::1:7700", "in brackets");
        check("[2001:db8::1:7700", "in brackets");
        check("[2001:db8::1]7700", "in brackets");
        check("[grid]:7700", "neither a host name nor an address");
        check("my grid:7700", "neither a host name nor an address");
        check("ada@grid:7700", "neither a host name nor an address");
        check("-grid:7700", "neither a host name nor an address");
        check("a..b:7700", "neither a host name nor an address");
        check("300.1.1.1:7700", "neither a host name nor an address");
        check("büro.example:7700", "xn--");
        check(&format!("{}:1", "a".repeat(64)), "neither a host name nor an address");
        check(&format!("{}a:1", "a.".repeat(127)), "neither a host name nor an address");
        check("grid\u{7}:7700", "neither a host name nor an address");
        assert_eq!(host("grid.example.org:80"), Err(Refusal::PortTooMany("80".into())));
        assert_eq!(host("https://grid"), Err(Refusal::Scheme("https".into())));
        assert!(matches!(host("::"), Err(Refusal::Unspecified(_))));
    }
}
