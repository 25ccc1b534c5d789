//! NAME: sends JSON objects to the output `json` and everything else to `text`.

use exports::millstream::plugin::router::{Error, Guest, Message};

wit_bindgen::generate!({ world: "router-plugin", path: "gen/wit" });

struct Plugin;

impl Guest for Plugin {
    fn route(message: Message) -> Result<Vec<String>, Error> {
        let value = message.value.unwrap_or_default();
        let output = if value.starts_with(b"{") { "json" } else { "text" };
        Ok(vec![output.to_owned()])
    }
}

export!(Plugin);
