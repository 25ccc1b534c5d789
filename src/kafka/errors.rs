//! Kafka's error codes, those that we answer with.

use super::message::Wire;
use super::schema::{Type, Version};
use super::wire::{Fault, Reader, WireError};
use super::writer::Writer;
use crate::broker::{
    CommitError, DeleteGroupError, DeleteRecordsError, GroupError, ReadError, SettingError,
    TopicError,
};
use crate::record::{BatchError, RecordProblem};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// An error as the protocol numbers it. Which of them a client tries again is the client's
        /// own table.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// Our fault, or nothing better fits.
    UnknownServerError = -1,
    /// No error.
    #[default]
    None = 0,
    /// The offset is outside the log.
    OffsetOutOfRange = 1,
    /// A batch whose CRC or framing is wrong.
    CorruptMessage = 2,
    /// No topic of that name, or no partition of that index.
    UnknownTopicOrPartition = 3,
    /// The topic is just being made; to be tried again.
    LeaderNotAvailable = 5,
    /// Another broker leads the partition.
    NotLeaderOrFollower = 6,
    /// Not durable within the time that the client gave.
    RequestTimedOut = 7,
    /// The batch is larger than `max.message.bytes`.
    MessageTooLarge = 10,
    /// The commit's metadata is longer than `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge = 12,
    /// The coordinator is reading its groups; to be tried again.
    CoordinatorLoadInProgress = 14,
    /// There is no coordinator at the moment; to be tried again.
    CoordinatorNotAvailable = 15,
    /// Another broker coordinates the group.
    NotCoordinator = 16,
    /// A topic name that Kafka's rule does not allow.
    InvalidTopicException = 17,
    /// Acks other than -1, 0 and 1.
    InvalidRequiredAcks = 21,
    /// A generation that is not the group's.
    IllegalGeneration = 22,
    /// No protocol that all members speak.
    InconsistentGroupProtocol = 23,
    /// An empty group id.
    InvalidGroupId = 24,
    /// A member that the group does not have.
    UnknownMemberId = 25,
    /// A session timeout outside the broker's bounds.
    InvalidSessionTimeout = 26,
    /// The group rebalances; the member is to join again.
    RebalanceInProgress = 27,
    /// The offsets to commit take too many bytes.
    InvalidCommitOffsetSize = 28,
    /// A timestamp that the topic does not accept.
    InvalidTimestamp = 32,
    /// A version that we do not speak.
    UnsupportedVersion = 35,
    /// A topic of that name exists.
    TopicAlreadyExists = 36,
    /// A partition count outside the bounds.
    InvalidPartitions = 37,
    /// A replication factor other than one.
    InvalidReplicationFactor = 38,
    /// A replica assignment that names another broker.
    InvalidReplicaAssignment = 39,
    /// A configuration that does not exist or has a wrong value.
    InvalidConfig = 40,
    /// A request that contradicts itself.
    InvalidRequest = 42,
    /// Message format before v2.
    UnsupportedForMessageFormat = 43,
    /// Not allowed by the broker's policy.
    PolicyViolation = 44,
    /// A sequence number with a gap before it.
    OutOfOrderSequenceNumber = 45,
    /// A sequence number that is long done with.
    DuplicateSequenceNumber = 46,
    /// An epoch that is not the producer's.
    InvalidProducerEpoch = 47,
    /// A step that the transaction's state does not allow.
    InvalidTxnState = 48,
    /// The client may not use this transactional id.
    TransactionalIdAuthorizationFailed = 53,
    /// The disk failed.
    KafkaStorageError = 56,
    /// No data folder of that path.
    LogDirNotFound = 57,
    /// A producer id of which nothing is known.
    UnknownProducerId = 59,
    /// The group has members.
    NonEmptyGroup = 68,
    /// No group of that id.
    GroupIdNotFound = 69,
    /// A fetch session that does not exist.
    FetchSessionIdNotFound = 70,
    /// A fetch session's epoch out of step.
    InvalidFetchSessionEpoch = 71,
    /// A leader epoch that is over.
    FencedLeaderEpoch = 74,
    /// A leader epoch that has not begun.
    UnknownLeaderEpoch = 75,
    /// A compression that the version does not know.
    UnsupportedCompressionType = 76,
    /// The offset is not yet known.
    OffsetNotAvailable = 78,
    /// The member is to join again with the id that it was given.
    MemberIdRequired = 79,
    /// The group is full.
    GroupMaxSizeReached = 81,
    /// Another member has this instance id now.
    FencedInstanceId = 82,
    /// No replica could lead.
    EligibleLeadersNotAvailable = 83,
    /// The leader is the one that it should be.
    ElectionNotNeeded = 84,
    /// No reassignment that could be ended.
    NoReassignmentInProgress = 85,
    /// The group reads the topic.
    GroupSubscribedToTopic = 86,
    /// A record that the topic does not accept.
    InvalidRecord = 87,
    /// Offsets of an open transaction are pending.
    UnstableOffsetCommit = 88,
    /// A newer producer took over.
    ProducerFenced = 90,
    /// A resource that does not exist.
    ResourceNotFound = 91,
    /// No topic of that id.
    UnknownTopicId = 100,
    /// Topic ids in a session that began with names, or the other way round.
    FetchSessionTopicIdError = 106,
    /// A request for brokers at a controller, or the other way round.
    MismatchedEndpointType = 114,
    /// A kind of endpoint that does not exist.
    UnsupportedEndpointType = 115,
}

impl Wire for ErrorCode {
    const TYPE: Type = Type::Int16;

