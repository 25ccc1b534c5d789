//! The bytes, against the examples that the broker is tested with.

use serde_json::Value;

use super::*;
use crate::output::Message;
use crate::testing::{self, OwnedRecord};
use crate::{Error, context};

const EXAMPLES: &str = include_str!("../../../../tests/fixtures/packed.json");

fn examples(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(EXAMPLES).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn unhex(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn bytes(text: &Value) -> Option<&[u8]> {
    text.as_str().map(str::as_bytes)
}

#[test]
fn batches_are_read_as_the_examples_say() {
    for example in examples("batches") {
        let batch = unhex(&example["bytes"]);
        let expected = example["records"].as_array().unwrap();
        assert_eq!(batch::records(&batch).count(), expected.len());
        for (record, expected) in batch::records(&batch).zip(expected) {
            assert_eq!(Some(record.offset()), expected["offset"].as_i64());
            assert_eq!(Some(record.timestamp_ms()), expected["timestamp"].as_i64());
            assert_eq!(record.key(), bytes(&expected["key"]));
            assert_eq!(record.value(), bytes(&expected["value"]));
            let headers: Vec<(&str, Option<&[u8]>)> =
                record.headers().map(|header| (header.name, header.value)).collect();
            let expected = expected["headers"].as_array().unwrap();
            let expected: Vec<(&str, Option<&[u8]>)> =
                expected.iter().map(|h| (h[0].as_str().unwrap(), bytes(&h[1]))).collect();
            assert_eq!(headers, expected);
        }
    }
}

/// Answers to what the examples' results say, by the means of a plugin.
struct Scripted(Value);

impl Plugin for Scripted {
    fn new() -> Result<Self> {
        Err(Error::failed("not made here"))
    }

    fn entry(&mut self, record: Record<'_>, index: u32, answer: &mut Entry<'_>) -> Result<()> {
        let result = &self.0[index as usize];
        let mut out = Output { answer: answer.0, index, record };
        if result == "keep" {
            out.keep();
        }
        for made in result["emit"].as_array().into_iter().flatten() {
            let mut message = Message::new(made["timestamp"].as_i64().unwrap());
            message = bytes(&made["key"]).map_or(message.clone(), |key| message.key(key));
            message = bytes(&made["value"]).map_or(message.clone(), |value| message.value(value));
            for header in made["headers"].as_array().unwrap() {
                message = message.header(header[0].as_str().unwrap(), bytes(&header[1]));
            }
            if let Some(partition) = made["partition"].as_u64() {
                message = message.partition(partition as u32);
            }
            out.emit(&message);
        }
        for name in result["route"].as_array().into_iter().flatten() {
            out.answer.forward(index, name.as_str().unwrap());
        }
        match result["fail"][0].as_str() {
            // What was written before an error has no effect.
            Some(reason) => {
                out.keep();
                out.answer.forward(index, "forgotten");
                let text = result["fail"][1].as_str().unwrap();
                Err(if reason == "failed" { Error::failed(text) } else { Error::bad_message(text) })
            }
            None => Ok(()),
        }
    }
}

#[test]
fn answers_are_written_as_the_examples_say() {
    let mut compared = 0;
    for example in examples("answers") {
        let count = example["records"].as_u64().unwrap() as u32;
        let mut batch = count.to_le_bytes().to_vec();
        (0..count).for_each(|_| batch.extend(testing::record("v").view().bytes()));
        let slot = Slot(RefCell::new(Some(Ok(Scripted(example["results"].clone())))));
        // A plugin writes no offset, and gives each name once.
        let other = ["its offset is not read", "an output once, however often it is named"];
        if !other.contains(&example["name"].as_str().unwrap()) {
            assert_eq!(slot.process(&batch), unhex(&example["answer"]), "{}", example["name"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 7);
}

struct Refusing;

impl Filter for Refusing {
    fn new() -> Result<Self> {
        Err(Error::failed("never"))
    }

    fn keep(&mut self, _: Record<'_>) -> Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_plugin_that_cannot_be_made_fails_every_record() {
    let batch = [&2_u32.to_le_bytes(), testing::record("a").view().bytes()].concat();
    let batch = [&batch[..], testing::record("b").view().bytes()].concat();
    let answer = Slot::<Filtering<Refusing>>::new().process(&batch);
    let fail = |index: u8| [&[4, index, 0, 0, 0, 1, 5, 0, 0, 0], &b"never"[..]].concat();
    assert_eq!(answer, [fail(0), fail(1)].concat());
}

struct Edit;

impl Transform for Edit {
    fn new() -> Result<Self> {
        Ok(Self)
    }

    fn transform(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.value("new");
        out.emit(&Message::of(record).no_key().header("added", None).partition(3));
        let failed = out.emit_with(&Message::new(5), |bytes| {
            bytes.extend_from_slice(b"half");
            Err(Error::failed("half"))
        });
        assert!(failed.is_err());
        out.emit_with(&Message::new(5).value("other").no_headers(), |bytes| {
            bytes.extend_from_slice(b"written");
            Ok(())
        })?;
        out.keep();
        Ok(())
    }
}

#[test]
fn what_is_not_changed_stays() {
    let key: Option<&[u8]> = Some(b"key");
    let source = OwnedRecord::new(key, Some(b"old")).header("h", Some(b"1")).header("h", None);
    let source = source.offset(9).timestamp_ms(-7);
    let made = testing::transform(&mut Edit, &source).unwrap();
    let header = |record: OwnedRecord| record.header("h", Some(b"1")).header("h", None);
    let first = header(OwnedRecord::new(key, Some(b"new"))).offset(9).timestamp_ms(-7);
    let mut second = header(OwnedRecord::new(None, Some(b"old"))).header("added", None);
    second.partition = Some(3);
    let third = OwnedRecord::new(None, Some(b"written")).offset(9).timestamp_ms(5);
    assert_eq!(made, [first, second.offset(9).timestamp_ms(-7), third, source]);
}

struct ByKey;

impl Route for ByKey {
    fn new() -> Result<Self> {
        Ok(Self)
    }

    fn route(&mut self, record: Record<'_>, outputs: &mut Outputs<'_>) -> Result<()> {
        for byte in record.key().unwrap_or_default() {
            outputs.to(&(*byte as char).to_string());
        }
        Ok(())
    }
}

#[test]
fn a_router_names_outputs() {
    let of = |key| testing::route(&mut ByKey, &OwnedRecord::new(key, None)).unwrap();
    assert_eq!(of(Some(b"aba")), ["a", "b"]);
    assert!(of(None).is_empty());
    assert_eq!(context::step(), "1-test");
}
