//! What stands before every message: the request header (versions 1 and 2) and the response header
//! (versions 0 and 1); and whole frames, their size in front.

use bytes::Bytes;

use super::api::{ApiKey, Message, Request};
use super::wire::{Reader, Str, WireError};
use super::writer::{Segments, Writer};

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's number, ours or not.
    pub api_key: i16,
    /// The version in which the request is written and the response expected, ours or not.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Splits a frame, its size already taken off, into header and body. The body of an API or a
    /// version that we do not speak is not looked at.
    pub fn decode(frame: Bytes) -> Result<(Self, Bytes), WireError> {
        let mut reader = Reader::new(frame);
        let header = Self::read(&mut reader).map_err(|error| error.within("RequestHeader"))?;
        Ok((header, reader.rest()))
    }

    fn read(reader: &mut Reader) -> Result<Self, WireError> {
        let at = |name: &'static str| move |error: WireError| error.within(name);
        let header = Self {
            api_key: reader.i16().map_err(at("request_api_key"))?,
            api_version: reader.i16().map_err(at("request_api_version"))?,
            correlation_id: reader.i32().map_err(at("correlation_id"))?,
            // In the old form in every version, so that any broker can read it (KIP-511).
            client_id: reader.string(false).map_err(at("client_id"))?,
        };
        let api = ApiKey::from_key(header.api_key);
        if api.is_some_and(|api| api.is_flexible(header.api_version)) {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(header)
    }
}

/// A whole request as a client sends it.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> Result<Segments, WireError> {
    let mut writer = Writer::default();
    writer.i32(0); // the frame's size, when it is known
    writer.i16(R::API.key());
    writer.i16(version);
    writer.i32(correlation_id);
    writer.string(false, client_id)?;
    if R::API.is_flexible(version) {
        writer.tagged_fields(Vec::new())?;
    }
    request.encode_into(&mut writer, version)?;
    writer.finish_frame()
}

/// A whole response as the broker sends it.
pub fn encode_response<R: Message>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Segments, WireError> {
    let mut writer = Writer::default();
    writer.i32(0); // the frame's size, when it is known
    writer.i32(correlation_id);
    if R::API.has_flexible_response_header(version) {
        writer.tagged_fields(Vec::new())?;
    }
    response.encode_into(&mut writer, version)?;
    writer.finish_frame()
}

/// Correlation id and response out of a frame, its size already taken off, as a client reads it.
pub fn decode_response<R: Message>(frame: Bytes, version: i16) -> Result<(i32, R), WireError> {
    let mut reader = Reader::new(frame);
    let correlation_id = read_response_header::<R>(&mut reader, version)
        .map_err(|error| error.within("ResponseHeader"))?;
    Ok((correlation_id, R::decode(reader.rest(), version)?))
}

fn read_response_header<R: Message>(reader: &mut Reader, version: i16) -> Result<i32, WireError> {
    let correlation_id = reader.i32()?;
    if R::API.has_flexible_response_header(version) {
        reader.tagged_fields(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;
    use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
    use crate::kafka::groups::{HeartbeatRequest, HeartbeatResponse};

    fn unframe(mut frame: Segments) -> Bytes {
        let size = frame.get_i32();
        assert_eq!(size as usize, frame.remaining());
        frame.copy_to_bytes(frame.remaining())
    }

    #[test]
    fn requests_split_into_header_and_body() {
        for version in ApiKey::Heartbeat.versions() {
            let sent = HeartbeatRequest { member_id: "m".into(), ..Default::default() };
            let client = Str::from("me");
            let frame = unframe(encode_request(&sent, version, 7, Some(&client)).unwrap());
            let (header, body) = RequestHeader::decode(frame).unwrap();
            let expected = RequestHeader {
                api_key: 12,
                api_version: version,
                correlation_id: 7,
                client_id: Some(client),
            };
            assert_eq!(header, expected);
            assert_eq!(HeartbeatRequest::decode(body, version), Ok(sent));
        }
    }

    #[test]
    fn a_version_from_the_future_keeps_its_header() {
        let frame = Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\xff\xff\0rubbish");
        let (header, body) = RequestHeader::decode(frame).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (99, 7));
        assert_eq!(&body[..], b"rubbish");
        assert!(ApiVersionsRequest::decode(body, 99).is_err());
    }

    #[test]
    fn only_api_versions_keeps_the_old_response_header() {
        let frame = unframe(encode_response(&ApiVersionsResponse::default(), 3, 7).unwrap());
        assert_eq!(&frame[..6], [0, 0, 0, 7, 0, 0], "the error code follows at once");
        let frame = unframe(encode_response(&HeartbeatResponse::default(), 4, 7).unwrap());
        assert_eq!(frame.len(), 4 + 1 + 4 + 2 + 1);
        let back = decode_response::<HeartbeatResponse>(frame, 4).unwrap();
        assert_eq!(back, (7, HeartbeatResponse::default()));
    }

    #[test]
    fn short_headers_say_where() {
        let error = RequestHeader::decode(Bytes::from_static(&[0, 3, 0, 1, 0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "RequestHeader.correlation_id at byte 4: 4 bytes wanted, 1 left"
        );
    }
}
