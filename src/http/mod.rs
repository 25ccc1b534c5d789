//! The HTTP API: what scripts, the commands and browsers on this machine use. The JSON shapes live
//! here and nowhere else. It parses, calls the broker or the pipelines, and answers; it keeps
//! nothing and decides nothing.
//!
//! There is no authentication yet, so no page of another origin may drive it: no CORS headers,
//! changes only with a content type that a form cannot send, and only requests whose `Host` is
//! one that is meant (a rebound DNS name is none).

mod at_most;
mod backup;
mod binary;
mod deployments;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod listener;
mod produce;
mod records;
mod shapes;
mod topics;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use self::binary::Binary;
use self::error::ApiError;
pub use self::guard::AllowedHosts;
use self::listener::LimitedListener;
pub use self::produce::{NewRecord, Placed, ProduceError, append};
pub use self::shapes::{
    Backup, BackupDone, BrokerView, Consumed, CountsView, Deployment, DeploymentDone, ErrorView,
    GroupView, HeaderView, Health, MemberView, OffsetView, PartitionView, PipelineChange,
    PipelinePartition, PipelineView, Position, ProblemView, Produced, ProducedAt, RecordIn,
    RecordView, TopicNew, TopicView, UnreadableView,
};
use crate::broker::Broker;
use crate::limits::{HTTP_BODY_BYTES, HTTP_PRODUCE_BYTES, SHUTDOWN_MS};
use crate::pipeline::Supervisor;

/// The API over one broker and its pipelines. Clones share them.
#[derive(Clone)]
pub struct Service {
    broker: Broker,
    pipelines: Arc<Supervisor>,
    options: Arc<Options>,
    /// One deployment at a time, once its body is here: a slow client holds up nobody.
    deploying: Arc<Semaphore>,
}

/// How the API answers.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the `Host` of a request may be.
    pub hosts: AllowedHosts,
    /// A topic is made when something is produced to it.
    pub auto_create_topics: bool,
}

/// What the handlers get: the service, and the sign that it is to end.
#[derive(Clone)]
struct Api {
    service: Service,
    stopping: watch::Receiver<bool>,
}

impl Service {
    /// An API that serves nobody yet.
    pub fn new(broker: Broker, pipelines: Arc<Supervisor>, options: Options) -> Self {
        let deploying = Arc::new(Semaphore::new(1));
        Self { broker, pipelines, options: Arc::new(options), deploying }
    }

    /// Accepts until `shutdown`, then lets the requests in flight finish, for a few seconds.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopping) = watch::channel(false);
        let mut stopped = stopping.clone();
        let stopped = async move {
            // The sender lives until the end of this function.
            let _ = stopped.wait_for(|stopping| *stopping).await;
        };
        let router = router(Api { service: self, stopping });
        let serve = axum::serve(LimitedListener::new(listener), router)
            .with_graceful_shutdown(stopped)
            .into_future()
            .fuse();
        let mut serve = std::pin::pin!(serve);
        tokio::select! {
            _ = &mut serve => return,
            () = shutdown => {}
        }
        stop.send_replace(true);
        if tokio::time::timeout(Duration::from_millis(SHUTDOWN_MS), serve).await.is_err() {
            tracing::warn!("http requests still in flight were cut off");
        }
    }
}

fn router(api: Api) -> Router {
    let produce_limit = DefaultBodyLimit::max(HTTP_PRODUCE_BYTES);
    Router::new()
        .route("/health", get(topics::health))
        .route("/v1/broker", get(topics::broker))
        .route("/v1/backups", post(backup::make))
        .route("/v1/topics", get(topics::list).post(topics::create))
        .route("/v1/topics/{topic}", delete(topics::remove))
        .route("/v1/topics/{topic}/records", get(records::consume).post(records::produce))
        .route("/v1/groups", get(topics::groups))
        .route("/v1/pipelines", get(deployments::pipelines))
        .route("/v1/pipelines/{pipeline}", delete(deployments::remove))
        .layer(produce_limit)
        .merge(
            Router::new()
                .route("/v1/deployments", post(deployments::deploy))
                .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES)),
        )
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || ApiError::method())
        .layer(from_fn_with_state(Arc::clone(&api.service.options), guard::check))
        .with_state(api)
}
