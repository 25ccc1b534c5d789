//! Producing and consuming over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};

use super::Api;
use super::at_most::AtMost;
use super::error::{ApiError, not_as_expected};
use super::produce::{NewRecord, ProduceError, append};
use super::shapes::{Consumed, Position, Produced, ProducedAt, RecordIn, RecordView};
use crate::broker::{FetchPartition, FetchRequest, NewTopic, PartitionRead, Topic};
use crate::limits::{HTTP_RECORDS, HTTP_RESPONSE_BYTES, HTTP_WAIT_MS};
use crate::record::{BatchError, Record, split_batches};
use crate::types::{Offset, PartitionIndex, TopicName, TopicPartition};

/// `POST /v1/topics/{topic}/records`
pub(super) async fn produce(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Produced>, ApiError> {
    let records = parse_records(&body?)?;
    let topic = find_or_create(&api, &name).await?;
    let placed =
        append(&api.service.broker, &topic, records).await.map_err(|error| match error {
            ProduceError::Commit(error) => error.into(),
            error => ApiError::bad_request(error),
        })?;
    let offsets =
        placed.into_iter().map(|at| ProducedAt { partition: at.partition, offset: at.offset });
    Ok(Json(Produced { offsets: offsets.collect() }))
}

async fn find_or_create(api: &Api, name: &str) -> Result<Arc<Topic>, ApiError> {
    let broker = &api.service.broker;
    if let Some(topic) = broker.topic(name) {
        return Ok(topic);
    }
    if !api.service.options.auto_create_topics {
        return Err(ApiError::unknown_topic(name));
    }
    let name = TopicName::new(name).map_err(ApiError::bad_request)?;
    let new = NewTopic { name, partitions: None, config: Default::default() };
    Ok(broker.topic_or_create(new).await?)
}

/// A JSON array of records, or one record a line.
pub(super) fn parse_records(body: &Bytes) -> Result<Vec<NewRecord>, ApiError> {
    let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let bad =
        |index: usize, error: String| ApiError::bad_request(format!("record {index}: {error}"));
    let records: Vec<RecordIn> = if start == Some(&b'[') {
        parse_array(body)?
    } else {
        let stream = serde_json::Deserializer::from_slice(body).into_iter::<RecordIn>();
        let numbered = stream.take(HTTP_RECORDS + 1).enumerate();
        numbered
            .map(|(index, record)| record.map_err(|error| bad(index, error.to_string())))
            .collect::<Result<_, _>>()?
    };
    if records.len() > HTTP_RECORDS {
        return Err(too_many());
    }
    let numbered = records.into_iter().enumerate();
    numbered.map(|(index, r)| NewRecord::try_from(r).map_err(|error| bad(index, error))).collect()
}

fn parse_array(body: &Bytes) -> Result<Vec<RecordIn>, ApiError> {
    let mut records = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let visitor = AtMost { most: HTTP_RECORDS, items: &mut records };
    let ended = json.deserialize_seq(visitor).and_then(|()| json.end());
    match ended {
        Ok(()) => Ok(records),
        Err(_) if records.len() > HTTP_RECORDS => Err(too_many()),
        Err(error) => Err(not_as_expected(&error)),
    }
}

fn too_many() -> ApiError {
    let error = format!("more than {HTTP_RECORDS} records in one request");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}

/// Query of `GET /v1/topics/{topic}/records`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumeQuery {
    /// One partition; all if not given.
    partition: Option<PartitionIndex>,
    /// A number, `earliest` (the default) or `latest`; a number needs a partition.
    offset: Option<String>,
    /// Several partitions with their offsets instead, as `0:17,2:40`.
    from: Option<String>,
    /// Most records; 500 if not given.
    max: Option<usize>,
    /// How long to wait for the first record, milliseconds; not at all if not given.
    wait_ms: Option<u64>,
}

/// `GET /v1/topics/{topic}/records`
pub(super) async fn consume(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Result<Query<ConsumeQuery>, QueryRejection>,
) -> Result<Json<Consumed>, ApiError> {
    const DEFAULT_RECORDS: usize = 500;
    let Query(query) = query?;
    let broker = &api.service.broker;
    let topic = broker.topic(&name).ok_or_else(|| ApiError::unknown_topic(&name))?;
    let positions = positions(&topic, &query)?;
    let wait_ms = query.wait_ms.unwrap_or(0).min(HTTP_WAIT_MS);
    let request = FetchRequest {
        partitions: positions
            .iter()
            .map(|(partition, offset)| part(&topic, *partition, *offset))
            .collect(),
        min_bytes: usize::from(wait_ms > 0),
        max_bytes: HTTP_RESPONSE_BYTES,
        max_wait: Duration::from_millis(wait_ms),
    };
    let mut stopping = api.stopping.clone();
    let reads = tokio::select! {
        reads = broker.fetch(request) => reads,
        _ = stopping.wait_for(|stopping| *stopping) => {
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping"));
        }
    };
    let reads: Vec<PartitionRead> = reads.into_iter().collect::<Result<_, _>>()?;
    let max = query.max.unwrap_or(DEFAULT_RECORDS).min(HTTP_RECORDS);
    // Decompressing may take its time.
    let decoded = tokio::task::spawn_blocking(move || decode(&positions, &reads, max)).await;
    let failed = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let consumed = decoded.map_err(|error| failed(error.to_string()))?;
    consumed.map(Json).map_err(|error| failed(format!("a stored batch is unreadable: {error}")))
}

fn part(topic: &Topic, partition: PartitionIndex, offset: Offset) -> FetchPartition {
    let partition = TopicPartition { topic: topic.id(), partition };
    FetchPartition { partition, offset, max_bytes: HTTP_RESPONSE_BYTES }
}

