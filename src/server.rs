//! The composition root: opens the store, makes the broker, the plugin engine and the pipelines,
//! listens, and takes all of it down in order. Only here are sockets bound and signals caught. It
//! prints nothing and decides nothing about records.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::{
    Broker, BrokerConfig, DefaultRetention, DiskFiles, Expiry, StorageError, StoreOptions,
};
use crate::clock::SystemClock;
use crate::config::{Clients, Config, Keeping, Listen};
use crate::limits::STOP_MS;
use crate::pipeline::{DeployError, Supervisor};
use crate::plugin::{Compiling, Engine, PluginError};
use crate::{http, kafka};

/// How often a port that is free for all addresses of a host is looked for.
const PORT_ATTEMPTS: usize = 16;

/// Of the data folder, what may be deleted: compiled plugins.
const COMPILED_FOLDER: &str = "compiled";

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot open the data folder {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store cannot be opened or closed.
    #[error("the store in {} failed", .path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What the store says.
        source: StorageError,
    },
    /// The store is not as it was written, so much so that serving the rest would lose something
    /// that was acknowledged without a word.
    #[error(
        "the store in {0} is damaged; `millstream check {0}` says what is, and with --repair puts \
         into place what can be read",
        .path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What the store says.
        source: StorageError,
    },
    /// The plugin engine cannot be made.
    #[error("cannot start the plugin engine")]
    Engine(#[source] PluginError),
    /// The pipelines' threads cannot be made.
    #[error("cannot start the threads of the pipelines")]
    Threads(#[source] io::Error),
    /// What was deployed cannot be read.
    #[error("cannot restore the pipelines")]
    Restore(#[source] DeployError),
    /// The disk failed while the server ran.
    #[error("the storage failed, nothing more is acknowledged: {reason}")]
    StorageFailed {
        /// What the store said.
        reason: String,
    },
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
}

/// A server that listens but does not accept yet.
pub struct Server {
    broker: Broker,
    pipelines: Arc<Supervisor>,
    kafka: Vec<Bound>,
    http: Vec<Bound>,
    config: Config,
}

/// A socket that listens, and where.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    /// The name that was given for the address, if it was one.
    host: Option<String>,
}

impl Server {
    /// Binds the addresses, opens the store and starts the pipelines that are deployed in it.
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        // First what fails fast; who connects meanwhile waits in the system's queue.
        let mut kafka = Vec::new();
        for listen in &config.kafka {
            kafka.extend(bind(listen).await?);
        }
        let http = bind(&config.http).await?;
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || open(&opening)).await;
        let broker = match opened {
            Ok(broker) => broker?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let compiling = config.compiler.clone().map_or(Compiling::Here, Compiling::Apart);
        let engine = Engine::with_cache(&config.data.join(COMPILED_FOLDER), compiling);
        let engine = engine.map_err(ServerError::Engine)?;
        let pipelines = Supervisor::new(broker.clone(), engine).map_err(ServerError::Threads)?;
        let server = Self { broker, pipelines: Arc::new(pipelines), kafka, http, config };
        if let Err(error) = server.pipelines.restore().await {
            // What made it fail is the error to report.
            let _ = server.abandon().await;
            return Err(ServerError::Restore(error));
        }
        Ok(server)
    }

    /// Where Kafka clients connect.
    pub fn kafka_addresses(&self) -> Vec<SocketAddr> {
        self.kafka.iter().map(|bound| bound.address).collect()
    }

    /// Where the HTTP API listens.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().map(|bound| bound.address).collect()
    }

    /// The broker inside.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The pipelines inside.
    pub fn pipelines(&self) -> &Arc<Supervisor> {
        &self.pipelines
    }

    /// Closes everything without having accepted anybody.
    pub async fn abandon(self) -> Result<(), ServerError> {
        self.pipelines.shutdown().await;
        close(&self.broker, &self.config).await
    }

    /// Accepts until `shutdown`, or until the storage fails; then ends in order: accept nothing
    /// more, stop the pipelines between two batches, finish what is in flight, close the store.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let Self { broker, pipelines, kafka, http, config } = self;
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let service = kafka::Service::new(
            broker.clone(),
            kafka::Options {
                advertise: config.advertise.clone(),
                auto_create_topics: config.auto_create_topics,
                bounds: bounds(&config.clients),
                settings: config.described.clone(),
            },
        );
        for bound in kafka {
            let Bound { listener, host, .. } = bound;
            let (service, stopped) = (service.clone(), stopped(stopping.clone()));
            tasks.spawn(async move { service.run(listener, host, stopped).await });
        }
        let options = http::Options {
            hosts: http::AllowedHosts::new(&config.http.host, &config.http.ips),
            auto_create_topics: config.auto_create_topics,
        };
        let service = http::Service::new(broker.clone(), Arc::clone(&pipelines), options);
        for bound in http {
            tasks.spawn(service.clone().run(bound.listener, stopped(stopping.clone())));
        }
        let groups = broker.groups().clone();
        let ending = stopped(stopping.clone());
        tasks.spawn(async move { groups.run(ending).await });
        let (expiring, keep, ending) = (broker.clone(), expiry(&config.keeping), stopped(stopping));
        tasks.spawn(async move { expiring.run_expiry(keep, ending).await });

        let failure = tokio::select! {
            () = shutdown => None,
            reason = broker.lost() => Some(reason),
        };
        tracing::info!("stopping");
        stop.send_replace(true);
        let in_flight = async {
            pipelines.shutdown().await;
            while tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(Duration::from_millis(STOP_MS), in_flight).await.is_err() {
            tracing::warn!("what was still in flight was cut off");
        }
        drop(tasks);
        let closed = close(&broker, &config).await;
        match failure {
            Some(reason) => Err(ServerError::StorageFailed { reason }),
            None => closed,
        }
    }
}

