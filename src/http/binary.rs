//! Bytes in JSON: as text where they are UTF-8, else in base64 under a field that says so.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

/// Bytes as a pair of JSON fields, `name` and `name_base64`, of which at most one is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The bytes, if they are UTF-8.
    pub text: Option<String>,
    /// The bytes in base64, if they are not.
    pub base64: Option<String>,
}

impl Binary {
    /// The fields for these bytes; null gives neither.
    pub fn encode(bytes: Option<&Bytes>) -> Self {
        match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
            None => Self { text: None, base64: None },
            Some(Ok(text)) => Self { text: Some(text.to_owned()), base64: None },
            Some(Err(bytes)) => Self { text: None, base64: Some(BASE64_STANDARD.encode(bytes)) },
        }
    }

    /// The bytes of the fields; null when neither is there. The error says what is wrong with
    /// `field`.
    pub fn decode(self, field: &str) -> Result<Option<Bytes>, String> {
        match (self.text, self.base64) {
            (Some(_), Some(_)) => Err(format!("both {field} and {field}_base64 are given")),
            (Some(text), None) => Ok(Some(text.into())),
            (None, Some(base64)) => decode(&base64)
                .map(Some)
                .map_err(|error| format!("{field}_base64 is not base64: {error}")),
            (None, None) => Ok(None),
        }
    }

    /// The bytes as something to show: text, or the base64 with a mark.
    pub fn show(text: Option<&str>, base64: Option<&str>) -> Option<Cow<'static, str>> {
        match (text, base64) {
            (Some(text), _) => Some(text.to_owned().into()),
            (None, Some(base64)) => Some(format!("base64:{base64}").into()),
            (None, None) => None,
        }
    }
}

/// Bytes from base64 in the standard alphabet with padding.
pub(super) fn decode(base64: &str) -> Result<Bytes, base64::DecodeError> {
    BASE64_STANDARD.decode(base64).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        for bytes in [None, Some(&b""[..]), Some(b"caf\xc3\xa9"), Some(&[0xff, 0, 1])] {
            let bytes = bytes.map(Bytes::from_static);
            assert_eq!(Binary::encode(bytes.as_ref()).decode("value").unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_given_twice_or_wrongly_is_named() {
        let both = Binary { text: Some("a".into()), base64: Some("YQ==".into()) };
        assert!(both.decode("key").unwrap_err().contains("both key and key_base64"));
        let wrong = Binary { text: None, base64: Some("Y".into()) };
        assert!(wrong.decode("key").unwrap_err().contains("key_base64 is not base64"));
    }
}
