//! The work on the SDK.

use millstream_plugin::{Error, Record, Result};

use crate::work;

#[cfg(feature = "filter")]
mod filter {
    use super::*;
    use millstream_plugin::config;

    struct Work {
        identity: bool,
    }

    impl millstream_plugin::Filter for Work {
        fn new() -> Result<Self> {
            Ok(Self { identity: config::get("work").as_deref() == Some("identity") })
        }

        fn keep(&mut self, record: Record<'_>) -> Result<bool> {
            if self.identity {
                return Ok(true);
            }
            let Some(text) = record.value() else { return Ok(false) };
            let found = work::scan(text).ok_or_else(|| Error::bad_message("not JSON"))?;
            Ok(!found.test)
        }
    }

    millstream_plugin::filter!(struct Work);
}

#[cfg(feature = "transformer")]
mod transformer {
    use super::*;
    use millstream_plugin::{Message, Output, config};

    struct Work {
        partitions: u32,
        copy: bool,
    }

    impl millstream_plugin::Transform for Work {
        fn new() -> Result<Self> {
            let copy = config::get("work").as_deref() == Some("copy");
            Ok(Self { copy, partitions: config::parse_or("partitions", 0)? })
        }

        fn transform(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
            if self.copy {
                out.emit(&Message::of(record));
                return Ok(());
            }
            let Some(text) = record.value() else {
                out.emit(&Message::of(record).header("empty", None));
                out.emit(&Message::of(record));
                return Ok(());
            };
            let mut message = Message::of(record);
            if self.partitions > 0 {
                message = message.partition(text.len() as u32 % self.partitions);
            }
            let mut passed = true;
            let written = out.emit_with(&message, |out| {
                passed = work::mask(text, out).map_err(Error::BadMessage)?;
                if passed { Ok(()) } else { Err(Error::bad_message("a test")) }
            });
            if passed { written } else { Ok(()) }
        }
    }

    millstream_plugin::transform!(struct Work);
}

#[cfg(feature = "router")]
mod router {
    use super::*;
    use millstream_plugin::Outputs;

    fn by_region(record: Record<'_>, outputs: &mut Outputs<'_>) -> Result<()> {
        let Some(text) = record.value() else { return Ok(()) };
        outputs.to(work::output(text).ok_or_else(|| Error::bad_message("not JSON"))?);
        if record.key() == Some(b"both") {
            outputs.to("other");
        }
        Ok(())
    }

    millstream_plugin::route!(by_region);
}
