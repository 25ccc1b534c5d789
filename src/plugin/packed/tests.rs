//! The packed bytes: the examples that strangers are given, and answers that are none.

use serde::Deserialize;

use super::*;

const EXAMPLES: &str = include_str!("../../../tests/fixtures/packed.json");

#[derive(Deserialize)]
struct Examples {
    batches: Vec<BatchExample>,
    answers: Vec<AnswerExample>,
    malformed: Vec<MalformedExample>,
}

#[derive(Deserialize)]
struct BatchExample {
    name: String,
    records: Vec<RecordExample>,
    bytes: String,
}

#[derive(Deserialize)]
struct AnswerExample {
    name: String,
    kind: Option<String>,
    records: usize,
    answer: String,
    results: Vec<ResultExample>,
}

#[derive(Deserialize)]
struct MalformedExample {
    name: String,
    kind: Option<String>,
    records: usize,
    answer: String,
    error: String,
}

#[derive(Deserialize, Clone)]
struct RecordExample {
    #[serde(default)]
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
    partition: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ResultExample {
    Keep,
    Drop,
    Emit(Vec<RecordExample>),
    Route(Vec<String>),
    Fail(String, String),
}

impl RecordExample {
    fn record(&self) -> Record {
        let header = |(name, value): &(String, Option<String>)| Header {
            key: Bytes::from(name.clone()),
            value: value.clone().map(Bytes::from),
        };
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.clone().map(Bytes::from),
            value: self.value.clone().map(Bytes::from),
            headers: self.headers.iter().map(header).collect(),
        }
    }
}

impl ResultExample {
    fn result(&self, offset: i64) -> Result<Verdict, Failure> {
        Ok(match self {
            Self::Keep => Verdict::Keep,
            Self::Drop => Verdict::Drop,
            Self::Route(names) => {
                Verdict::Route(names.iter().map(|name| Arc::from(name.as_str())).collect())
            }
            Self::Emit(records) => Verdict::Emit(
                records
                    .iter()
                    .map(|example| Emitted {
                        record: Record { offset, ..example.record() },
                        partition: example.partition,
                    })
                    .collect(),
            ),
            Self::Fail(reason, text) => {
                let reason = match reason.as_str() {
                    "bad-message" => FailureReason::BadMessage,
                    _ => FailureReason::Failed,
                };
                return Err(Failure::new(reason, text.as_str()));
            }
        })
    }
}

fn examples() -> Examples {
    serde_json::from_str(EXAMPLES).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn kind(name: Option<&str>) -> Option<PluginKind> {
    name.map(|name| match name {
        "filter" => PluginKind::Filter,
        "transformer" => PluginKind::Transformer,
        "router" => PluginKind::Router,
        other => panic!("{other}"),
    })
}

fn record(offset: i64) -> Record {
    Record { offset, timestamp: 1, key: None, value: Some(Bytes::from("v")), headers: Vec::new() }
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|i| record(100 + i as i64)).collect()
}

fn decoded(
    answer: &[u8],
    count: usize,
    kind: Option<PluginKind>,
    limits: &Limits,
) -> Result<Processed, Malformed> {
    let mut out = vec![Ok(Verdict::Drop)];
    let result = decode(answer.to_vec(), &records(count), Terms { limits, kind }, &mut out);
    if result.is_err() {
        assert_eq!(out.len(), 1, "nothing is left of an answer that is none");
    }
    result?;
    Ok(out.split_off(1))
}

fn free(answer: &[u8], count: usize) -> Result<Processed, Malformed> {
    decoded(answer, count, None, &Limits::default())
}

fn keep(index: u32) -> Vec<u8> {
    [&[1][..], &index.to_le_bytes()].concat()
}

fn emit_of(index: u32, value: usize, headers: u32) -> Vec<u8> {
    let size = (FIXED + value + HEADER * headers as usize) as u32;
    let mut out = [&[2][..], &index.to_le_bytes(), &(-1_i32).to_le_bytes()].concat();
    out.extend(size.to_le_bytes());
    out.extend(headers.to_le_bytes());
    out.extend([0; 16]);
    out.extend((-1_i32).to_le_bytes());
    out.extend((value as i32).to_le_bytes());
    out.extend(vec![0; value + HEADER * headers as usize]);
    out
}

#[test]
fn batches_are_written_as_the_examples_say() {
    for example in examples().batches {
        let records: Vec<Record> = example.records.iter().map(RecordExample::record).collect();
        let batch = Batch::of(&records, (100, 1 << 20)).unwrap();
        assert_eq!(batch.records().len(), records.len(), "{}", example.name);
        assert_eq!(batch.to_vec(), unhex(&example.bytes), "{}", example.name);
    }
}

