//! What can be set, and what it amounts to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{ConfigError, Flag};
use super::listen::{Listen, advertised};
use super::value::{number, size};
use crate::kafka::FixedSetting;
use crate::limits::{
    CONNECTION_IDLE_MS, CONNECTIONS, DEFAULT_PARTITIONS, GROUP_INITIAL_REBALANCE_DELAY_MS,
    MEMORY_BYTES_MIN, MIN_FREE_BYTES, OFFSETS_RETENTION_MINUTES, PARTITIONS,
    PRODUCER_EXPIRATION_MS, REQUEST_BYTES_IN_FLIGHT, RESPONSE_BYTES_IN_FLIGHT, RETENTION_HOURS,
    SEGMENT_BYTES, SEGMENT_BYTES_MIN, TAIL_BYTES,
};

/// Folder of the store unless told otherwise.
pub const DEFAULT_DATA: &str = "millstream-data";
/// Where Kafka clients connect unless told otherwise.
pub const DEFAULT_KAFKA: &str = "localhost:9092";
/// Where the HTTP API listens unless told otherwise.
pub const DEFAULT_HTTP: &str = "127.0.0.1:9644";

/// What the user typed, unchecked; `None` for what was not said. Also the format of the file: TOML
/// with these names, `-` for `_`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folder of the store; made if it is missing.
    pub data: Option<PathBuf>,
    /// Addresses for Kafka clients, `HOST:PORT`.
    pub kafka: Option<Vec<String>>,
    /// Address of the HTTP API, `HOST:PORT`.
    pub http: Option<String>,
    /// What clients are told instead of the address by which they came, `HOST:PORT`.
    pub advertise: Option<String>,
    /// Addresses that other machines reach are allowed.
    pub insecure: Option<bool>,
    /// Topics are made when a client produces to them.
    pub auto_create_topics: Option<bool>,
    /// Partitions of a topic that does not say how many.
    pub default_partitions: Option<i64>,
    /// Size at which a segment is sealed, as `512MiB`.
    pub segment_size: Option<String>,
    /// How long a topic without `retention.ms` keeps records, hours; -1 for ever.
    pub retention_hours: Option<i64>,
    /// How much a partition of a topic without `retention.bytes` keeps, as `10GiB`; all if not
    /// said.
    pub retention_size: Option<String>,
    /// How long the offsets of an empty group are kept, minutes.
    pub offsets_retention_minutes: Option<i64>,
    /// How long a silent producer is remembered, milliseconds.
    pub producer_expiration_ms: Option<i64>,
    /// What records must leave free of the disk, as `64MiB`.
    pub min_free_disk: Option<String>,
    /// Memory for recent records, as `64MiB`.
    pub tail_size: Option<String>,
    /// Connections of Kafka clients at one time.
    pub max_connections: Option<i64>,
    /// Connections from one address at one time.
    pub max_connections_per_ip: Option<i64>,
    /// How long nothing may happen on a connection, milliseconds.
    pub connections_max_idle_ms: Option<i64>,
    /// Memory for requests under way, as `256MiB`.
    pub request_memory: Option<String>,
    /// Memory for records and long answers on their way to clients, as `512MiB`.
    pub response_memory: Option<String>,
    /// How long an empty group waits for further members, milliseconds.
    pub group_initial_rebalance_delay_ms: Option<i64>,
}

/// What the server runs on: every address is one that may be bound, every number in its range.
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
    /// Partitions of a topic that does not say how many.
    pub default_partitions: i32,
    /// How long an empty group waits for further members, milliseconds.
    pub group_initial_rebalance_delay_ms: u64,
    /// What is kept.
    pub keeping: Keeping,
    /// What clients may take.
    pub clients: Clients,
    /// The program that compiles plugins, the same as this one; without it they are compiled in the
    /// broker's own process.
    pub compiler: Option<PathBuf>,
    /// Those of the above that Kafka has too.
    pub described: Vec<FixedSetting>,
}

