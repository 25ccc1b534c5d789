//! NAME: keeps the records whose value contains the text that the step's configuration names.

use millstream_plugin::{Error, Filter, Record, Result, config, filter};

struct Containing {
    contains: String,
}

impl Filter for Containing {
    fn new() -> Result<Self> {
        let contains: String = config::parse("contains")?;
        if contains.is_empty() {
            return Err(Error::failed("config `contains` is empty"));
        }
        Ok(Self { contains })
    }

    fn keep(&mut self, record: Record<'_>) -> Result<bool> {
        let value = record.value().unwrap_or_default();
        Ok(value.windows(self.contains.len()).any(|part| part == self.contains.as_bytes()))
    }
}

filter!(struct Containing);
