//! NAME: makes the value's letters capitals.

use exports::millstream::plugin::transformer::{Error, Guest, Message};

wit_bindgen::generate!({ world: "transformer-plugin", path: "gen/wit" });

struct Plugin;

impl Guest for Plugin {
    fn transform(mut message: Message) -> Result<Vec<Message>, Error> {
        if let Some(value) = &mut message.value {
            value.make_ascii_uppercase();
        }
        Ok(vec![message])
    }
}

export!(Plugin);
