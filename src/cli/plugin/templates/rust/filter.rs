//! NAME: keeps the records whose value contains the text that the step's configuration names.

use exports::millstream::plugin::filter::{Error, Guest, Message};
use millstream::plugin::config;

wit_bindgen::generate!({ world: "filter-plugin", path: "gen/wit" });

struct Plugin;

impl Guest for Plugin {
    fn keep(message: Message) -> Result<bool, Error> {
        let contains = config::get("contains")
            .filter(|contains| !contains.is_empty())
            .ok_or_else(|| Error::Failed("config `contains` is missing".to_owned()))?;
        let value = message.value.unwrap_or_default();
        Ok(value.windows(contains.len()).any(|part| part == contains.as_bytes()))
    }
}

export!(Plugin);
