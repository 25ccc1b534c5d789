//! The producers: each numbers its values and takes note of what it sends and is told.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream::kafka::messages::ErrorCode;
use millstream::record::{BatchBuilder, Compression, RecordBatch};
use millstream::types::ProducerId;

use super::{Alarm, World};
use crate::client::Client;
use crate::ledger::Sent;

/// A producer, and where it produces.
pub(super) struct Producer {
    number: u64,
    topic: &'static str,
    partition: i32,
    /// Sends each batch until it is told that it is there; a plain one sends it once.
    idempotent: bool,
}

/// All of them, each a thread.
pub(super) const PRODUCERS: [Producer; 6] = [
    Producer { number: 0, topic: "in", partition: 0, idempotent: true },
    Producer { number: 1, topic: "in", partition: 1, idempotent: true },
    Producer { number: 2, topic: "in", partition: 0, idempotent: true },
    Producer { number: 3, topic: "in", partition: 1, idempotent: false },
    Producer { number: 4, topic: "short", partition: 0, idempotent: true },
    Producer { number: 5, topic: "table", partition: 0, idempotent: true },
];

impl Producer {
    /// Whether most of the log is this producer's: of what retention deletes there is to be
    /// enough for segments to be emptied and to go.
    fn is_bulky(&self) -> bool {
        self.topic == "short"
    }
}

/// Records of the compacted topic.
static TABLE: AtomicU64 = AtomicU64::new(0);

/// How many records were acknowledged for a topic that is counted.
pub(super) fn sent(topic: &str) -> u64 {
    assert_eq!(topic, "table");
    TABLE.load(Ordering::Relaxed)
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A batch of these records with the present time.
pub(super) fn build(
    records: &[Sent],
    producer: Option<(ProducerId, i32)>,
    compression: Compression,
) -> RecordBatch {
    let mut builder = BatchBuilder::new(compression);
    if let Some((producer, sequence)) = producer {
        builder.producer(producer, sequence);
    }
    for Sent { key, value } in records {
        let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
        builder.push(now_ms(), bytes(key).as_deref(), bytes(value).as_deref(), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// Records for this producer's topic, numbered from `number` on.
fn records(who: &Producer, number: u64, random: &mut fastrand::Rng) -> Vec<Sent> {
    let count = random.u64(1..40);
    let record = |index: u64| {
        let number = number + index;
        let letter = ['x', 'x', 'x', 'e', 'x', '2', 'y', 'n', 'y', 'x'][number as usize % 10];
        let padding = match random.u8(..50) {
            _ if who.is_bulky() => random.usize(..10_000),
            0 => random.usize(..20_000),
            _ => 0,
        };
        let value = format!("{letter} producer {} number {number} {:.<padding$}", who.number, "");
        let key = (who.topic == "table").then(|| format!("key {}", random.u8(..20)));
        // The first has a value, so that its batch is recognized.
        let is_empty = index > 0 && random.u8(..20) == 0;
        Sent { key, value: (!is_empty).then_some(value) }
    };
    (0..count).map(record).collect()
}

/// Produces until told to stop.
pub(super) fn run(world: &World, who: &Producer) {
    let _alarm = Alarm(world);
    let mut random = fastrand::Rng::with_seed(who.number);
    let place = (who.topic.to_owned(), who.partition);
    let (mut client, mut id) = (None::<Client>, None);
    let (mut sequence, mut number) = (0, 0);
    while !world.stop.load(Ordering::Relaxed) {
        if world.acknowledged.load(Ordering::Relaxed) >= world.allowed.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let records = records(who, number, &mut random);
        let (count, in_table) = (records.len(), who.topic == "table");
        number += count as u64;
        let compression = match random.u8(..3) {
            1 if !who.is_bulky() => Compression::Lz4,
            2 if !who.is_bulky() => Compression::Zstd,
            _ => Compression::None,
        };
        let batch = world.told().send(place.clone(), who.number, &records);
        let mut attempt = || -> io::Result<i64> {
            let mut connected = match client.take() {
                Some(connected) => connected,
                None => world.connect()?,
            };
            let producer = match (who.idempotent, id) {
                (false, _) => None,
                (true, Some(id)) => Some((id, sequence)),
                (true, None) => Some((*id.insert(connected.producer_id()?), sequence)),
            };
            let built = build(&records, producer, compression);
            let answer = connected.produce(who.topic, who.partition, &built)?;
            let code = answer.error_code;
            assert_eq!(code, ErrorCode::None, "producer {}, number {number}", who.number);
            client = Some(connected);
            Ok(answer.base_offset)
        };
        let offset = if who.idempotent {
            world.persist("a batch is not acknowledged", attempt)
        } else {
            // Whether it is there nobody knows: all of it or nothing.
            attempt().ok()
        };
        let Some(offset) = offset else { continue };
        sequence += i32::try_from(count).unwrap();
        world.told().ledger.acknowledge(batch, offset).unwrap();
        world.acknowledged.fetch_add(count as u64, Ordering::Relaxed);
        if in_table {
            TABLE.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