/// What is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Size at which a segment is sealed, bytes.
    pub segment_bytes: u64,
    /// How long a topic keeps records unless it says so itself, milliseconds; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes a partition keeps unless its topic says so itself; `None`: all.
    pub retention_bytes: Option<u64>,
    /// How long the offsets of an empty group are kept, milliseconds.
    pub offsets_retention_ms: i64,
    /// How long a silent producer is remembered, milliseconds.
    pub producer_expiration_ms: i64,
    /// What records must leave free of the disk, bytes.
    pub min_free_bytes: u64,
    /// Memory for recent records, bytes.
    pub tail_bytes: usize,
}

/// What clients may take of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    /// Connections of Kafka clients at one time.
    pub connections: usize,
    /// Connections from one address at one time.
    pub connections_per_address: usize,
    /// How long nothing may happen on a connection, milliseconds.
    pub idle_ms: u64,
    /// Memory for requests under way, bytes.
    pub request_bytes: usize,
    /// Memory for records and long answers on their way to clients, bytes.
    pub response_bytes: usize,
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// More than anybody means.
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

impl Settings {
    /// Reads the text of a settings file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let message = error.to_string().trim_end().to_owned();
            ConfigError::File { path: path.to_owned(), message }
        })
    }

    /// These settings, and for what they do not say those.
    #[must_use]
    pub fn or(self, those: Self) -> Self {
        macro_rules! each {
            ($($field:ident),* $(,)?) => {
                Self { $($field: self.$field.or(those.$field),)* }
            };
        }
        each!(
            data,
            kafka,
            http,
            advertise,
            insecure,
            auto_create_topics,
            default_partitions,
            segment_size,
            retention_hours,
            retention_size,
            offsets_retention_minutes,
            producer_expiration_ms,
            min_free_disk,
            tail_size,
            max_connections,
            max_connections_per_ip,
            connections_max_idle_ms,
            request_memory,
            response_memory,
            group_initial_rebalance_delay_ms,
        )
    }

    /// Checks everything that can be checked before the store is opened.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let set = &self;
        let data = set.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        if data.exists() && !data.is_dir() {
            return Err(ConfigError::NotFolder { path: data });
        }
        let insecure = set.insecure.unwrap_or(false);
        let listen = |flag, given: &str| Listen::parse(flag, given, insecure);
        let kafka = match &set.kafka {
            Some(given) => given.iter().map(|given| listen(Flag::Kafka, given)).collect(),
            None => listen(Flag::Kafka, DEFAULT_KAFKA).map(|listen| vec![listen]),
        }?;
        if kafka.is_empty() {
            return Err(ConfigError::NoKafka);
        }
        let partitions = number(
            "--default-partitions",
            set.default_partitions,
            1..=PARTITIONS.into(),
            DEFAULT_PARTITIONS.into(),
        )?;
        let delay_ms = number(
            "--group-initial-rebalance-delay-ms",
            set.group_initial_rebalance_delay_ms,
            0..=HOUR_MS,
            to(GROUP_INITIAL_REBALANCE_DELAY_MS),
        )?;
        let mut config = Config {
            data,
            kafka,
            http: listen(Flag::Http, set.http.as_deref().unwrap_or(DEFAULT_HTTP))?,
            advertise: set.advertise.clone().map(advertised).transpose()?,
            auto_create_topics: set.auto_create_topics.unwrap_or(true),
            default_partitions: to(partitions),
            group_initial_rebalance_delay_ms: to(delay_ms),
            keeping: Keeping::of(set)?,
            clients: Clients::of(set)?,
            compiler: None,
            described: Vec::new(),
        };
        config.described = described(&config, set);
        Ok(config)
    }
}

