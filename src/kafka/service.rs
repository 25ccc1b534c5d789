//! Accepts connections and gives each what it needs to be served.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::admission::{Admission, Place};
use super::connection::{self, ConnectionError};
use super::fetch_session::FetchSession;
use super::frames::FrameMemory;
use super::sessions::Sessions;
use super::wire::Str;
use crate::broker::Broker;
use crate::limits::{
    CONNECTION_IDLE_MS, CONNECTIONS, LONG_ANSWERS, REQUEST_BYTES_IN_FLIGHT, SHUTDOWN_MS,
};

/// Id of the one node, also the leader of every partition and the controller.
pub(super) const NODE_ID: i32 = 1;
/// Pause after a failed accept: most such failures are a lack of file handles.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What can be set about the Kafka side.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address that clients are told; `None`: the name of the listener, else the address by
    /// which each has reached us.
    pub advertise: Option<(String, u16)>,
    /// Whether a topic is made when a client asks for one that is not there.
    pub auto_create_topics: bool,
    /// What connections may take.
    pub bounds: Bounds,
    /// Settings of the broker that clients may ask for, by Kafka's names.
    pub settings: Vec<FixedSetting>,
}

/// A setting that whoever runs the broker has made, as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// Its value, as Kafka writes it.
    pub value: String,
    /// Whether it was set, or has its default.
    pub is_set: bool,
}

/// What connections may take of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at one time; more wait to be accepted. Kafka's `max.connections`.
    pub connections: usize,
    /// Connections from one address at one time; more are closed. Kafka's
    /// `max.connections.per.ip`.
    pub connections_per_address: usize,
    /// A connection on which nothing happens for so long is closed. Kafka's
    /// `connections.max.idle.ms`.
    pub idle: Duration,
    /// Memory for request frames of all connections, bytes. Kafka's `queued.max.request.bytes`.
    pub request_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            connections_per_address: CONNECTIONS,
            idle: Duration::from_millis(CONNECTION_IDLE_MS),
            request_bytes: REQUEST_BYTES_IN_FLIGHT,
        }
    }
}

/// The Kafka side of a broker; clones share its limits.
#[derive(Debug, Clone)]
pub struct Service {
    broker: Broker,
    options: Arc<Options>,
    admission: Admission,
    frame_memory: FrameMemory,
    fetch_sessions: Sessions<FetchSession>,
    long_answers: Arc<Semaphore>,
}

/// What a connection's handlers work with.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) broker: Broker,
    /// Where the client reaches us.
    pub(super) host: Str,
    pub(super) port: i32,
    /// Where the client is.
    pub(super) client_host: String,
    pub(super) auto_create_topics: bool,
    pub(super) frame_memory: FrameMemory,
    /// How long nothing may happen on the connection.
    pub(super) idle: Duration,
    pub(super) fetch_sessions: Sessions<FetchSession>,
    /// Turns to make an answer that may be long.
    pub(super) long_answers: Arc<Semaphore>,
    pub(super) options: Arc<Options>,
}

impl Service {
    /// Makes the Kafka side of a broker.
    pub fn new(broker: Broker, options: Options) -> Self {
        let Bounds { connections, connections_per_address, request_bytes, .. } = options.bounds;
        Self {
            broker,
            options: Arc::new(options),
            admission: Admission::new(connections, connections_per_address),
            frame_memory: FrameMemory::new(request_bytes),
            fetch_sessions: Sessions::default(),
            long_answers: Arc::new(Semaphore::new(LONG_ANSWERS)),
        }
    }

    /// Serves connections until `shutdown`; then those that are being served have
    /// [`SHUTDOWN_MS`] to finish what they have begun. Clients are told `host` instead of the
    /// listener's address, as Kafka tells them the name that its listener was given.
    pub async fn run(
        &self,
        listener: TcpListener,
        host: Option<String>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let (stop, stopped) = watch::channel(());
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.accept(&listener) => {
                    serving.spawn(self.clone().serve(accepted, host.clone(), stopped.clone()));
                }
                Some(_) = serving.join_next() => {}
            }
        }
        drop(listener);
        drop(stop);
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_millis(SHUTDOWN_MS), drained).await.is_err() {
            tracing::warn!(connections = serving.len(), "closed with requests unanswered");
        }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Place) {
        let mut room = None;
        loop {
            let permit = match room.take() {
                Some(permit) => permit,
                None => self.admission.room().await,
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    room = Some(permit);
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            match self.admission.admit(permit, peer.ip().to_canonical()) {
                Ok(place) => return (stream, peer, place),
                Err(permit) => {
                    self.broker.counters().refused_connections.add();
                    // At once, so that the client knows.
                    drop(stream);
                    room = Some(permit);
                    tracing::debug!(%peer, "refused: too many connections from its address");
                }
            }
        }
    }

    async fn serve(
        self,
        (stream, peer, _place): (TcpStream, SocketAddr, Place),
        name: Option<String>,
        mut stopped: watch::Receiver<()>,
    ) {
        // Gone before it was looked at.
        let Ok(local) = stream.local_addr() else { return };
        let (host, port) = match &self.options.advertise {
            Some((host, port)) => (host.clone(), *port),
            None => {
                let address = || local.ip().to_canonical().to_string();
                (name.unwrap_or_else(address), local.port())
            }
        };
        let context = Context {
            broker: self.broker,
            host: Str::from(host),
            port: i32::from(port),
            client_host: format!("/{}", peer.ip().to_canonical()),
            auto_create_topics: self.options.auto_create_topics,
            frame_memory: self.frame_memory,
            idle: self.options.bounds.idle,
            fetch_sessions: self.fetch_sessions,
            long_answers: self.long_answers,
            options: self.options,
        };
        let stop = async move {
            // The sender is never used; its end is the signal.
            let _ = stopped.changed().await;
        };
        let counters = context.broker.counters();
        match connection::serve(stream, &context, stop).await {
            Ok(()) => tracing::debug!(%peer, "connection closed"),
            Err(error @ ConnectionError::Idle(_)) => {
                counters.idle_connections.add();
                tracing::debug!(%peer, %error, "connection closed");
            }
            Err(error) if error.is_slowness() => {
                counters.slow_connections.add();
                tracing::warn!(%peer, %error, "connection closed");
            }
            Err(error) if error.is_disconnect() => {
                tracing::debug!(%peer, %error, "connection lost");
            }
            Err(error) => tracing::warn!(%peer, %error, "connection closed on a bad request"),
        }
    }
}
