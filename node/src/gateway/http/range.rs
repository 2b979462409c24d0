//! Which bytes of a blob a client asks for (RFC 9110, section 14): one range, or all.

use ::http::HeaderMap;
use hyper::header::{IF_RANGE, RANGE};

/// The part of a blob that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    Part {
        first: u64,
        length: u64,
    },
    /// There are no such bytes.
    Nothing,
}

/// Other forms than one range of bytes are answered with the whole, as the standard allows. So is a range of another blob
/// than this one, which `If-Range` names.
pub(super) fn asked(headers: &HeaderMap, etag: &str, bytes: u64) -> Asked {
    if headers.get(IF_RANGE).is_some_and(|known| known.as_bytes() != etag.as_bytes()) {
        return Asked::All;
    }
    headers.get(RANGE).and_then(|range| range.to_str().ok()).map_or(Asked::All, |range| range_of(range, bytes))
}

fn range_of(header: &str, bytes: u64) -> Asked {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::All;
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => return Asked::Nothing,
        (None, Some(suffix)) if first.is_empty() => (bytes.saturating_sub(suffix), u64::MAX),
        (Some(first), None) if last.is_empty() => (first, u64::MAX),
        (Some(first), Some(last)) if first <= last => (first, last),
        (None | Some(_), None | Some(_)) => return Asked::All,
    };
    if first >= bytes {
        return Asked::Nothing;
    }
    Asked::Part { first, length: last.min(bytes - 1) - first + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_others_get_the_whole() {
        let part = |first, length| Asked::Part { first, length };
        for (header, bytes, want) in [
            ("bytes=0-4", 10, part(0, 5)),
            ("bytes=5-", 10, part(5, 5)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=5-100", 10, part(5, 5)),
            ("bytes=10-", 10, Asked::Nothing),
            ("bytes=10-12", 10, Asked::Nothing),
            ("bytes=-0", 10, Asked::Nothing),
            ("bytes=0-", 0, Asked::Nothing),
            ("bytes=7-5", 10, Asked::All),
            ("bytes=0-1,3-4", 10, Asked::All),
            ("bytes=+1-2", 10, Asked::All),
            ("bytes=-", 10, Asked::All),
            ("items=0-1", 10, Asked::All),
        ] {
            assert_eq!(range_of(header, bytes), want, "{header}");
        }
    }

    #[test]
    fn a_range_of_another_blob_gets_the_whole() {
        let of = |if_range: &str| {
            let pairs = [(RANGE, "bytes=0-1".parse().unwrap()), (IF_RANGE, if_range.parse().unwrap())];
            asked(&pairs.into_iter().collect(), "\"a\"", 10)
        };
        assert_eq!((of("\"a\""), of("\"b\"")), (Asked::Part { first: 0, length: 2 }, Asked::All));
    }
}