impl Keeping {
    fn of(set: &Settings) -> Result<Self, ConfigError> {
        let centuries = 100 * YEAR_MS / HOUR_MS;
        let hours =
            number("--retention-hours", set.retention_hours, -1..=centuries, RETENTION_HOURS)?;
        let bytes = size("--retention-size", set.retention_size.as_deref(), 1..=i64::MAX, -1)?;
        let minutes = number(
            "--offsets-retention-minutes",
            set.offsets_retention_minutes,
            1..=i32::MAX.into(),
            OFFSETS_RETENTION_MINUTES,
        )?;
        let segment = to(SEGMENT_BYTES_MIN)..=1 << 40;
        let segment_size = set.segment_size.as_deref();
        let min_free = set.min_free_disk.as_deref();
        Ok(Self {
            segment_bytes: to(size("--segment-size", segment_size, segment, to(SEGMENT_BYTES))?),
            retention_ms: (hours >= 0).then_some(hours * HOUR_MS),
            retention_bytes: u64::try_from(bytes).ok(),
            offsets_retention_ms: minutes * MINUTE_MS,
            producer_expiration_ms: number(
                "--producer-expiration-ms",
                set.producer_expiration_ms,
                1..=YEAR_MS,
                PRODUCER_EXPIRATION_MS,
            )?,
            min_free_bytes: to(size("--min-free-disk", min_free, 0..=1 << 40, to(MIN_FREE_BYTES))?),
            tail_bytes: memory("--tail-size", set.tail_size.as_deref(), TAIL_BYTES)?,
        })
    }
}

impl Clients {
    fn of(set: &Settings) -> Result<Self, ConfigError> {
        let connections =
            number("--max-connections", set.max_connections, 1..=1_000_000, to(CONNECTIONS))?;
        let per_address = number(
            "--max-connections-per-ip",
            set.max_connections_per_ip,
            1..=i32::MAX.into(),
            i32::MAX.into(),
        )?;
        let idle_ms = number(
            "--connections-max-idle-ms",
            set.connections_max_idle_ms,
            1..=YEAR_MS,
            to(CONNECTION_IDLE_MS),
        )?;
        let request = set.request_memory.as_deref();
        let response = set.response_memory.as_deref();
        Ok(Self {
            connections: to(connections),
            connections_per_address: to(per_address),
            idle_ms: to(idle_ms),
            request_bytes: memory("--request-memory", request, REQUEST_BYTES_IN_FLIGHT)?,
            response_bytes: memory("--response-memory", response, RESPONSE_BYTES_IN_FLIGHT)?,
        })
    }
}

fn memory(flag: &'static str, given: Option<&str>, default: usize) -> Result<usize, ConfigError> {
    size(flag, given, to(MEMORY_BYTES_MIN)..=1 << 32, to(default)).map(to)
}

/// A number in another type, after its range was checked.
fn to<T: Default>(number: impl TryInto<T>) -> T {
    number.try_into().unwrap_or_default()
}

