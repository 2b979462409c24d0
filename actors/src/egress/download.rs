//! Downloads a URL into a file: recordings, uploads by reference. The only place that follows redirects.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::fs::{self, File};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::time::timeout;
use url::Url;

use super::body::{Body, add};
use super::{Egress, EgressError, host, late};

/// Redirects followed: a share link, its storage, and one to spare.
const REDIRECTS_MAX: usize = 3;

/// Bytes collected before they are written.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

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

impl Egress {
    /// Downloads to `dest`, which appears once it is complete and on disk; meanwhile `dest` + `.part` grows.
    ///
    /// `headers` go to the URL's own origin only: a redirect elsewhere does not carry a token along.
    pub async fn get_to_file(
        &self,
        url: &str,
        dest: &Path,
        max_bytes: u64,
        headers: &HeaderMap,
    ) -> Result<Downloaded, EgressError> {
        let url = self.policy.parse(url)?;
        let limit = self.policy.download_timeout;
        let name = url.clone();
        let download = timeout(limit, self.download(url, dest, max_bytes, headers)).await;
        download.unwrap_or_else(|_| Err(late(&name, "send the whole file", limit)))
    }

    async fn download(
        &self,
        first: Url,
        dest: &Path,
        max_bytes: u64,
        headers: &HeaderMap,
    ) -> Result<Downloaded, EgressError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let headers = if url.origin() == first.origin() { headers.clone() } else { HeaderMap::new() };
            let limit = self.policy.connect_timeout + self.policy.idle_timeout;
            let sent = timeout(limit, self.send(Method::GET, &url, headers, Bytes::new())).await;
            let (head, body) = sent.unwrap_or_else(|_| Err(late(&url, "answer", limit)))?;
            if let Some(next) = self.redirect(&url, &head)? {
                url = next;
                continue;
            }
            if !head.status.is_success() {
                let retry_after = retry_after(&head.headers);
                return Err(EgressError::Status { host: host(&url), status: head.status, retry_after });
            }
            let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            if length.is_some_and(|length: u64| length > max_bytes) {
                return Err(EgressError::TooLarge { host: host(&url), limit: max_bytes });
            }
            let (bytes, blake3) = write(body, dest, max_bytes).await?;
            let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|text| text.to_str().ok());
            return Ok(Downloaded { bytes, blake3, content_type: content_type.map(str::to_owned), final_url: url });
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

/// A file that disappears unless it was finished, also when the download is dropped half-way.
struct PartFile {
    path: PathBuf,
    finished: bool,
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            std::fs::remove_file(&self.path).ok(); // It may never have been made.
        }
    }
}

async fn write(mut body: Body, dest: &Path, max_bytes: u64) -> Result<(u64, blake3::Hash), EgressError> {
    let mut path = dest.as_os_str().to_owned();
    path.push(".part");
    let mut part = PartFile { path: path.into(), finished: false };
    let failed = |source: io::Error| EgressError::File { path: dest.to_owned(), source };
    let file = File::create(&part.path).await.map_err(failed)?;
    let mut file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    while let Some(chunk) = body.chunk().await? {
        bytes = add(bytes, &chunk);
        if bytes > max_bytes {
            return Err(EgressError::TooLarge { host: body.host, limit: max_bytes });
        }
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(failed)?;
    }
    settle(file, &part.path, dest).await.map_err(failed)?;
    part.finished = true;
    Ok((bytes, hasher.finalize()))
}

/// Brings the bytes to disk, then the name, then the folder's entry for it.
async fn settle(mut file: BufWriter<File>, part: &Path, dest: &Path) -> io::Result<()> {
    file.flush().await?;
    file.get_ref().sync_all().await?;
    fs::rename(part, dest).await?;
    let folder = dest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).await?.sync_all().await
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
