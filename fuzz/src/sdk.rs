//! Records as the broker writes them for a guest, a guest written with the SDK, and its answer as
//! the broker reads it: each record's verdict is what the guest meant.

use bytes::Bytes;
use millstream::fuzzing::{self, Target};
use millstream::plugin::{Emitted, FailureReason, Verdict};
use millstream::record::{Header, Record};
use millstream_plugin as sdk;

/// The target.
pub const TARGET: Target = Target { name: "sdk", run, bytes: (256, 1 << 20) };

fn run(data: &[u8]) {
    let records = fuzzing::records(data);
    // A record that no plugin can be shown ends the batch.
    let Some((shown, batch)) = fuzzing::show(&records) else { return };
    let records = &records[..shown];
    let filter = sdk::Slot::<sdk::Filtering<Kind>>::new().process(&batch);
    let transformer = sdk::Slot::<sdk::Transforming<Kind>>::new().process(&batch);
    let router = sdk::Slot::<sdk::Routing<Kind>>::new().process(&batch);
    for (answer, meant) in
        [(filter, kept as fn(&Record) -> _), (transformer, made), (router, routed)]
    {
        let verdicts = fuzzing::answer(answer, records).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(verdicts.len(), records.len());
        for (verdict, record) in verdicts.into_iter().zip(records) {
            let verdict = verdict.map_err(|failure| (failure.reason, failure.message));
            assert_eq!(verdict, meant(record), "{record:?}");
        }
    }
}

type Meant = Result<Verdict, (FailureReason, String)>;

/// What a guest does with a record: its timestamp says it.
fn choice(timestamp: i64) -> i64 {
    (timestamp >> 32) & 7
}

struct Kind;

impl sdk::Filter for Kind {
    fn new() -> sdk::Result<Self> {
        Ok(Self)
    }

    fn keep(&mut self, record: sdk::Record<'_>) -> sdk::Result<bool> {
        match choice(record.timestamp_ms()) {
            0 => Err(sdk::Error::bad_message("bad")),
            1 => Err(sdk::Error::failed("failed")),
            chosen => Ok(chosen > 4),
        }
    }
}

fn kept(record: &Record) -> Meant {
    match choice(record.timestamp) {
        0 => Err((FailureReason::BadMessage, "bad".to_owned())),
        1 => Err((FailureReason::Failed, "failed".to_owned())),
        chosen if chosen > 4 => Ok(Verdict::Keep),
        _ => Ok(Verdict::Drop),
    }
}

impl sdk::Transform for Kind {
    fn new() -> sdk::Result<Self> {
        Ok(Self)
    }

    fn transform(
        &mut self,
        record: sdk::Record<'_>,
        out: &mut sdk::Output<'_>,
    ) -> sdk::Result<()> {
        match choice(record.timestamp_ms()) {
            0 => return Err(sdk::Error::bad_message("bad")),
            1 => {
                // What was written before an error has no effect.
                out.keep();
                return Err(sdk::Error::failed("failed"));
            }
            2 => out.keep(),
            3 => {}
            // Written field by field, from what the SDK has read.
            4 => {
                let mut message = sdk::Message::new(record.timestamp_ms());
                message = record.key().map_or(message.clone(), |key| message.key(key));
                message = record.value().map_or(message.clone(), |value| message.value(value));
                for header in record.headers() {
                    message = message.header(header.name, header.value);
                }
                out.emit(&message.partition(9));
            }
            _ => {
                out.keep();
                out.emit(&sdk::Message::of(record).no_headers().header("", None).no_key());
                out.value("other");
            }
        }
        Ok(())
    }
}

fn made(record: &Record) -> Meant {
    let plain = Emitted { record: record.clone(), partition: None };
    match choice(record.timestamp) {
        0 => Err((FailureReason::BadMessage, "bad".to_owned())),
        1 => Err((FailureReason::Failed, "failed".to_owned())),
        2 => Ok(Verdict::Keep),
        3 => Ok(Verdict::Drop),
        4 => Ok(Verdict::Emit(vec![Emitted { partition: Some(9), ..plain }])),
        _ => {
            let headers = vec![Header { key: Bytes::new(), value: None }];
            let bare = Record { key: None, headers, ..record.clone() };
            let other = Record { value: Some(Bytes::from("other")), ..record.clone() };
            let emitted = |record| Emitted { record, partition: None };
            Ok(Verdict::Emit(vec![plain, emitted(bare), emitted(other)]))
        }
    }
}

impl sdk::Route for Kind {
    fn new() -> sdk::Result<Self> {
        Ok(Self)
    }

    fn route(
        &mut self,
        record: sdk::Record<'_>,
        outputs: &mut sdk::Outputs<'_>,
    ) -> sdk::Result<()> {
        match choice(record.timestamp_ms()) {
            0 => {
                outputs.to("forgotten");
                return Err(sdk::Error::bad_message("bad"));
            }
            1 => return Err(sdk::Error::failed("failed")),
            2 => {}
            chosen => {
                outputs.to("all");
                for _ in 4..chosen {
                    outputs.to("some");
                }
            }
        }
        Ok(())
    }
}

fn routed(record: &Record) -> Meant {
    match choice(record.timestamp) {
        0 => Err((FailureReason::BadMessage, "bad".to_owned())),
        1 => Err((FailureReason::Failed, "failed".to_owned())),
        2 => Ok(Verdict::Keep),
        3 | 4 => Ok(Verdict::Route(vec!["all".into()])),
        _ => Ok(Verdict::Route(vec!["all".into(), "some".into()])),
    }
}
