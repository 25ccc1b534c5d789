//! Accepts connections and gives each what it needs to be served.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::connection;
use super::wire::Str;
use crate::broker::Broker;
use crate::limits::{CONNECTIONS, REQUEST_BYTES_IN_FLIGHT, SHUTDOWN_MS};

/// Id of the one node, also the leader of every partition and the controller.
pub(super) const NODE_ID: i32 = 1;
/// Pause after a failed accept: most such failures are a lack of file handles.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What can be set about the Kafka side.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address that clients are told; `None`: the one by which each has reached us.
    pub advertise: Option<(String, u16)>,
    /// Whether a topic is made when a client asks for one that is not there.
    pub auto_create_topics: bool,
}

/// The Kafka side of a broker; clones share its limits.
#[derive(Debug, Clone)]
pub struct Service {
    broker: Broker,
    options: Arc<Options>,
    connections: Arc<Semaphore>,
    request_bytes: Arc<Semaphore>,
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
    pub(super) request_bytes: Arc<Semaphore>,
}

impl Service {
    /// Makes the Kafka side of a broker.
    pub fn new(broker: Broker, options: Options) -> Self {
        Self {
            broker,
            options: Arc::new(options),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            request_bytes: Arc::new(Semaphore::new(REQUEST_BYTES_IN_FLIGHT)),
        }
    }

    /// Serves connections until `shutdown`; then those that are being served have
    /// [`SHUTDOWN_MS`] to finish what they have begun.
    pub async fn run(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let (stop, stopped) = watch::channel(());
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.accept(&listener) => {
                    serving.spawn(self.clone().serve(accepted, stopped.clone()));
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
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                // Never closed.
                std::future::pending().await
            };
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn serve(
        self,
        (stream, _permit): (TcpStream, tokio::sync::OwnedSemaphorePermit),
        mut stopped: watch::Receiver<()>,
    ) {
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            // Gone before it was looked at.
            return;
        };
        let (host, port) = match &self.options.advertise {
            Some((host, port)) => (host.clone(), *port),
            None => (local.ip().to_canonical().to_string(), local.port()),
        };
        let context = Context {
            broker: self.broker,
            host: Str::from(host),
            port: i32::from(port),
            client_host: format!("/{}", peer.ip().to_canonical()),
            auto_create_topics: self.options.auto_create_topics,
            request_bytes: self.request_bytes,
        };
        let stop = async move {
            // The sender is never used; its end is the signal.
            let _ = stopped.changed().await;
        };
        match connection::serve(stream, &context, stop).await {
            Ok(()) => tracing::debug!(%peer, "connection closed"),
            Err(error) if error.is_disconnect() => {
                tracing::debug!(%peer, %error, "connection lost")
            }
            Err(error) => tracing::warn!(%peer, %error, "connection closed on a bad request"),
        }
    }
}