/// Which partitions are read, from where.
fn positions(
    topic: &Topic,
    query: &ConsumeQuery,
) -> Result<Vec<(PartitionIndex, Offset)>, ApiError> {
    if let Some(from) = &query.from {
        if query.partition.is_some() || query.offset.is_some() {
            return Err(ApiError::bad_request("from excludes partition and offset"));
        }
        return parse_from(topic, from);
    }
    let end = |index: PartitionIndex, latest: bool| {
        let partition = topic.partition(index);
        partition.map_or(0, |p| if latest { p.high_watermark() } else { p.log_start_offset() })
    };
    let partitions = match query.partition {
        Some(partition) => partition..partition.saturating_add(1),
        None => 0..topic.partitions(),
    };
    match query.offset.as_deref() {
        None | Some("earliest") => Ok(partitions.map(|p| (p, end(p, false))).collect()),
        Some("latest") => Ok(partitions.map(|p| (p, end(p, true))).collect()),
        Some(number) => {
            let bad = || ApiError::bad_request("offset is a number, earliest or latest");
            let offset = number.parse().map_err(|_| bad())?;
            let needed = || ApiError::bad_request("an offset needs a partition");
            Ok(vec![(query.partition.ok_or_else(needed)?, offset)])
        }
    }
}

fn parse_from(topic: &Topic, from: &str) -> Result<Vec<(PartitionIndex, Offset)>, ApiError> {
    let bad = || ApiError::bad_request("from is partitions with offsets, as 0:17,2:40");
    let mut positions = Vec::new();
    for part in from.split(',') {
        let (partition, offset) = part.split_once(':').ok_or_else(bad)?;
        let partition: PartitionIndex = partition.parse().map_err(|_| bad())?;
        let offset = offset.parse().map_err(|_| bad())?;
        // So the list is at most as long as the topic has partitions.
        if positions.iter().any(|(other, _)| *other == partition)
            || topic.partition(partition).is_none()
        {
            return Err(ApiError::bad_request(format!(
                "partition {partition} is given twice or is none of {}",
                topic.name()
            )));
        }
        positions.push((partition, offset));
    }
    Ok(positions)
}

/// The records of what was read, up to `max` and to a size, and where to go on.
fn decode(
    positions: &[(PartitionIndex, Offset)],
    reads: &[PartitionRead],
    max: usize,
) -> Result<Consumed, BatchError> {
    let mut room = Room { records: max, bytes: HTTP_RESPONSE_BYTES };
    let mut records = Vec::new();
    let mut next = Vec::with_capacity(positions.len());
    for ((partition, offset), read) in positions.iter().zip(reads) {
        next.push(Position {
            partition: *partition,
            next_offset: decode_partition(*partition, *offset, read, &mut room, &mut records)?,
            log_start_offset: read.log_start_offset,
            high_watermark: read.high_watermark,
        });
    }
    Ok(Consumed { records, positions: next })
}

/// What an answer still has room for. The first record always has.
struct Room {
    records: usize,
    bytes: usize,
}

fn decode_partition(
    partition: PartitionIndex,
    from: Offset,
    read: &PartitionRead,
    room: &mut Room,
    records: &mut Vec<RecordView>,
) -> Result<Offset, BatchError> {
    let mut next = from;
    for batch in read.batches.iter().cloned().flat_map(split_batches) {
        let batch = batch?;
        for record in batch.records()? {
            if room.records == 0 || room.bytes == 0 {
                return Ok(next);
            }
            let record = record?;
            if record.offset >= from {
                room.records -= 1;
                room.bytes = room.bytes.saturating_sub(record_bytes(&record));
                next = record.offset + 1;
                records.push(RecordView::new(partition, &record));
            }
        }
        next = next.max(batch.next_offset());
    }
    Ok(next)
}

fn record_bytes(record: &Record) -> usize {
    let bytes = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(|h| h.key.len() + bytes(&h.value)).sum();
    bytes(&record.key) + bytes(&record.value) + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD_HEADERS;

    fn array(records: usize) -> Bytes {
        Bytes::from(format!("[{}]", vec![r#"{"value":"v"}"#; records].join(",")))
    }

    #[test]
    fn an_array_is_read_no_further_than_it_may_be_long() {
        assert_eq!(parse_records(&array(HTTP_RECORDS)).unwrap().len(), HTTP_RECORDS);
        // What stands behind the first record too many is not looked at.
        let mut long = array(HTTP_RECORDS + 1).to_vec();
        long.pop();
        long.extend_from_slice(b", nonsense");
        let error = parse_records(&Bytes::from(long)).unwrap_err();
        assert!(format!("{error:?}").contains("413"), "{error:?}");
    }

    #[test]
    fn an_array_with_something_behind_it_is_refused() {
        let error = parse_records(&Bytes::from_static(b"[] []")).unwrap_err();
        assert!(format!("{error:?}").contains("trailing characters"), "{error:?}");
    }

    #[test]
    fn headers_are_counted_while_they_are_read() {
        let header = r#"{"key":"k"}"#;
        let record = |headers: usize| {
            let headers = vec![header; headers].join(",");
            Bytes::from(format!(r#"[{{"headers":[{headers}]}}]"#))
        };
        let records = parse_records(&record(RECORD_HEADERS)).unwrap();
        assert_eq!(records[0].headers.len(), RECORD_HEADERS);
        let error = parse_records(&record(RECORD_HEADERS + 1)).unwrap_err();
        assert!(format!("{error:?}").contains("more than 10000"), "{error:?}");
    }
}
