//! A filter for earthquakes as GeoJSON features: keeps those whose magnitude is at least the
//! configured `minimum`. An earthquake without a magnitude counts as weaker.

use std::borrow::Cow;

use millstream_plugin::{Error, Filter, Record, Result, config, filter};
use serde::Deserialize;

struct Strong {
    minimum: f64,
}

impl Filter for Strong {
    fn new() -> Result<Self> {
        let minimum: f64 = config::parse("minimum")?;
        if !minimum.is_finite() {
            return Err(Error::failed("config `minimum` is not a magnitude such as 2.5"));
        }
        Ok(Self { minimum })
    }

    fn keep(&mut self, record: Record<'_>) -> Result<bool> {
        let magnitude = magnitude(record)?;
        Ok(magnitude.is_some_and(|magnitude| magnitude >= self.minimum))
    }
}

filter!(struct Strong);

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

fn magnitude(record: Record<'_>) -> Result<Option<f64>> {
    let feature: Feature = record.json()?;
    match (&*feature.kind, feature.properties) {
        ("Feature", Some(properties)) => Ok(properties.mag),
        ("Feature", None) => Err(Error::bad_message("a GeoJSON feature without `properties`")),
        (kind, _) => {
            Err(Error::bad_message(format!("a GeoJSON feature was expected, found type {kind:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_plugin::testing::{self, record};

    #[test]
    fn the_minimum_is_a_finite_number() {
        let minimum = |text| {
            testing::set_config(&[("minimum", text)]);
            Strong::new().map(|strong| strong.minimum)
        };
        assert_eq!(minimum(" 2.5 "), Ok(2.5));
        assert_eq!(minimum("-1"), Ok(-1.0));
        for bad in ["", "strong", "NaN", "inf"] {
            assert!(minimum(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_magnitude_may_be_null_or_absent() {
        let of = |properties: &str| {
            let value = format!(r#"{{"type":"Feature","properties":{properties}}}"#);
            magnitude(record(value).view())
        };
        assert_eq!(of(r#"{"mag":4.25,"place":"sea"}"#), Ok(Some(4.25)));
        assert_eq!(of(r#"{"mag":5}"#), Ok(Some(5.0)));
        assert_eq!(of(r#"{"mag":null}"#), Ok(None));
        assert_eq!(of("{}"), Ok(None));
    }

    #[test]
    fn a_bad_message_is_told_what_is_wrong_with_it() {
        let text = |value: &str| match magnitude(record(value).view()) {
            Err(Error::BadMessage(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(text("hello").starts_with("not JSON: expected value at line 1 column 1"));
        assert!(text(r#"{"type":"Fea"#).starts_with("not JSON: EOF while parsing"));
        assert!(text("{}").contains("missing field `type`"));
        assert!(text(r#"{"type":"Feature"}"#).contains("without `properties`"));
        assert!(text(r#"{"type":"Point","coordinates":[1,2]}"#).contains("\"Point\""));
        let strong = text(r#"{"type":"Feature","properties":{"mag":"strong"}}"#);
        assert!(strong.contains("invalid type: string \"strong\", expected f64"), "{strong}");
    }
}
