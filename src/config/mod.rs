//! Settings: what the user typed, checked once and turned into what the server runs on. Opens
//! nothing; the one thing it asks the system is what a host name means.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::path::PathBuf;

use crate::limits::{SEGMENT_BYTES, SEGMENT_BYTES_MIN};

/// Where Kafka clients connect unless told otherwise.
pub const DEFAULT_KAFKA: &str = "localhost:9092";
/// Where the HTTP API listens unless told otherwise.
pub const DEFAULT_HTTP: &str = "127.0.0.1:9644";

/// What the user typed, unchecked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the store; made if it is missing.
    pub data: PathBuf,
    /// Addresses for Kafka clients, `HOST:PORT`.
    pub kafka: Vec<String>,
    /// Address of the HTTP API, `HOST:PORT`.
    pub http: String,
    /// What clients are told instead of the address by which they came, `HOST:PORT`.
    pub advertise: Option<String>,
    /// Addresses that other machines reach are allowed.
    pub insecure: bool,
    /// Topics are made when a client produces to them.
    pub auto_create_topics: bool,
    /// Size at which a segment is sealed, as `512MiB`; the default if not given.
    pub segment_size: Option<String>,
}

/// What the server runs on: every address is one that may be bound.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the store.
    pub data: PathBuf,
    /// Where Kafka clients connect; at least one.
    pub kafka: Vec<Listen>,
    /// Where the HTTP API listens.
    pub http: Listen,
    /// What clients are told instead of the address by which they came.
    pub advertise: Option<(String, u16)>,
    /// Topics are made when a client produces to them.
    pub auto_create_topics: bool,
    /// Size at which a segment is sealed, bytes.
    pub segment_bytes: u64,
}

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

/// Which setting is meant, by the flag that gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `--kafka`
    Kafka,
    /// `--http`
    Http,
    /// `--advertise`
    Advertise,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "--kafka",
            Self::Http => "--http",
            Self::Advertise => "--advertise",
        })
    }
}

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error("{flag} {given}: not an address; expected HOST:PORT, as localhost:9092 or [::1]:9092")]
    Address {
        /// The setting.
        flag: Flag,
        /// What was given.
        given: String,
    },
    /// A name that means no address.
    #[error("{flag} {given}: the host name does not resolve")]
    Resolve {
        /// The setting.
        flag: Flag,
        /// What was given.
        given: String,
        /// What the system says.
        #[source]
        source: Option<io::Error>,
    },
    /// Others could come in.
    #[error(
        "{flag} {given}: other machines can reach {ip}, and there is no authentication yet; \
         listen on localhost, or add --insecure if everyone who can reach it may read and write \
         everything"
    )]
    NotLoopback {
        /// The setting.
        flag: Flag,
        /// What was given.
        given: String,
        /// The first address that is not loopback.
        ip: IpAddr,
    },
    /// Clients cannot connect to port 0.
    #[error("--advertise {given}: clients need a port from 1 to 65535")]
    AdvertisePort {
        /// What was given.
        given: String,
    },
    /// Nothing for Kafka clients.
    #[error("--kafka: at least one address is needed")]
    NoKafka,
    /// Not a size.
    #[error("--segment-size {given}: not a size; expected bytes, or a number with KiB, MiB or GiB")]
    Size {
        /// What was given.
        given: String,
    },
    /// Too small a size.
    #[error("--segment-size {given}: at least {SEGMENT_BYTES_MIN} bytes are needed")]
    SegmentTooSmall {
        /// What was given.
        given: String,
    },
    /// The data folder is something else.
    #[error("--data {}: not a folder", .path.display())]
    NotFolder {
        /// What was given.
        path: PathBuf,
    },
}

impl Settings {
    /// Checks everything that can be checked before the store is opened.
    pub fn validate(self) -> Result<Config, ConfigError> {
        if self.data.exists() && !self.data.is_dir() {
            return Err(ConfigError::NotFolder { path: self.data });
        }
        let listen = |flag, given: &String| Listen::parse(flag, given, self.insecure);
        let kafka: Vec<_> =
            self.kafka.iter().map(|given| listen(Flag::Kafka, given)).collect::<Result<_, _>>()?;
        if kafka.is_empty() {
            return Err(ConfigError::NoKafka);
        }
        Ok(Config {
            kafka,
            http: listen(Flag::Http, &self.http)?,
            advertise: self.advertise.map(advertised).transpose()?,
            auto_create_topics: self.auto_create_topics,
            segment_bytes: self.segment_size.map_or(Ok(SEGMENT_BYTES), segment_bytes)?,
            data: self.data,
        })
    }
}

