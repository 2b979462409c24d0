//! What a webhook's signature is judged by, as it is kept: sealed, beside the event it brought or among the refused ones.

use bytes::Bytes;
use prost::Message as _;
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;

/// A webhook request as it came in, as far as its source's scheme reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRequest {
    pub received_at: Timestamp,
    /// What followed the question mark of the URL.
    pub query: Option<String>,
    /// In their order.
    pub headers: Vec<(String, Bytes)>,
    /// As it was sent; none when that is the body of the event it became.
    pub body: Option<Bytes>,
}

impl RawRequest {
    /// As it is sealed.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let header = |(name, value)| wire::KeptHeader { name, value };
        let headers = self.headers.into_iter().map(header).collect();
        let Self { received_at, query, body, .. } = self;
        wire::KeptRequest { received_at_ms: received_at.0, query, headers, body }.encode_to_vec()
    }

    /// As it was sealed.
    ///
    /// # Errors
    /// No request was sealed as these bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        let wire::KeptRequest { received_at_ms, query, headers, body } = wire::KeptRequest::decode(bytes)?;
        let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
        Ok(Self { received_at: Timestamp(received_at_ms), query, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let headers = vec![("x-a".to_owned(), Bytes::from_static(b"\xff")), ("x-a".to_owned(), Bytes::new())];
        let full = RawRequest {
            received_at: Timestamp(7),
            query: Some(String::new()),
            headers,
            body: Some(Bytes::from_static(b"")),
        };
        for request in [full, RawRequest::default()] {
            assert_eq!(RawRequest::decode(request.clone().encode().into()).unwrap(), request);
        }
        assert!(RawRequest::decode(Bytes::from_static(&[0xff])).is_err());
    }
}
