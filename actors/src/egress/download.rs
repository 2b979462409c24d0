//! Downloads a URL into a file: recordings, uploads by reference. The only place that follows redirects.
//!
//! A download that breaks off goes on where it was, at once and in a later call for the same destination, when the server
//! names its content by a strong validator and answers a range of just that content. In all other cases it begins anew.
//!
//! # Decisions
//! - `ETag` only, and only a strong one: two contents of one second share a `Last-Modified`.
//! - A server that answers a range wrongly is asked for the whole once, without a range, rather than believed in part.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::time::timeout;
use url::Url;

use super::body::Body;
use super::part::Part;
use super::{Egress, EgressError, host, late};

/// Redirects followed: a share link, its storage, and one to spare.
const REDIRECTS_MAX: usize = 3;

/// Requests of one call: those after the first go on with what broke off after it had grown.
const REQUESTS_MAX: usize = 16;

/// The longest wait a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// A finished download.
#[derive(Debug)]
pub struct Downloaded {
    /// Its size.
    pub bytes: u64,
    /// The hash of its content.
    pub blake3: blake3::Hash,
    /// What the server calls it.
    pub content_type: Option<String>,
    /// Where it came from after redirects. Often signed: not for logs.
    pub final_url: Url,
}

/// What a server is asked for.
struct Wanted<'a> {
    url: Url,
    headers: &'a HeaderMap,
    max_bytes: u64,
    on_bytes: &'a (dyn Fn() + Sync),
}

/// An answer that was understood.
struct Answer {
    content_type: Option<String>,
    final_url: Url,
    /// The content is whole once this many bytes are there; not known of an answer without a length.
    total: Option<u64>,
}

/// What a server sends.
enum Sent {
    Whole {
        etag: Option<String>,
        total: Option<u64>,
    },
    Rest {
        until: u64,
        total: u64,
    },
    /// Not the range that was asked for.
    Wrong,
}

impl Egress {
    /// Downloads to `dest`, which appears once it is complete and on disk; meanwhile `dest` + `.part` grows, and stays with
    /// a note beside it when a later call for the same URL can go on with it. Time and size are limited over all calls.
    ///
    /// `headers` go to the URL's own origin only: a redirect elsewhere does not carry a token along. `on_bytes` is called
    /// whenever some have come.
    pub async fn get_to_file(
        &self,
        url: &str,
        dest: &Path,
        max_bytes: u64,
        headers: &HeaderMap,
        on_bytes: &(dyn Fn() + Sync),
    ) -> Result<Downloaded, EgressError> {
        let wanted = Wanted { url: self.policy.parse(url)?, headers, max_bytes, on_bytes };
        let failed = |source: io::Error| EgressError::File { path: dest.to_owned(), source };
        let mut part = Part::open(dest, wanted.url.as_str()).await.map_err(failed)?;
        let limit = self.policy.download_timeout;
        let left = limit.saturating_sub(part.spent());
        match timeout(left, self.download(&wanted, &mut part, &failed)).await {
            Ok(Ok(Answer { content_type, final_url, .. })) => {
                let (bytes, blake3) = (part.bytes(), part.finish().await.map_err(failed)?);
                Ok(Downloaded { bytes, blake3, content_type, final_url })
            }
            Ok(Err(error)) => {
                if error.is_retryable() {
                    part.note().await.map_err(failed)?;
                } else {
                    part.forget();
                }
                Err(error)
            }
            Err(_) => {
                part.forget();
                Err(late(&wanted.url, "send the whole file", limit))
            }
        }
    }

    /// Asks until the part is whole, as long as each answer brings something.
    async fn download(
        &self,
        wanted: &Wanted<'_>,
        part: &mut Part,
        failed: &impl Fn(io::Error) -> EgressError,
    ) -> Result<Answer, EgressError> {
        let mut error = None;
        for _ in 0..REQUESTS_MAX {
            let before = part.bytes();
            match self.once(wanted, part, failed).await {
                Ok(answer) if answer.total.is_none_or(|total| part.bytes() >= total) => return Ok(answer),
                Ok(_) if part.bytes() > before => {} // A shorter range than was asked for.
                Ok(answer) => return Err(broken_off(&answer.final_url, "the server sends nothing of the range")),
                Err(broken @ (EgressError::BrokenOff { .. } | EgressError::Timeout { .. }))
                    if part.resumable().is_some() && part.bytes() > before =>
                {
                    error = Some(broken);
                }
                Err(broken) => return Err(broken),
            }
        }
        Err(error.unwrap_or_else(|| broken_off(&wanted.url, "the server sends it in too many pieces")))
    }