    fn min_bytes(version: Version) -> usize {
        i16::min_bytes(version)
    }

    fn read(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        let code = reader.i16()?;
        Self::from_code(code).ok_or_else(|| reader.error(Fault::ErrorCode { code }))
    }

    fn write(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.i16(*self as i16);
        Ok(())
    }
}

// The one map from what went wrong to what a client is told.

impl From<&CommitError> for ErrorCode {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::UnknownPartition(_) => Self::UnknownTopicOrPartition,
            CommitError::OutOfOrderSequence { .. } => Self::OutOfOrderSequenceNumber,
            CommitError::InvalidProducerEpoch { .. } => Self::InvalidProducerEpoch,
            // No client's commit has an expectation.
            CommitError::OffsetFenced { .. } => Self::UnknownServerError,
            CommitError::OffsetsFull => Self::InvalidCommitOffsetSize,
            CommitError::Storage(_) => Self::KafkaStorageError,
            // Retried, and then against the broker that comes after.
            CommitError::Stopped => Self::NotLeaderOrFollower,
        }
    }
}

impl From<&BatchError> for ErrorCode {
    fn from(error: &BatchError) -> Self {
        match error {
            // A client that can, splits the batch and tries again.
            BatchError::TooLarge { .. } => Self::MessageTooLarge,
            BatchError::Corrupt { .. } | BatchError::Length { .. } => Self::CorruptMessage,
            BatchError::UnsupportedMagic { magic: 0 | 1 } => Self::InvalidRecord,
            BatchError::UnsupportedMagic { .. } => Self::CorruptMessage,
            // Kafka 4.3 calls this and data that does not decompress an unknown server error.
            BatchError::UnsupportedCompression { .. } => Self::UnsupportedCompressionType,
            BatchError::Record { problem, .. } if is_of_time(problem) => Self::InvalidTimestamp,
            BatchError::Refused { records, .. }
                if records.iter().any(|record| is_of_time(&record.problem)) =>
            {
                Self::InvalidTimestamp
            }
            _ => Self::InvalidRecord,
        }
    }
}

fn is_of_time(problem: &RecordProblem) -> bool {
    matches!(
        problem,
        RecordProblem::Timestamp | RecordProblem::Untimely { .. } | RecordProblem::LogAppendTime
    )
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::UnknownPartition(_) => Self::UnknownTopicOrPartition,
            ReadError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            ReadError::Corrupt(_) => Self::CorruptMessage,
            ReadError::Storage(_) => Self::KafkaStorageError,
        }
    }
}

impl From<&DeleteRecordsError> for ErrorCode {
    fn from(error: &DeleteRecordsError) -> Self {
        match error {
            DeleteRecordsError::UnknownPartition(_) => Self::UnknownTopicOrPartition,
            DeleteRecordsError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            DeleteRecordsError::Policy => Self::PolicyViolation,
            DeleteRecordsError::Storage(_) => Self::KafkaStorageError,
            DeleteRecordsError::Stopped => Self::NotLeaderOrFollower,
        }
    }
}

impl From<&TopicError> for ErrorCode {
    fn from(error: &TopicError) -> Self {
        match error {
            TopicError::Exists(_) => Self::TopicAlreadyExists,
            TopicError::Unknown(_) => Self::UnknownTopicOrPartition,
            TopicError::Collides { .. } => Self::InvalidTopicException,
            TopicError::Partitions { .. } | TopicError::NotMorePartitions { .. } => {
                Self::InvalidPartitions
            }
            TopicError::TooMany => Self::PolicyViolation,
            TopicError::Setting(SettingError::Fixed { .. }) => Self::InvalidRequest,
            TopicError::Setting(_) => Self::InvalidConfig,
            TopicError::Storage(_) => Self::KafkaStorageError,
            TopicError::Stopped => Self::NotLeaderOrFollower,
        }
    }
}

impl From<&GroupError> for ErrorCode {
    fn from(error: &GroupError) -> Self {
        match error {
            GroupError::MemberIdRequired { .. } => Self::MemberIdRequired,
            GroupError::UnknownMember { .. } => Self::UnknownMemberId,
            GroupError::FencedInstance { .. } => Self::FencedInstanceId,
            GroupError::IllegalGeneration { .. } => Self::IllegalGeneration,
            GroupError::RebalanceInProgress { .. } => Self::RebalanceInProgress,
            GroupError::InconsistentProtocol { .. } => Self::InconsistentGroupProtocol,
            GroupError::InvalidSessionTimeout { .. } => Self::InvalidSessionTimeout,
            GroupError::GroupFull { .. } => Self::GroupMaxSizeReached,
            GroupError::NonEmpty => Self::NonEmptyGroup,
            GroupError::MetadataTooLarge { .. } => Self::MessageTooLarge,
            // To be tried again: when there is room, or against the broker that comes after.
            GroupError::TooManyGroups { .. }
            | GroupError::OutOfMemory { .. }
            | GroupError::Stopped => Self::CoordinatorNotAvailable,
        }
    }
}

impl From<&DeleteGroupError> for ErrorCode {
    fn from(error: &DeleteGroupError) -> Self {
        match error {
            DeleteGroupError::Unknown => Self::GroupIdNotFound,
            DeleteGroupError::Group(error) => Self::from(error),
            // As with commits: what fails on the way to the log is the coordinator's to clients.
            DeleteGroupError::Commit(CommitError::Storage(_) | CommitError::Stopped) => {
                Self::NotCoordinator
            }
            DeleteGroupError::Commit(error) => Self::from(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code as i16), Some(code));
        }
        assert_eq!(ErrorCode::from_code(4), None);
    }
}
