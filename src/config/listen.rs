//! Addresses: what may be listened on, and what clients may be told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

use super::error::{ConfigError, Flag};

/// A place to listen: a host name stands for all of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The host as it was given, without brackets.
    pub host: String,
    /// Its addresses, at least one. After the first they may be missing on this machine if the
    /// host is `localhost`.
    pub ips: Vec<IpAddr>,
    /// The port; 0 for any that is free.
    pub port: u16,
}

impl Listen {
    pub(super) fn parse(flag: Flag, given: &str, insecure: bool) -> Result<Self, ConfigError> {
        let (host, port) = split(flag, given)?;
        let ips = resolve(flag, given, host)?;
        if !insecure && let Some(ip) = ips.iter().find(|ip| !ip.is_loopback()) {
            return Err(ConfigError::NotLoopback { flag, given: given.to_owned(), ip: *ip });
        }
        Ok(Self { host: host.to_owned(), ips, port })
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split(flag: Flag, given: &str) -> Result<(&str, u16), ConfigError> {
    let refuse = || ConfigError::Address { flag, given: given.to_owned() };
    let (host, port) = given.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse().map_err(|_| refuse())?;
    let bare = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().map(|_| v6).map_err(|_| refuse())?,
        None if host.contains([':', '[', ']', '/']) => return Err(refuse()),
        None => host,
    };
    if bare.is_empty() || bare.contains(char::is_whitespace) {
        return Err(refuse());
    }
    Ok((bare, port))
}

fn resolve(flag: Flag, given: &str, host: &str) -> Result<Vec<IpAddr>, ConfigError> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    // Whatever the resolver knows: clients that are told localhost try both.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let unresolved = |source| ConfigError::Resolve { flag, given: given.to_owned(), source };
    let found = (host, 0).to_socket_addrs().map_err(|error| unresolved(Some(error)))?;
    let mut ips: Vec<IpAddr> = Vec::new();
    for address in found {
        if !ips.contains(&address.ip()) {
            ips.push(address.ip());
        }
    }
    if ips.is_empty() { Err(unresolved(None)) } else { Ok(ips) }
}

pub(super) fn advertised(given: String) -> Result<(String, u16), ConfigError> {
    let (host, port) = split(Flag::Advertise, &given)?;
    if port == 0 {
        return Err(ConfigError::AdvertisePort { given });
    }
    Ok((host.to_owned(), port))
}