    /// One answer into the part.
    async fn once(
        &self,
        wanted: &Wanted<'_>,
        part: &mut Part,
        failed: &impl Fn(io::Error) -> EgressError,
    ) -> Result<Answer, EgressError> {
        let (mut final_url, mut head, mut body) = self.ask(wanted, part.resumable()).await?;
        let mut sent = sent(&head, part.resumable());
        if matches!(sent, Sent::Wrong) {
            part.restart(None).await.map_err(failed)?;
            (final_url, head, body) = self.ask(wanted, None).await?;
            sent = self::sent(&head, None);
        }
        let (until, total) = match sent {
            Sent::Wrong => {
                let retry_after = retry_after(&head.headers);
                return Err(EgressError::Status { host: host(&final_url), status: head.status, retry_after });
            }
            Sent::Rest { until, total } => (Some(until), Some(total)),
            Sent::Whole { etag, total } => {
                part.restart(etag).await.map_err(failed)?;
                (total, total)
            }
        };
        let too_large = || EgressError::TooLarge { host: host(&final_url), limit: wanted.max_bytes };
        if total.is_some_and(|total| total > wanted.max_bytes) {
            return Err(too_large());
        }
        while let Some(chunk) = body.chunk().await? {
            let room = until.unwrap_or(wanted.max_bytes).saturating_sub(part.bytes());
            if u64::try_from(chunk.len()).is_ok_and(|length| length > room) {
                return Err(match until {
                    None => too_large(),
                    Some(_) => broken_off(&final_url, "the server sends more than it said"),
                });
            }
            part.write(&chunk).await.map_err(failed)?;
            (wanted.on_bytes)();
        }
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|text| text.to_str().ok());
        Ok(Answer { content_type: content_type.map(str::to_owned), final_url, total })
    }

    /// The answer behind all redirects: a success, or what became of a range.
    async fn ask(
        &self,
        wanted: &Wanted<'_>,
        resumable: Option<(u64, &str)>,
    ) -> Result<(Url, http::response::Parts, Body), EgressError> {
        let mut url = wanted.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let own = url.origin() == wanted.url.origin();
            let mut headers = if own { wanted.headers.clone() } else { HeaderMap::new() };
            headers.remove(header::RANGE);
            headers.remove(header::IF_RANGE);
            if let Some((from, Ok(etag))) = resumable.map(|(from, etag)| (from, HeaderValue::from_str(etag))) {
                let range = HeaderValue::from_str(&format!("bytes={from}-")).expect("a number is plain text");
                headers.insert(header::RANGE, range);
                headers.insert(header::IF_RANGE, etag);
            }
            let limit = self.policy.connect_timeout + self.policy.idle_timeout;
            let sent = timeout(limit, self.send(Method::GET, &url, headers, Bytes::new())).await;
            let (head, body) = sent.unwrap_or_else(|_| Err(late(&url, "answer", limit)))?;
            if let Some(next) = self.redirect(&url, &head)? {
                url = next;
                continue;
            }
            let refused_range = resumable.is_some() && head.status == StatusCode::RANGE_NOT_SATISFIABLE;
            if !head.status.is_success() && !refused_range {
                let retry_after = retry_after(&head.headers);
                return Err(EgressError::Status { host: host(&url), status: head.status, retry_after });
            }
            return Ok((url, head, body));
        }
        Err(EgressError::Refused { host: host(&url), address: None, rule: "too many redirects" })
    }

    /// Where an answer sends us on to, judged like a first URL.
    fn redirect(&self, from: &Url, head: &http::response::Parts) -> Result<Option<Url>, EgressError> {
        let moved = matches!(
            head.status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        if !moved {
            return Ok(None);
        }
        let refused = |rule| EgressError::Refused { host: host(from), address: None, rule };
        let location = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| from.join(location).ok());
        let next = next.ok_or_else(|| refused("the redirect names no URL"))?;
        if from.scheme() == "https" && next.scheme() != "https" {
            return Err(refused("the redirect leaves https"));
        }
        self.policy.judge(&next)?;
        Ok(Some(next))
    }
}

/// `retry-after` in seconds. A date would need a clock that agrees with theirs.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What an answer holds, when a range of some content was asked for or the whole.
fn sent(head: &http::response::Parts, resumable: Option<(u64, &str)>) -> Sent {
    let text = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let etag = text(header::ETAG);
    match (head.status, resumable) {
        (StatusCode::PARTIAL_CONTENT, Some((from, wanted))) => {
            let range = text(header::CONTENT_RANGE).and_then(range);
            let same = etag.is_none_or(|etag| etag == wanted);
            match range.filter(|(start, ..)| *start == from && same) {
                Some((_, end, total)) => Sent::Rest { until: end + 1, total },
                None => Sent::Wrong,
            }
        }
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => Sent::Wrong,
        _ => {
            let strong = etag.filter(|etag| etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'));
            let total = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
            Sent::Whole { etag: strong.map(str::to_owned), total }
        }
    }
}

/// First byte, last byte and size of `bytes 5-9/10`; none when they contradict each other or do not say the size.
fn range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, total): (u64, u64, u64) = (start.parse().ok()?, end.parse().ok()?, total.parse().ok()?);
    (start <= end && end < total).then_some((start, end, total))
}

fn broken_off(url: &Url, why: &'static str) -> EgressError {
    EgressError::BrokenOff { host: host(url), source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::EgressPolicy;

    #[track_caller]
    fn check(from: &str, location: &str, expected: Result<&str, &str>) {
        let answer = http::Response::builder().status(307).header("location", location).body(()).unwrap();
        let client = Egress::new(EgressPolicy::default());
        let next = client.redirect(&from.parse().unwrap(), &answer.into_parts().0);
        match (next, expected) {
            (Ok(Some(url)), Ok(expected)) => assert_eq!(url.as_str(), expected),
            (Err(error), Err(rule)) => assert!(error.to_string().ends_with(rule), "{error}"),
            (next, expected) => panic!("{next:?} is not {expected:?}"),
        }
    }

    #[test]
    fn only_whole_ranges_are_understood() {
        assert_eq!(range("bytes 5-9/10"), Some((5, 9, 10)));
        for wrong in
            ["bytes 5-9/*", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "5-9/10", "bytes 5-9", "bytes -1-9/10"]
        {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_redirect_is_judged_like_a_first_url() {
        check("https://a.example/x/y", "../z", Ok("https://a.example/z"));
        check("http://a.example/", "https://b.example/", Ok("https://b.example/"));
        check("https://a.example/", "//b.example/c", Ok("https://b.example/c"));
        check("https://a.example/", "http://a.example/", Err("the redirect leaves https"));
        check("http://a.example/", "file:///etc/passwd", Err("only http and https are spoken"));
        check("http://a.example/", "http://u:p@b.example/", Err("a URL may not hold a user name"));
        check("http://a.example/", "http://[bad", Err("the redirect names no URL"));
    }
}
