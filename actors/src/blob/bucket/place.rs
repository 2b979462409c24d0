//! Where in an object store blobs lie, and how it is spoken to: what the settings say.

/// `s3://bucket/prefix`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    bucket: String,
    prefix: String,
}

/// How the store is reached.
pub struct BucketConfig<'a> {
    pub place: &'a BucketPlace,
    /// Empty: Amazon's.
    pub endpoint: &'a str,
    pub region: &'a str,
    /// The bucket is named in the path and not in the host.
    pub is_path_style: bool,
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
}

/// What a place must look like.
const RULE: &str = "must be s3://BUCKET or s3://BUCKET/PREFIX, of a-z, 0-9, '.', '-', and in the prefix '_' and '/'";
/// The longest name of a bucket, and the longest prefix.
const BUCKET_LEN_MAX: usize = 63;
const PREFIX_LEN_MAX: usize = 256;

impl BucketPlace {
    /// Reads a URL. The error is the rule that it breaks.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("s3://").ok_or(RULE)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        let named = (3..=BUCKET_LEN_MAX).contains(&bucket.len()) && bucket.bytes().all(plain);
        let step =
            |step: &str| !step.is_empty() && step.bytes().all(|b| plain(b) || b == b'_') && step != "." && step != "..";
        let placed = prefix.is_empty() || (prefix.len() <= PREFIX_LEN_MAX && prefix.split('/').all(step));
        if named && placed { Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() }) } else { Err(RULE) }
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_perhaps_a_prefix() {
        for (url, want) in [
            ("s3://blobs", Some(("blobs", ""))),
            ("s3://blobs/", Some(("blobs", ""))),
            ("s3://blobs.example/a/b_c/", Some(("blobs.example", "a/b_c"))),
            ("https://blobs", None),
            ("s3://", None),
            ("s3://Blobs", None),
            ("s3://blobs/a//b", None),
            ("s3://blobs/../b", None),
            ("s3://key:secret@blobs", None),
        ] {
            let place = BucketPlace::parse(url).ok();
            assert_eq!(place.as_ref().map(|place| (place.bucket(), place.prefix())), want, "{url}");
        }
    }
}
