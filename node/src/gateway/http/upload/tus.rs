//! The words of tus 1.0.0 (<https://tus.io/protocols/resumable-upload>): headers to what they mean, and back.

use ::http::header::CONTENT_TYPE;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use steward_actors::blob::{
    Algorithm, BlobHash, CHECKSUM_ALGORITHMS, Checksum, METADATA_BYTES_MAX, NewUpload, Progress,
};

use crate::gateway::error::{Code, Refused};
use crate::gateway::time::http_date;

pub(super) const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// Not of tus: the hash of the blob that an upload became.
pub(crate) const UPLOAD_BLOB: HeaderName = HeaderName::from_static("upload-blob");
/// Not of tus: when it expires, in milliseconds.
pub(crate) const UPLOAD_EXPIRES_MS: HeaderName = HeaderName::from_static("upload-expires-ms");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
/// What the bytes of a file come as.
const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// The status that tus has for bytes which are not those of their checksum.
pub(super) fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).expect("it has three digits")
}

/// Clients that can only GET and POST say beside it what they mean.
pub(super) fn read_method(head: &mut Parts) {
    let named = head.headers.get(METHOD_OVERRIDE).and_then(|name| Method::from_bytes(name.as_bytes()).ok());
    if let Some(named) = named {
        head.method = named;
        head.headers.remove(METHOD_OVERRIDE);
    }
}

pub(super) fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.get(TUS_RESUMABLE) == Some(&VERSION) {
        return Ok(());
    }
    Err(Refused::new(Code::TusVersion, "the header Tus-Resumable must be 1.0.0"))
}

/// What a new upload is said to be. Of its metadata `hash`, `filename` and `filetype` are understood.
pub(super) fn new_upload(headers: &HeaderMap) -> Result<NewUpload, Refused> {
    if headers.contains_key(UPLOAD_DEFER_LENGTH) {
        return Err(Refused::field("Upload-Defer-Length", "is not known here: say the length with Upload-Length"));
    }
    let bytes = number(headers, &UPLOAD_LENGTH, "Upload-Length")?;
    let metadata = text(headers, &UPLOAD_METADATA).unwrap_or_default();
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(Refused::field("Upload-Metadata", format!("must have at most {METADATA_BYTES_MAX} bytes")));
    }
    let mut new = NewUpload { bytes, metadata: metadata.to_owned(), ..NewUpload::default() };
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let rule = || Refused::field("Upload-Metadata", "must be pairs of a name and a text in base64");
        let value = String::from_utf8(STANDARD.decode(value).map_err(|_| rule())?).map_err(|_| rule())?;
        match key {
            "hash" => {
                let hash = BlobHash::parse(&value);
                let rule = "hash must be BLAKE3 in 64 lower-case hex digits";
                new.hash = Some(hash.ok_or_else(|| Refused::field("Upload-Metadata", rule))?);
            }
            "filename" => new.name = value,
            "filetype" => new.content_type = value,
            _ => {} // Kept, and told again.
        }
    }
    Ok(new)
}

/// Where the bytes of a request begin, and what they come to if that is said.
pub(super) fn piece(headers: &HeaderMap) -> Result<(u64, Option<Checksum>), Refused> {
    if text(headers, &CONTENT_TYPE) != Some(OFFSET_OCTET_STREAM) {
        return Err(Refused::new(Code::EncodingUnknown, format!("the Content-Type must be {OFFSET_OCTET_STREAM}")));
    }
    let offset = number(headers, &UPLOAD_OFFSET, "Upload-Offset")?;
    Ok((offset, headers.get(UPLOAD_CHECKSUM).map(checksum).transpose()?))
}

