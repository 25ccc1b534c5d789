//! The work in the typed worlds.

use crate::work;

#[cfg(feature = "filter")]
mod filter {
    use super::*;
    use exports::millstream::plugin::filter::{Error, Guest, Message};
    use millstream::plugin::config;
    use std::sync::OnceLock;

    wit_bindgen::generate!({ world: "filter-plugin", path: "../../../wit" });

    struct Work;

    impl Guest for Work {
        fn keep(message: Message) -> Result<bool, Error> {
            static IDENTITY: OnceLock<bool> = OnceLock::new();
            if *IDENTITY.get_or_init(|| config::get("work").as_deref() == Some("identity")) {
                return Ok(true);
            }
            let Some(text) = &message.value else { return Ok(false) };
            let found = work::scan(text).ok_or_else(|| Error::BadMessage("not JSON".to_owned()))?;
            Ok(!found.test)
        }
    }

    export!(Work);
}

#[cfg(feature = "transformer")]
mod transformer {
    use super::*;
    use exports::millstream::plugin::transformer::{Error, Guest, Message};
    use millstream::plugin::{config, types::Header};
    use std::sync::OnceLock;

    wit_bindgen::generate!({ world: "transformer-plugin", path: "../../../wit" });

    struct Work;

    struct Config {
        copy: bool,
        partitions: u32,
    }

    impl Guest for Work {
        fn transform(message: Message) -> Result<Vec<Message>, Error> {
            static CONFIG: OnceLock<Config> = OnceLock::new();
            let config = CONFIG.get_or_init(|| Config {
                copy: config::get("work").as_deref() == Some("copy"),
                partitions: config::get("partitions").map_or(0, |n| n.parse().unwrap_or(0)),
            });
            if config.copy {
                return Ok(vec![message]);
            }
            let Some(text) = &message.value else {
                let mut first = message.clone();
                first.headers.push(Header { name: "empty".to_owned(), value: None });
                return Ok(vec![first, message]);
            };
            let mut masked = Vec::with_capacity(text.len());
            if !work::mask(text, &mut masked).map_err(Error::BadMessage)? {
                return Ok(Vec::new());
            }
            let partition = (config.partitions > 0).then(|| text.len() as u32 % config.partitions);
            Ok(vec![Message { value: Some(masked), partition, ..message }])
        }
    }

    export!(Work);
}

#[cfg(feature = "router")]
mod router {
    use super::*;
    use exports::millstream::plugin::router::{Error, Guest, Message};

    wit_bindgen::generate!({ world: "router-plugin", path: "../../../wit" });

    struct Work;

    impl Guest for Work {
        fn route(message: Message) -> Result<Vec<String>, Error> {
            let Some(text) = &message.value else { return Ok(Vec::new()) };
            let output =
                work::output(text).ok_or_else(|| Error::BadMessage("not JSON".to_owned()))?;
            let mut outputs = vec![output.to_owned()];
            if message.key.as_deref() == Some(b"both") {
                outputs.push("other".to_owned());
            }
            Ok(outputs)
        }
    }

    export!(Work);
}
