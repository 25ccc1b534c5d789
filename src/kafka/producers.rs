//! InitProducerId: gives a producer its id, with which its batches are told apart (KIP-98).

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
