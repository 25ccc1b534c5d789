//! Why settings were refused.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

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
    #[error("{flag} {given}: not a size; expected bytes, or a number with KiB, MiB or GiB")]
    Size {
        /// The setting.
        flag: &'static str,
        /// What was given.
        given: String,
    },
    /// A size or a number outside its range.
    #[error("{flag} {given}: expected {least} to {most}")]
    Range {
        /// The setting.
        flag: &'static str,
        /// What was given.
        given: String,
        /// The least that is allowed.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A settings file that cannot be understood.
    #[error("{}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line.
        message: String,
    },
    /// The data folder is something else.
    #[error("--data {}: not a folder", .path.display())]
    NotFolder {
        /// What was given.
        path: PathBuf,
    },
}