/// Resolves at the first SIGINT or SIGTERM. Caught from the moment of the call on.
pub fn termination() -> Result<impl Future<Output = ()> + Send, ServerError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone wants the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn open(config: &Config) -> Result<Broker, ServerError> {
    let path = || config.data.clone();
    let files = DiskFiles::open(&config.data)
        .map_err(|source| ServerError::Folder { path: path(), source })?;
    let options =
        StoreOptions { segment_bytes: config.keeping.segment_bytes, ..StoreOptions::default() };
    let settings = BrokerConfig {
        default_partitions: config.default_partitions,
        retention: DefaultRetention {
            ms: config.keeping.retention_ms,
            bytes: config.keeping.retention_bytes,
        },
        min_free_bytes: config.keeping.min_free_bytes,
        tail_bytes: config.keeping.tail_bytes,
        response_bytes: config.clients.response_bytes,
    };
    let broker =
        Broker::open_with(Arc::new(files), &options, settings, Arc::new(SystemClock::new()))
            .map_err(|source| match source.is_damage() {
                true => ServerError::Damaged { path: path(), source },
                false => ServerError::Store { path: path(), source },
            })?;
    broker.groups().set_initial_rebalance_delay(config.group_initial_rebalance_delay_ms);
    Ok(broker)
}

fn bounds(clients: &Clients) -> kafka::Bounds {
    kafka::Bounds {
        connections: clients.connections,
        connections_per_address: clients.connections_per_address,
        idle: Duration::from_millis(clients.idle_ms),
        request_bytes: clients.request_bytes,
    }
}

fn expiry(keeping: &Keeping) -> Expiry {
    let ms = |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    Expiry {
        offsets: ms(keeping.offsets_retention_ms),
        producers: ms(keeping.producer_expiration_ms),
    }
}

async fn close(broker: &Broker, config: &Config) -> Result<(), ServerError> {
    let path = || config.data.clone();
    broker.close().await.map_err(|source| ServerError::Store { path: path(), source })
}

/// Listens on every address of a host, all on the same port.
async fn bind(listen: &Listen) -> Result<Vec<Bound>, ServerError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match bind_all(listen).await {
            // Free on one address, taken on another: any other port will do.
            Err(ServerError::Bind { source, .. })
                if listen.port == 0
                    && source.kind() == io::ErrorKind::AddrInUse
                    && attempt < PORT_ATTEMPTS => {}
            outcome => return outcome,
        }
    }
}

async fn bind_all(listen: &Listen) -> Result<Vec<Bound>, ServerError> {
    let mut port = listen.port;
    let host = Some(&listen.host).filter(|host| host.parse::<IpAddr>().is_err());
    let mut all: Vec<Bound> = Vec::new();
    for ip in &listen.ips {
        let address = SocketAddr::new(*ip, port);
        let refused = |source| ServerError::Bind { address, source };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().map_err(refused)?;
                port = address.port();
                all.push(Bound { listener, address, host: host.cloned() });
            }
            Err(source) => {
                let taken = matches!(
                    source.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                );
                // A machine without IPv6 has no ::1.
                let spare = listen.host.eq_ignore_ascii_case("localhost") && !all.is_empty();
                if taken || !spare {
                    return Err(refused(source));
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn all_addresses_of_a_host_get_one_port() {
        let ips = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last))).to_vec();
        let listen = Listen { host: "two".into(), ips: ips.clone(), port: 0 };
        let bound = bind(&listen).await.unwrap();
        let addresses: Vec<_> = bound.iter().map(|bound| bound.address).collect();
        let port = addresses[0].port();
        assert_eq!(addresses, [SocketAddr::new(ips[0], port), SocketAddr::new(ips[1], port)]);
        let again = bind(&Listen { port, ..listen }).await.err().unwrap().to_string();
        assert!(again.contains(&format!("127.0.0.1:{port}")), "{again}");
    }

    #[tokio::test]
    async fn an_address_that_is_not_there_is_an_error_unless_spare() {
        // From the documentation range: no machine has it.
        let missing = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listen = Listen { host: "localhost".into(), ips: vec![local, missing], port: 0 };
        assert_eq!(bind(&listen).await.unwrap().len(), 1);
        assert!(bind(&Listen { host: "other".into(), ..listen.clone() }).await.is_err());
        assert!(bind(&Listen { ips: vec![missing], ..listen }).await.is_err());
    }
}