impl Listen {
    fn parse(flag: Flag, given: &str, insecure: bool) -> Result<Self, ConfigError> {
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

fn advertised(given: String) -> Result<(String, u16), ConfigError> {
    let (host, port) = split(Flag::Advertise, &given)?;
    if port == 0 {
        return Err(ConfigError::AdvertisePort { given });
    }
    Ok((host.to_owned(), port))
}

fn segment_bytes(given: String) -> Result<u64, ConfigError> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1_u64)];
    let bytes = units.iter().find_map(|(unit, bytes)| {
        let number: u64 = given.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*bytes)
    });
    match bytes {
        None => Err(ConfigError::Size { given }),
        Some(bytes) if bytes < SEGMENT_BYTES_MIN => Err(ConfigError::SegmentTooSmall { given }),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            data: PathBuf::from("data"),
            kafka: vec![DEFAULT_KAFKA.to_owned()],
            http: DEFAULT_HTTP.to_owned(),
            advertise: None,
            insecure: false,
            auto_create_topics: true,
            segment_size: None,
        }
    }

    fn kafka(given: &str) -> Result<Config, ConfigError> {
        Settings { kafka: vec![given.to_owned()], ..settings() }.validate()
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let config = settings().validate().unwrap();
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!((config.kafka[0].ips.as_slice(), config.kafka[0].port), (&both[..], 9092));
        assert_eq!((config.http.host.as_str(), config.http.port), ("127.0.0.1", 9644));
        assert_eq!(config.segment_bytes, SEGMENT_BYTES);
    }

    #[test]
    fn what_others_reach_is_refused_unless_wanted() {
        for given in ["0.0.0.0:9092", "[::]:9092", "192.0.2.1:0"] {
            let error = kafka(given).unwrap_err().to_string();
            assert!(error.contains(given) && error.contains("--insecure"), "{error}");
            let wanted = Settings { kafka: vec![given.into()], insecure: true, ..settings() };
            wanted.validate().unwrap();
        }
        let http = Settings { http: "0.0.0.0:9644".into(), ..settings() }.validate();
        assert!(matches!(http, Err(ConfigError::NotLoopback { flag: Flag::Http, .. })));
        kafka("127.0.0.9:1").unwrap();
    }

    #[test]
    fn what_is_no_address_is_named() {
        for given in ["", "9092", ":9092", "::1:9092", "host:", "host:65536", "[x]:1", "a b:1"] {
            let error = kafka(given).unwrap_err();
            assert!(matches!(error, ConfigError::Address { .. }), "{given}: {error}");
        }
        assert_eq!(kafka("[::1]:7").unwrap().kafka[0].host, "::1");
    }

    #[test]
    fn clients_are_told_a_port_that_there_is() {
        let advertise =
            |given: &str| Settings { advertise: Some(given.to_owned()), ..settings() }.validate();
        let config = advertise("broker.example:9092").unwrap();
        assert_eq!(config.advertise, Some(("broker.example".to_owned(), 9092)));
        assert!(matches!(advertise("h:0"), Err(ConfigError::AdvertisePort { .. })));
    }

    #[test]
    fn sizes_have_units() {
        for (given, bytes) in [("65536", 65_536), ("1MiB", 1 << 20), ("2 GiB", 2 << 30)] {
            assert_eq!(segment_bytes(given.to_owned()).unwrap(), bytes);
        }
        for given in ["", "MiB", "-1", "1.5GiB", "1mb", "99999999999999999GiB"] {
            assert!(
                matches!(segment_bytes(given.into()), Err(ConfigError::Size { .. })),
                "{given}"
            );
        }
        assert!(matches!(segment_bytes("1KiB".into()), Err(ConfigError::SegmentTooSmall { .. })));
    }
}
