//! Bodies that come compressed.
//!
//! The bytes as they came stay what is signed; what is read, and kept, is what they stand for.

use std::io::{self, Read};

use ::http::HeaderMap;
use ::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::body::too_large;
use crate::gateway::error::{Code, Refused};

/// The decoded body; none when it came as it is. A body that would grow beyond `bytes_max` is read no further.
pub(super) fn decode(headers: &HeaderMap, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, Refused> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => return Ok(None),
        (Some(encoding), None) => encoding.as_bytes().trim_ascii().to_ascii_lowercase(),
        (Some(_), Some(_)) => return Err(unknown()),
    };
    let decoded = match encoding.as_slice() {
        b"identity" | b"" => return Ok(None),
        b"gzip" | b"x-gzip" | b"deflate" if body.is_empty() => return Ok(None),
        b"gzip" | b"x-gzip" => bounded(MultiGzDecoder::new(body), bytes_max),
        b"deflate" => bounded(ZlibDecoder::new(body), bytes_max),
        _ => return Err(unknown()),
    };
    let decoded = decoded.map_err(|_| Refused::new(Code::BodyBroken, "the body is not what its encoding says"))?;
    if decoded.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(Some(decoded.into())) }
}

/// One byte more than the limit at most.
fn bounded(decoder: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut decoded = vec![];
    decoder.take(u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut decoded)?;
    Ok(decoded)
}

fn unknown() -> Refused {
    Refused::new(Code::EncodingUnknown, "the body's encoding must be gzip or deflate, once")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: usize = 1_000;

    fn of(encodings: &[&str], body: &[u8]) -> Result<Option<Bytes>, Code> {
        let named = encodings.iter().map(|encoding| (CONTENT_ENCODING, encoding.parse().unwrap()));
        decode(&named.collect(), body, LIMIT).map_err(|refused| refused.code)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn both_encodings_are_undone() {
        let mut zlib = ZlibEncoder::new(vec![], Compression::fast());
        zlib.write_all(b"{}").unwrap();
        let zlib = zlib.finish().unwrap();
        let plain = || Ok(Some(Bytes::from_static(b"{}")));
        assert_eq!((of(&["gzip"], &gzip(b"{}")), of(&[" X-GZIP"], &gzip(b"{}"))), (plain(), plain()));
        assert_eq!(of(&["deflate"], &zlib), plain());
        assert_eq!(of(&["gzip"], &[gzip(b"{"), gzip(b"}")].concat()), plain());
        for (encodings, body) in [(vec![], "{}"), (vec!["identity"], "{}"), (vec!["gzip"], "")] {
            assert_eq!(of(&encodings, body.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn a_bomb_is_read_up_to_the_limit_only() {
        assert_eq!(of(&["gzip"], &gzip(&[b'x'; LIMIT])).unwrap().unwrap().len(), LIMIT);
        assert_eq!(of(&["gzip"], &gzip(&[b'x'; LIMIT + 1])), Err(Code::BodyTooLarge));
        assert_eq!(bounded(MultiGzDecoder::new(&*gzip(&vec![0; 10 << 20])), LIMIT).unwrap().len(), LIMIT + 1);
    }

    #[test]
    fn what_is_unknown_or_broken_is_refused() {
        for encodings in [vec!["br"], vec!["gzip, gzip"], vec!["gzip", "gzip"]] {
            assert_eq!(of(&encodings, &gzip(b"{}")), Err(Code::EncodingUnknown), "{encodings:?}");
        }
        let whole = gzip(b"{}");
        for broken in [&b"{}"[..], &whole[..whole.len() - 1]] {
            assert_eq!(of(&["gzip"], broken), Err(Code::BodyBroken));
        }
    }
}
