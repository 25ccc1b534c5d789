//! What a topic's settings ask of the batches that are appended to it.

use super::Broker;
use super::topics::Topic;
use crate::limits::BATCH_BYTES_MAX;
use crate::record::{BatchError, RecordBatch, Terms, TimestampType, Timestamps};
use crate::types::TimestampMs;

impl Topic {
    /// What it asks of a batch that is appended now.
    pub fn terms(&self, now_ms: TimestampMs) -> Terms {
        let config = self.config();
        let timestamps = match config.timestamp_type {
            TimestampType::CreateTime => Timestamps::Create {
                earliest: now_ms.saturating_sub(config.timestamp_before_max_ms),
                latest: now_ms.saturating_add(config.timestamp_after_max_ms),
            },
            TimestampType::LogAppendTime => Timestamps::LogAppend,
        };
        Terms {
            max_bytes: config.max_message_bytes.min(BATCH_BYTES_MAX),
            keys: config.cleanup_policy.compact,
            timestamps,
            codec: config.compression,
        }
    }

    /// Checks a batch to be appended now, and returns it as it is to be stored. Every batch of a
    /// commit has gone through here. What `min.insync.replicas` asks for is not looked at: Kafka
    /// asks for no more replicas than a partition has, and here each has one.
    pub fn accept(
        &self,
        batch: RecordBatch,
        now_ms: TimestampMs,
    ) -> Result<RecordBatch, BatchError> {
        batch.accept(&self.terms(now_ms))
    }
}

impl Broker {
    /// [`RecordBatch::accept`]; what takes much work is done off the runtime's threads, a batch for
    /// each processor at a time.
    pub async fn accept(
        &self,
        batch: RecordBatch,
        terms: &Terms,
    ) -> Result<RecordBatch, BatchError> {
        if let Some(done) = batch.accept_at_once(terms) {
            return done;
        }
        let _turn = self.shared.checks.acquire().await;
        let terms = terms.clone();
        self.blocking(move |_| batch.accept(&terms)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::world::World;
    use super::*;
    use crate::record::{BatchBuilder, Compression};
    use crate::storage::TopicRow;
    use crate::types::{TopicId, TopicName};

    #[tokio::test]
    async fn a_large_batch_does_not_hold_up_the_runtime() {
        let world = World::new(1);
        let batch = |bytes: usize| {
            let mut builder = BatchBuilder::new(Compression::Zstd);
            builder.push(1, None, Some(&vec![7; bytes]), &[]).unwrap();
            builder.build().unwrap()
        };
        let terms = Terms::default();
        let small = world.broker.accept(batch(1_000), &terms).now_or_never().unwrap().unwrap();
        assert_eq!(small.as_bytes(), batch(1_000).as_bytes());
        let mut accepting = Box::pin(world.broker.accept(batch(1 << 20), &terms));
        assert!(accepting.as_mut().now_or_never().is_none(), "it was done where it was asked for");
        assert_eq!(accepting.await.unwrap().as_bytes(), batch(1 << 20).as_bytes());
    }

    fn terms(settings: &[(&str, &str)]) -> Terms {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let row = TopicRow {
            name: TopicName::new("t").unwrap(),
            id: TopicId::random(),
            partitions: 1,
            config: settings.iter().map(owned).collect(),
            created_ms: 0,
        };
        Topic::new(row, |_| (0, 0)).terms(1_000_000_000_000)
    }

    #[test]
    fn without_settings_a_record_may_be_as_old_as_it_likes() {
        let (hour, now) = (3_600_000, 1_000_000_000_000);
        let earliest = now - i64::MAX;
        let timestamps = Timestamps::Create { earliest, latest: now + hour };
        let expected = Terms { timestamps, ..Terms::default() };
        assert_eq!(terms(&[]), expected);
    }

    #[test]
    fn settings_are_terms() {
        let set = terms(&[
            ("cleanup.policy", "compact,delete"),
            ("max.message.bytes", "2147483647"),
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.type", "gzip"),
        ]);
        let codec = Some(crate::record::Compression::Gzip.into());
        let timestamps = Timestamps::LogAppend;
        assert_eq!(set, Terms { max_bytes: BATCH_BYTES_MAX, keys: true, timestamps, codec });
    }
}
