//! What `serve` and `dev` have in common: where they listen, and how they say so.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::output::Out;
use crate::config::Settings;
use crate::server::Server;

/// Where a broker listens.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Addresses for Kafka clients, separated by commas. localhost is 127.0.0.1 and ::1; port 0
    /// is any free one [default: localhost:9092].
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', env = "MILLSTREAM_KAFKA")]
    kafka: Vec<String>,

    /// Address of the HTTP API [default: 127.0.0.1:9644].
    #[arg(long, value_name = "HOST:PORT", env = "MILLSTREAM_HTTP")]
    http: Option<String>,

    /// What Kafka clients are told to connect to, instead of the name in
    /// `--kafka`, or the address by which they came.
    #[arg(long, value_name = "HOST:PORT", env = "MILLSTREAM_ADVERTISE")]
    advertise: Option<String>,

    /// Listen where other machines can connect, though there is no authentication.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        env = "MILLSTREAM_INSECURE"
    )]
    insecure: Option<bool>,

    /// Make a topic when a client produces to one that is not there [default: true].
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = BoolishValueParser::new(),
        env = "MILLSTREAM_AUTO_CREATE_TOPICS"
    )]
    auto_create_topics: Option<bool>,

    /// Size at which a file of the log is sealed, as 512MiB [default: 256MiB].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_SEGMENT_SIZE")]
    segment_size: Option<String>,
}

impl ListenArgs {
    /// What was said of it.
    pub(super) fn settings(self) -> Settings {
        Settings {
            kafka: Some(self.kafka).filter(|kafka| !kafka.is_empty()),
            http: self.http,
            advertise: self.advertise,
            insecure: self.insecure,
            auto_create_topics: self.auto_create_topics,
            segment_size: self.segment_size,
            ..Settings::default()
        }
    }
}

/// Where a broker that has started listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    kafka: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
}

impl Addresses {
    pub(super) fn of(server: &Server) -> Self {
        Self { kafka: server.kafka_addresses(), http: server.http_addresses() }
    }

    /// Prints a line for each, after `indent`.
    pub(super) fn print(&self, out: &mut Out, indent: &str) -> anyhow::Result<()> {
        for (protocol, address) in self.lines() {
            if out.is_json() {
                let event = "listening";
                out.json(&json!({ "event": event, "protocol": protocol, "address": address }))?;
            } else {
                out.line(format!("{indent}{protocol:<5}  {address}"))?;
            }
        }
        out.flush()
    }

    /// The first address for Kafka clients.
    pub(super) fn first_kafka(&self) -> String {
        self.kafka.first().map_or_else(String::new, SocketAddr::to_string)
    }

    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let kafka = self.kafka.iter().map(|address| ("kafka", address.to_string()));
        kafka.chain(self.http.iter().map(|address| ("http", format!("http://{address}"))))
    }
}