/// What Kafka calls the settings that it has too.
fn described(config: &Config, set: &Settings) -> Vec<FixedSetting> {
    let Config { keeping, clients, .. } = config;
    let at = |host: &str, port: u16| format!("PLAINTEXT://{host}:{port}");
    let listeners: Vec<_> = config.kafka.iter().map(|at_| at(&at_.host, at_.port)).collect();
    let listeners = listeners.join(",");
    let advertised = match &config.advertise {
        Some((host, port)) => at(host, *port),
        None => listeners.clone(),
    };
    let ms = keeping.retention_ms.unwrap_or(-1);
    let bytes = keeping.retention_bytes.map_or("-1".to_owned(), |bytes| bytes.to_string());
    let hours = if ms < 0 { -1 } else { ms / HOUR_MS };
    let minutes = keeping.offsets_retention_ms / MINUTE_MS;
    let one = |name, value: &dyn std::fmt::Display, is_set| {
        let value = value.to_string();
        FixedSetting { name, value, is_set }
    };
    vec![
        one("advertised.listeners", &advertised, set.advertise.is_some()),
        one(
            "auto.create.topics.enable",
            &config.auto_create_topics,
            set.auto_create_topics.is_some(),
        ),
        one("connections.max.idle.ms", &clients.idle_ms, set.connections_max_idle_ms.is_some()),
        one(
            "group.initial.rebalance.delay.ms",
            &config.group_initial_rebalance_delay_ms,
            set.group_initial_rebalance_delay_ms.is_some(),
        ),
        one("listeners", &listeners, set.kafka.is_some()),
        one("log.dirs", &config.data.display(), set.data.is_some()),
        one("log.retention.bytes", &bytes, set.retention_size.is_some()),
        one("log.retention.hours", &hours, set.retention_hours.is_some()),
        one("log.retention.ms", &ms, set.retention_hours.is_some()),
        one("log.segment.bytes", &keeping.segment_bytes, set.segment_size.is_some()),
        one("max.connections", &clients.connections, set.max_connections.is_some()),
        one(
            "max.connections.per.ip",
            &clients.connections_per_address,
            set.max_connections_per_ip.is_some(),
        ),
        one("num.partitions", &config.default_partitions, set.default_partitions.is_some()),
        one("offsets.retention.minutes", &minutes, set.offsets_retention_minutes.is_some()),
        one(
            "producer.id.expiration.ms",
            &keeping.producer_expiration_ms,
            set.producer_expiration_ms.is_some(),
        ),
        one("queued.max.request.bytes", &clients.request_bytes, set.request_memory.is_some()),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn settings() -> Settings {
        Settings::default()
    }

    fn kafka(given: &str) -> Result<Config, ConfigError> {
        Settings { kafka: Some(vec![given.to_owned()]), ..settings() }.validate()
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let config = settings().validate().unwrap();
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!((config.kafka[0].ips.as_slice(), config.kafka[0].port), (&both[..], 9092));
        assert_eq!((config.http.host.as_str(), config.http.port), ("127.0.0.1", 9644));
        assert_eq!(config.keeping.segment_bytes, SEGMENT_BYTES);
    }

    #[test]
    fn what_others_reach_is_refused_unless_wanted() {
        for given in ["0.0.0.0:9092", "[::]:9092", "192.0.2.1:0"] {
            let error = kafka(given).unwrap_err().to_string();
            assert!(error.contains(given) && error.contains("--insecure"), "{error}");
            let wanted =
                Settings { kafka: Some(vec![given.into()]), insecure: Some(true), ..settings() };
            wanted.validate().unwrap();
        }
        let http = Settings { http: Some("0.0.0.0:9644".into()), ..settings() }.validate();
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
    fn a_file_has_the_settings_by_their_names() {
        let text = "kafka = [\"localhost:1\"]\ntail-size = \"1MiB\"\nretention-hours = -1\n";
        let file = Settings::parse(text, Path::new("m.toml")).unwrap();
        let flags = Settings { tail_size: Some("2MiB".to_owned()), ..Settings::default() };
        let config = flags.or(file).validate().unwrap();
        assert_eq!((config.kafka[0].port, config.keeping.tail_bytes), (1, 2 << 20));
        assert_eq!(config.keeping.retention_ms, None);
    }

    #[test]
    fn what_a_file_must_not_say_is_told_with_its_line() {
        for text in ["\ntale-size = \"1MiB\"\n", "\nretention-hours = \"a week\"", "\n\"\n"] {
            let error = Settings::parse(text, Path::new("m.toml")).unwrap_err().to_string();
            assert!(error.starts_with("m.toml: ") && error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        for wrong in [
            Settings { default_partitions: Some(0), ..settings() },
            Settings { max_connections_per_ip: Some(-1), ..settings() },
            Settings { segment_size: Some("1KiB".to_owned()), ..settings() },
            Settings { request_memory: Some("1".to_owned()), ..settings() },
            Settings { retention_hours: Some(i64::MAX), ..settings() },
        ] {
            let error = wrong.clone().validate().unwrap_err();
            assert!(matches!(error, ConfigError::Range { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_kafka_has_too_is_described_by_its_name() {
        let set = Settings { retention_hours: Some(1), ..settings() }.validate().unwrap();
        let found = |name| set.described.iter().find(|one| one.name == name).cloned().unwrap();
        let retention = found("log.retention.ms");
        assert_eq!((retention.value.as_str(), retention.is_set), ("3600000", true));
        let partitions = found("num.partitions");
        assert_eq!((partitions.value.as_str(), partitions.is_set), ("1", false));
        assert!(set.described.is_sorted_by(|a, b| a.name < b.name));
    }
}
