//! InitProducerId: gives a producer its id, with which its batches are told apart (KIP-98).

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Asks for a producer id, or for the next epoch of one (KIP-360).
    pub struct InitProducerIdRequest {
        /// Null for a producer that is idempotent only.
        transactional_id: Option<Str> [nullable],
        transaction_timeout_ms: i32,
        producer_id: i64 [3.., default -1],
        producer_epoch: i16 [3.., default -1],
    }

    /// The producer's id and epoch.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32 [0.., ignorable],
        error_code: ErrorCode,
        producer_id: i64 [0.., default -1],
        producer_epoch: i16,
    }
}

pub(super) async fn init(
    caller: Caller<'_>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refuse = |error_code| InitProducerIdResponse {
        error_code,
        producer_epoch: -1,
        ..Default::default()
    };
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return refuse(ErrorCode::InvalidRequest),
        // Transactions are not served yet; this is the one answer that clients take as final.
        Some(_) => return refuse(ErrorCode::TransactionalIdAuthorizationFailed),
    }
    // As in Kafka, a producer without transactions that starts over gets a new id, not an epoch.
    match caller.context.broker.init_producer_id().await {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..Default::default()
        },
        // To be tried again, and then against the broker that comes after.
        Err(_) => refuse(ErrorCode::CoordinatorNotAvailable),
    }
}