fn checksum(value: &HeaderValue) -> Result<Checksum, Refused> {
    let rule = || Refused::field("Upload-Checksum", format!("must be one of {CHECKSUM_ALGORITHMS}, and base64"));
    let (name, digest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(rule)?;
    let algorithm = Algorithm::parse(name).ok_or_else(rule)?;
    Ok(Checksum { algorithm, digest: STANDARD.decode(digest).map_err(|_| rule())? })
}

/// Says how far an upload has come.
pub(super) fn put_progress(headers: &mut HeaderMap, progress: &Progress) {
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(progress.offset));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(progress.bytes));
    headers.insert(UPLOAD_EXPIRES, visible(&http_date(progress.expires_at)));
    headers.insert(UPLOAD_EXPIRES_MS, HeaderValue::from(progress.expires_at.0));
    if let Some(whole) = &progress.whole {
        headers.insert(UPLOAD_BLOB, visible(&whole.hash));
    }
}

/// Says again what was said of the file.
pub(super) fn put_metadata(headers: &mut HeaderMap, metadata: &str) {
    if !metadata.is_empty() {
        headers.insert(UPLOAD_METADATA, visible(metadata));
    }
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("numbers, dates, and what came in a header are visible ASCII")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(headers: &HeaderMap, name: &HeaderName, field: &'static str) -> Result<u64, Refused> {
    let number = text(headers, name).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).ok_or_else(|| Refused::field(field, "must be a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn metadata_says_the_hash_the_name_and_the_kind() {
        let hash = STANDARD.encode("ab".repeat(32));
        let said = format!("filename YS5tcDQ=,filetype dmlkZW8vbXA0, is_draft,hash {hash}");
        let new = new_upload(&headers(&[("upload-length", "7"), ("upload-metadata", &said)])).unwrap();
        let (name, content_type) = (new.name.as_str(), new.content_type.as_str());
        assert_eq!((new.bytes, name, content_type, new.metadata.as_str()), (7, "a.mp4", "video/mp4", said.as_str()));
        assert_eq!(new.hash.unwrap().as_str(), "ab".repeat(32));
        for (length, metadata, field) in [
            ("-1", "", "Upload-Length"),
            ("+1", "", "Upload-Length"),
            ("99999999999999999999", "", "Upload-Length"),
            ("", "", "Upload-Length"),
            ("1", "filename ???", "Upload-Metadata"),
            ("1", "filename /w==", "Upload-Metadata"),
            ("1", "hash YWI=", "Upload-Metadata"),
            ("1", &"a".repeat(METADATA_BYTES_MAX + 1), "Upload-Metadata"),
        ] {
            let refused = new_upload(&headers(&[("upload-length", length), ("upload-metadata", metadata)]));
            assert!(refused.unwrap_err().message.starts_with(field), "{length} {metadata}");
        }
        let deferred = new_upload(&headers(&[("upload-defer-length", "1")])).unwrap_err();
        assert!(deferred.message.starts_with("Upload-Defer-Length"), "{deferred}");
    }

    #[test]
    fn a_piece_says_where_it_begins_and_its_checksum() {
        let of = |kind: &str, offset: &str, checksum: &str| {
            piece(&headers(&[("content-type", kind), ("upload-offset", offset), ("upload-checksum", checksum)]))
        };
        let (offset, checksum) = of(OFFSET_OCTET_STREAM, "3", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap();
        let checksum = checksum.unwrap();
        assert_eq!((offset, checksum.algorithm, checksum.digest.len()), (3, Algorithm::Sha1, 20));
        for (kind, offset, checksum) in [
            ("text/plain", "3", "sha1 AA=="),
            (OFFSET_OCTET_STREAM, "x", "sha1 AA=="),
            (OFFSET_OCTET_STREAM, "3", "md5 AA=="),
            (OFFSET_OCTET_STREAM, "3", "sha1"),
            (OFFSET_OCTET_STREAM, "3", "sha1 ?"),
        ] {
            assert!(of(kind, offset, checksum).is_err(), "{kind} {offset} {checksum}");
        }
    }

    #[test]
    fn a_method_may_be_named_beside_post() {
        let request = ::http::Request::builder().method("POST").header("x-http-method-override", "PATCH").body(());
        let mut head = request.unwrap().into_parts().0;
        read_method(&mut head);
        assert_eq!(head.method, Method::PATCH);
        assert!(head.headers.is_empty(), "whoever it is passed on to reads the method");
    }
}