#[test]
fn answers_are_read_as_the_examples_say() {
    for example in examples().answers {
        let kind = kind(example.kind.as_deref());
        let limits = Limits::default();
        let found = decoded(&unhex(&example.answer), example.records, kind, &limits).unwrap();
        let results = (100..).zip(&example.results).map(|(offset, result)| result.result(offset));
        assert_eq!(found, results.collect::<Vec<_>>(), "{}", example.name);
    }
}

#[test]
fn malformed_answers_are_told_apart_as_the_examples_say() {
    for example in examples().malformed {
        let kind = kind(example.kind.as_deref());
        let limits = Limits::default();
        let error = decoded(&unhex(&example.answer), example.records, kind, &limits).unwrap_err();
        let expected = format!("the plugin's answer cannot be read: {}", example.error);
        assert_eq!(error.to_string(), expected, "{}", example.name);
    }
}

#[test]
fn a_batch_ends_where_it_is_full_and_before_what_no_plugin_is_shown() {
    let mut records = records(5);
    let written = |records: &[Record], most| {
        let batch = Batch::of(records, most).unwrap();
        let bytes = batch.to_vec();
        assert_eq!(usize::from(bytes[0]), batch.records().len());
        (batch.records().len(), bytes.len())
    };
    assert_eq!(written(&records, (3, 1 << 20)).0, 3);
    assert_eq!(written(&records, (5, 4 + 2 * 33)), (2, 4 + 2 * 33));
    assert_eq!(written(&records, (5, 1)).0, 1, "at least one");
    records[2].headers.push(Header { key: Bytes::from_static(b"\xff"), value: None });
    assert_eq!(written(&records, (5, 1 << 20)), (2, 4 + 2 * 33));
    let failure = Batch::of(&records[2..], (5, 1 << 20)).err().unwrap();
    assert_eq!(failure.reason, FailureReason::BadMessage);
}

#[test]
fn a_limit_fails_the_record_that_is_over_it_and_no_other() {
    let limits = Limits { output_records: 3, output_bytes: 1_000, ..Limits::default() };
    let over = |limit, asked, allowed| Err(Failure::over(LimitHit::new(limit, asked, allowed)));
    let four = [emit_of(0, 1, 0), keep(0), keep(0), keep(0), emit_of(0, 2, 0), keep(1)].concat();
    let found = decoded(&four, 2, None, &limits).unwrap();
    assert_eq!(found, [over(LimitKind::OutputRecords, 4, 3), Ok(Verdict::Keep)]);

    let asked = size_of::<Record>() + 2_000;
    let long = [keep(0), emit_of(1, 2_000, 0), emit_of(1, 1, 0), keep(2)].concat();
    let found = decoded(&long, 3, None, &limits).unwrap();
    let bytes = over(LimitKind::OutputBytes, asked, 1_000);
    assert_eq!(found, [Ok(Verdict::Keep), bytes, Ok(Verdict::Keep)]);

    let headers = [emit_of(0, 0, 10_001), keep(1)].concat();
    let found = decoded(&headers, 2, None, &Limits::default()).unwrap();
    assert_eq!(found[0], over(LimitKind::OutputHeaders, 10_001, 10_000));
    assert_eq!(found[1], Ok(Verdict::Keep));
}

#[test]
fn an_answer_cannot_multiply_what_it_holds() {
    // Five bytes each, a record each.
    let limits = Limits { output_records: 3, output_bytes: 1_000, ..Limits::default() };
    let answer: Vec<u8> = (0..1_000).flat_map(|i| [keep(i), keep(i), keep(i)].concat()).collect();
    let refused = decoded(&answer, 1_000, None, &limits).err();
    assert!(matches!(refused, Some(Malformed::TooLarge(_))), "{refused:?}");
    // Names that are given and never used.
    let answer: Vec<u8> = (0..4).flat_map(|_| [5, 0, 0, 0, 0]).collect();
    let error = decoded(&answer, 1, None, &limits).unwrap_err();
    assert!(matches!(error, Malformed::TooLarge(_)), "{error}");
}

#[test]
fn whatever_bytes_an_answer_has_it_is_read_or_refused() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let answers: Vec<Vec<u8>> =
        examples().answers.iter().map(|example| unhex(&example.answer)).collect();
    for _ in 0..20_000 {
        let mut answer = answers[random.usize(..answers.len())].clone();
        answer.extend(&answers[random.usize(..answers.len())]);
        for _ in 0..random.usize(..4) {
            let at = random.usize(..answer.len().max(1));
            match answer.get_mut(at) {
                Some(byte) if random.bool() => *byte = random.u8(..),
                Some(byte) => *byte ^= 1 << random.u32(..8),
                None => {}
            }
        }
        answer.truncate(random.usize(..=answer.len()));
        if let Ok(processed) = free(&answer, 4) {
            assert_eq!(processed.len(), 4);
        }
    }
}
