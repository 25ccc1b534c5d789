//! DescribeCluster: the one broker, which is also the controller.

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::wire::Str;

message! {
    /// Asks for the brokers (type 1) or controllers (type 2) of the cluster.
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [1.., default 1],
        include_fenced_brokers: bool [2..],
    }

    /// The cluster.
    pub struct DescribeClusterResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [0.., nullable],
        endpoint_type: i8 [1.., default 1],
        cluster_id: Str,
        controller_id: i32 [0.., default -1],
        brokers: Vec<DescribeClusterBroker>,
        /// A bit an operation; [`i32::MIN`] if not asked for.
        cluster_authorized_operations: i32 [0.., default -2147483648],
    }

    /// A broker.
    pub struct DescribeClusterBroker {
        broker_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str> [0.., nullable],
        is_fenced: bool [2..],
    }
}

const BROKERS: i8 = 1;
/// What may be done to the cluster, as bits by their number in Kafka's `AclOperation`: create,
/// alter, describe, act for it, describe and alter its settings, write idempotently. Everybody may
/// everything.
pub(super) const CLUSTER_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Those not asked for.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let Caller { context, .. } = caller;
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: match request.endpoint_type {
                2 => ErrorCode::MismatchedEndpointType,
                _ => ErrorCode::UnsupportedEndpointType,
            },
            error_message: Some(Str::from_static("this endpoint is a broker's")),
            ..Default::default()
        };
    }
    DescribeClusterResponse {
        cluster_id: Str::from(context.broker.cluster_id()),
        controller_id: NODE_ID,
        brokers: vec![DescribeClusterBroker {
            broker_id: NODE_ID,
            host: context.host.clone(),
            port: context.port,
            ..Default::default()
        }],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            NO_OPERATIONS
        },
        ..Default::default()
    }
}
