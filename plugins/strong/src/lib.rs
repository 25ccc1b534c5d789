//! A filter for earthquakes as GeoJSON features: keeps those whose magnitude is at least the
//! configured `minimum`. An earthquake without a magnitude counts as weaker.

use std::borrow::Cow;
use std::sync::OnceLock;

use exports::millstream::plugin::filter::{Error, Guest, Message};
use millstream::plugin::config;
use serde::Deserialize;

wit_bindgen::generate!({ world: "filter-plugin", path: "../../wit" });

struct Strong;

impl Guest for Strong {
    fn keep(message: Message) -> Result<bool, Error> {
        let minimum = minimum().map_err(|text| Error::Failed(text.to_owned()))?;
        let magnitude = magnitude(message.value.as_deref()).map_err(Error::BadMessage)?;
        Ok(magnitude.is_some_and(|magnitude| magnitude >= minimum))
    }
}

export!(Strong);

/// The configured minimum, read once: it does not change as long as the instance lives.
fn minimum() -> Result<f64, &'static str> {
    static MINIMUM: OnceLock<Result<f64, String>> = OnceLock::new();
    let minimum = MINIMUM.get_or_init(|| parse_minimum(config::get("minimum").as_deref()));
    minimum.as_ref().copied().map_err(String::as_str)
}

fn parse_minimum(text: Option<&str>) -> Result<f64, String> {
    let text = text.ok_or("config `minimum` is missing: give the least magnitude to keep")?;
    match text.trim().parse::<f64>() {
        Ok(minimum) if minimum.is_finite() => Ok(minimum),
        _ => Err(format!("config `minimum` is {text:?}, which is not a magnitude such as 2.5")),
    }
}

/// The parts of a GeoJSON feature (RFC 7946, section 3.2) that are looked at.
#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Properties {
    mag: Option<f64>,
}

fn magnitude(value: Option<&[u8]>) -> Result<Option<f64>, String> {
    let value = value.ok_or("the record has no value, expected a GeoJSON feature")?;
    let feature: Feature = serde_json::from_slice(value).map_err(|error| {
        let what = if error.is_data() { "not an earthquake's GeoJSON feature" } else { "not JSON" };
        format!("{what}: {error}")
    })?;
    match (&*feature.kind, feature.properties) {
        ("Feature", Some(properties)) => Ok(properties.mag),
        ("Feature", None) => Err("a GeoJSON feature without `properties`".to_owned()),
        (kind, _) => Err(format!("a GeoJSON feature was expected, found type {kind:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_a_finite_number() {
        assert_eq!(parse_minimum(Some(" 2.5 ")), Ok(2.5));
        assert_eq!(parse_minimum(Some("-1")), Ok(-1.0));
        for bad in [None, Some(""), Some("strong"), Some("NaN"), Some("inf")] {
            assert!(parse_minimum(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_magnitude_may_be_null_or_absent() {
        let of = |properties: &str| {
            magnitude(Some(format!(r#"{{"type":"Feature","properties":{properties}}}"#).as_bytes()))
        };
        assert_eq!(of(r#"{"mag":4.25,"place":"sea"}"#), Ok(Some(4.25)));
        assert_eq!(of(r#"{"mag":5}"#), Ok(Some(5.0)));
        assert_eq!(of(r#"{"mag":null}"#), Ok(None));
        assert_eq!(of("{}"), Ok(None));
    }

    #[test]
    fn a_bad_message_is_told_what_is_wrong_with_it() {
        let text = |value: &str| magnitude(Some(value.as_bytes())).expect_err("bad");
        assert!(text("hello").starts_with("not JSON: expected value at line 1 column 1"));
        assert!(text(r#"{"type":"Fea"#).starts_with("not JSON: EOF while parsing"));
        assert!(text("{}").contains("missing field `type`"));
        assert!(text(r#"{"type":"Feature"}"#).contains("without `properties`"));
        assert!(text(r#"{"type":"Point","coordinates":[1,2]}"#).contains("\"Point\""));
        let strong = text(r#"{"type":"Feature","properties":{"mag":"strong"}}"#);
        assert!(strong.contains("invalid type: string \"strong\", expected f64"), "{strong}");
        assert!(magnitude(None).is_err());
    }
}
